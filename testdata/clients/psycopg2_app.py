"""psycopg 2: see scenario.py."""
import io
import select
import threading

import psycopg2
import psycopg2.extras

from scenario import POLICY, step


def one(c, text, args=None):
    with c.cursor() as cur:
        cur.execute(text, args)
        return cur.fetchone()


def main():
    c = psycopg2.connect("")
    c.autocommit = True
    if POLICY:
        step("masked", lambda: one(c, "SELECT email FROM customers WHERE id = %s", (1,)))
        step("refused", lambda: refused(c))
        step("tls", lambda: (c.info.ssl_in_use, c.info.used_password))
        return
    step("connect", lambda: (c.server_version // 10000 > 14, c.encoding))
    step("transact", lambda: transact(c))
    step("cancel", lambda: cancel(c))
    step("copy", lambda: copy(c))
    step("stream", lambda: stream(c))
    step("listen", lambda: listen(c))
    step("error", lambda: error(c))
    step("types", lambda: one(c, "SELECT 1.5::numeric, '\\x00ff'::bytea::text, ARRAY[1,2,NULL], '{\"a\": [1]}'::jsonb, '2026-01-02'::date, '1 day'::interval"))


def refused(c):
    out = []
    c.autocommit = False
    try:
        one(c, "SELECT id FROM customers WHERE ssn = '1'")
    except psycopg2.Error as e:
        out.append((type(e).__name__, e.pgcode))
    c.rollback()
    out.append(one(c, "SELECT 1"))
    c.rollback()
    return out


def transact(c):
    c.autocommit = False
    with c, c.cursor() as cur:
        psycopg2.extras.execute_values(cur, "INSERT INTO scratch (id, a) VALUES %s", [(6001, "x"), (6002, "y")])
        psycopg2.extras.execute_batch(cur, "UPDATE scratch SET a = %s WHERE id = %s", [("p", 6001), ("q", 6002)])
    with c, c.cursor() as cur:
        cur.execute("DELETE FROM scratch WHERE id > 6000 RETURNING a")
        out = sorted(cur.fetchall())
    c.autocommit = True
    return out


def cancel(c):
    timer = threading.Timer(0.3, c.cancel)
    timer.start()
    try:
        one(c, "SELECT pg_sleep(30)")
    except psycopg2.errors.QueryCanceled as e:
        return e.pgcode, one(c, "SELECT 1")
    finally:
        timer.join()


def copy(c):
    with c.cursor() as cur:
        cur.copy_expert("COPY scratch (id, a) FROM STDIN", io.StringIO("6101\tone\n6102\t\\N\n"))
        out = io.StringIO()
        cur.copy_expert("COPY (SELECT id, a FROM scratch WHERE id > 6100 ORDER BY id) TO STDOUT CSV", out)
        cur.execute("DELETE FROM scratch WHERE id > 6100")
        return repr(out.getvalue()), cur.rowcount


def stream(c):
    c.autocommit = False
    with c, c.cursor("named") as cur:
        cur.itersize = 7
        cur.execute("SELECT generate_series(1, 100)")
        total = sum(r[0] for r in cur)
    c.autocommit = True
    return total


def listen(c):
    with c.cursor() as cur:
        cur.execute("LISTEN news")
    other = psycopg2.connect("")
    other.autocommit = True
    one(other, "SELECT pg_notify('news', 'hello')")
    other.close()
    select.select([c], [], [], 5)
    c.poll()
    return [n.payload for n in c.notifies]


def error(c):
    out = []
    for text in ("SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"):
        try:
            one(c, text)
        except psycopg2.Error as e:
            out.append((e.pgcode, e.diag.message_primary, e.diag.statement_position, e.diag.column_name))
    return out


main()
