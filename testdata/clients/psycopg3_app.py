"""psycopg 3: see scenario.py."""
import threading
import time

import psycopg
from psycopg import sql

from scenario import POLICY, step


def connect(**kw):
    return psycopg.connect("", autocommit=True, **kw)


def main():
    with connect() as c:
        if POLICY:
            return policy(c)
        step("connect", lambda: (c.info.server_version // 10000 > 14, c.info.parameter_status("server_encoding")))
        step("transact", lambda: transact(c))
        step("prepare", lambda: prepare(c))
        step("pipeline", lambda: pipeline(c))
        step("cancel", lambda: cancel(c))
        step("copy", lambda: copy(c))
        step("stream", lambda: stream(c))
        step("listen", lambda: listen(c))
        step("error", lambda: error(c))
        step("types", lambda: types(c))


def policy(c):
    step("masked", lambda: [c.execute("SELECT email FROM customers WHERE id = %s", (1,), prepare=p, binary=b).fetchone()
                            for p in (False, True) for b in (False, True)])
    step("refused", lambda: refused(c))
    step("tls", lambda: (c.pgconn.ssl_in_use, c.pgconn.used_password))


def refused(c):
    out = []
    with c.transaction():
        try:
            with c.transaction():
                c.execute("SELECT id FROM customers WHERE ssn = '1'")
        except psycopg.Error as e:
            out.append((type(e).__name__, e.sqlstate))
        out.append(c.execute("SELECT 1").fetchone())
    return out


def transact(c):
    out = []
    with c.transaction():
        c.execute("INSERT INTO scratch (id, a) VALUES (5001, 'x')")
        try:
            with c.transaction():
                c.execute("SELECT 1/0")
        except psycopg.errors.DivisionByZero as e:
            out.append(e.diag.message_primary)
        out.append(c.execute("DELETE FROM scratch WHERE id = 5001 RETURNING a").fetchall())
    try:
        with c.transaction():
            c.execute("INSERT INTO scratch (id, a) VALUES (5002, 'y')")
            raise psycopg.Rollback
    finally:
        out.append(c.execute("SELECT count(*) FROM scratch WHERE id > 5000").fetchone())
    return out


def prepare(c):
    rows = [c.execute("SELECT title FROM products WHERE id = %s", (i,), prepare=True).fetchone() for i in (1, 2, 3)]
    many = c.cursor()
    many.executemany("INSERT INTO scratch (id, a) VALUES (%s, %s) RETURNING id", [(5100 + i, str(i)) for i in range(3)], returning=True)
    ids = []
    while True:
        ids.append(many.fetchone()[0])
        if not many.nextset():
            break
    return rows, ids, c.execute("DELETE FROM scratch WHERE id >= 5100").rowcount


def pipeline(c):
    with c.pipeline() as p:
        a = c.execute("SELECT %s::int", (1,))
        b = c.execute("SELECT %s::text", ("two",))
        p.sync()
        out = [a.fetchone(), b.fetchone()]
    try:
        with c.pipeline():
            c.execute("SELECT 1")
            c.execute("SELECT no_such_column FROM products")
            c.execute("SELECT 3")
    except psycopg.Error as e:
        out.append(e.sqlstate)
    return out, c.execute("SELECT 'after'").fetchone()


def cancel(c):
    timer = threading.Timer(0.3, c.cancel_safe)
    timer.start()
    try:
        c.execute("SELECT pg_sleep(30)")
    except psycopg.errors.QueryCanceled as e:
        return e.sqlstate, c.execute("SELECT 1").fetchone()
    finally:
        timer.join()


def copy(c):
    with c.cursor().copy("COPY scratch (id, a) FROM STDIN") as cp:
        for i in range(3):
            cp.write_row((5200 + i, f"a\t{i}"))
    with c.cursor().copy("COPY (SELECT id, a FROM scratch WHERE id >= 5200 ORDER BY id) TO STDOUT (FORMAT binary)") as cp:
        cp.set_types(["int4", "text"])
        rows = list(cp.rows())
    try:
        with c.cursor().copy("COPY scratch (id, a) FROM STDIN") as cp:
            cp.write(b"bad\n")
    except psycopg.Error as e:
        rows.append(e.sqlstate)
    return rows, c.execute("DELETE FROM scratch WHERE id >= 5200").rowcount


def stream(c):
    total = sum(r[0] for r in c.cursor().stream("SELECT generate_series(1, 1000)"))
    with c.transaction(), c.cursor(name="named") as cur:
        cur.itersize = 7
        cur.execute("SELECT generate_series(1, 20)")
        return total, [r[0] for r in cur][-1], sql.Identifier("x").as_string(c)


def listen(c):
    c.execute("LISTEN news")
    with connect() as other:
        other.execute("SELECT pg_notify('news', 'hello')")
    got = [n.payload for n in c.notifies(timeout=5, stop_after=1)]
    c.execute("UNLISTEN *")
    return got


def error(c):
    out = []
    c.autocommit = False
    for text in ("SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"):
        try:
            c.execute(text)
        except psycopg.Error as e:
            out.append((e.sqlstate, e.diag.message_primary, e.diag.statement_position, e.diag.column_name, c.info.transaction_status.name))
            c.rollback()
    c.autocommit = True
    return out


def types(c):
    q = """SELECT 1::int2, 2::int8, 1.5::numeric, 'x'::text, '\\x00ff'::bytea, true, '2026-01-02'::date, '2026-01-02 03:04:05+00'::timestamptz AT TIME ZONE 'UTC',
        ARRAY[1,2,NULL], '{"a": [1]}'::jsonb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '1 day'::interval, int4range(1, 5), '10.0.0.1'::inet, NULL::text"""
    return [c.execute(q, binary=b).fetchone() for b in (False, True)]


main()
