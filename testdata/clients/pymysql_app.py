"""PyMySQL: see scenario.py."""
import os
import threading

import pymysql
import pymysql.cursors

from scenario import POLICY, step


def connect(**kw):
    ca = os.environ.get("MYSQL_CA")
    return pymysql.connect(host=os.environ["MYSQL_HOST"], port=int(os.environ["MYSQL_PORT"]), user=os.environ["MYSQL_USER"],
                           password=os.environ["MYSQL_PASSWORD"], database=os.environ["MYSQL_DATABASE"], charset="utf8mb4",
                           ssl={"ca": ca, "check_hostname": True} if ca else None, autocommit=True, **kw)


def ask(c, text, args=None):
    with c.cursor() as cur:
        cur.execute(text, args)
        return cur.fetchall()


def fails(c, text, args=None):
    try:
        return ask(c, text, args)
    except pymysql.MySQLError as e:
        return type(e).__name__, *e.args[:1 if e.args[0] in (1054, 1064) else 2]  # whose texts are the proxy's own


def main():
    c = connect(local_infile=True)
    if POLICY:
        step("masked", lambda: (ask(c, "SELECT email FROM customers WHERE id = 1"), ask(c, "SELECT email FROM customers WHERE id = %s", (1,))))
        step("refused", lambda: refused(c))
        step("local", lambda: fails(c, "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE scratch")[:2])
        step("tls", lambda: ask(c, "SELECT 'the certificate is verified'") and c._sock.version() >= "TLSv1.2")
        return
    step("connect", lambda: (c.get_server_info(), c.character_set_name(), c.ping()))
    step("transact", lambda: transact(c))
    step("stream", lambda: stream())
    step("cancel", lambda: cancel(c))
    step("results", lambda: results())
    step("error", lambda: [fails(c, t) for t in ("SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)")])
    step("types", lambda: ask(c, TYPES))


def refused(c):
    c.begin()
    ask(c, "INSERT INTO scratch (id, a) VALUES (5003, 'kept')")
    out = [fails(c, "SELECT id FROM customers WHERE ssn = '1'")[1], ask(c, "SELECT a FROM scratch WHERE id = 5003")]
    c.rollback()
    return out


def transact(c):
    out = []
    c.begin()
    with c.cursor() as cur:
        out.append(cur.executemany("INSERT INTO scratch (id, a) VALUES (%s, %s)", [(5001, "x"), (5002, "y'\\")]))
        out.append(cur.execute("UPDATE scratch SET a = 'z' WHERE id = 5001"))
    out.append(ask(c, "SELECT id, a FROM scratch WHERE id > 5000 ORDER BY id"))
    ask(c, "SAVEPOINT s")
    out.append(ask(c, "DELETE FROM scratch WHERE id > 5000"))
    ask(c, "ROLLBACK TO s")
    out.append(ask(c, "SELECT COUNT(*) FROM scratch WHERE id > 5000"))
    c.rollback()
    out.append(ask(c, "SELECT COUNT(*) FROM scratch WHERE id > 5000"))
    with c.cursor() as cur:
        cur.execute("INSERT INTO products (title, price) VALUES ('auto', 1)")
        out.append(cur.lastrowid > 8)
        out.append(cur.execute("DELETE FROM products WHERE title = 'auto'"))
    return out


def stream():
    c = connect(cursorclass=pymysql.cursors.SSCursor)
    with c.cursor() as cur:
        cur.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i, REPEAT('x', 1000) FROM n")
        return sum(row[0] for row in cur), c.open


def cancel(c):
    sleeper = connect()
    answer = []
    t = threading.Thread(target=lambda: answer.append(fails(sleeper, "SELECT SLEEP(30) FROM customers")))
    t.start()
    while not ask(c, "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(30)%'"):
        pass
    sleeper_id = sleeper.thread_id()
    ask(c, f"KILL QUERY {sleeper_id}")
    t.join()
    return answer, ask(sleeper, "SELECT 'usable'")


def results():
    c = connect(client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)
    out = []
    with c.cursor() as cur:
        cur.execute("SELECT 1; SELECT 'two', NULL; SELECT title FROM products ORDER BY id LIMIT 2")
        while True:
            out.append(cur.fetchall())
            if not cur.nextset():
                return out


TYPES = """SELECT -5, 18446744073709551615, 1.50, 1.5e0, 'ł€𝄞', X'00ff', DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05.000006',
    TIME '-12:34:56', NULL, TRUE, JSON_OBJECT('a', 1), b'101', CAST('x' AS CHAR(3)), image, price, stock FROM products WHERE id = 1"""

main()
