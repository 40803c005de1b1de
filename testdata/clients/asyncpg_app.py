"""asyncpg: see scenario.py."""
import asyncio
import os
import ssl
import traceback

import asyncpg

from scenario import POLICY, said


async def connect():
    context = None
    if POLICY:
        context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    return await asyncpg.connect(ssl=context or False)


async def step(name, f, c):
    try:
        said(name, await f(c))
    except Exception as e:
        traceback.print_exc()
        said(name, "FAILED", type(e).__name__, e)


async def main():
    c = await connect()
    for name, f in POLICY_STEPS if POLICY else STEPS:
        await step(name, f, c)
    await c.close()


async def connected(c):
    return c.get_server_version().major > 14, c.get_settings().server_encoding


async def introspect(c):
    st = await c.prepare("SELECT status, tags, attrs, stock FROM orders, products LIMIT 1")
    return [(a.name, a.type.name, a.type.kind) for a in st.get_attributes()]


async def transact(c):
    out = []
    async with c.transaction():
        await c.execute("INSERT INTO scratch (id, a) VALUES (7001, 'x')")
        try:
            async with c.transaction():
                await c.execute("SELECT 1/0")
        except asyncpg.DivisionByZeroError as e:
            out.append(str(e))
        out.append(await c.fetch("DELETE FROM scratch WHERE id = 7001 RETURNING a"))
    return out


async def prepare(c):
    st = await c.prepare("SELECT title FROM products WHERE id = $1")
    await c.executemany("INSERT INTO scratch (id, a) VALUES ($1, $2)", [(7100 + i, str(i)) for i in range(5)])
    return [await st.fetchval(i) for i in (1, 2, 3)], await c.execute("DELETE FROM scratch WHERE id >= 7100")


async def cancel(c):
    try:
        await c.fetch("SELECT pg_sleep(30)", timeout=0.3)
    except asyncio.TimeoutError:
        return "timed out", await c.fetchval("SELECT 1")


async def copy(c):
    status = await c.copy_records_to_table("scratch", records=[(7200 + i, f"a\t{i}") for i in range(3)], columns=["id", "a"])
    got = bytearray()

    async def sink(data):
        got.extend(data)

    await c.copy_from_query("SELECT id, a FROM scratch WHERE id >= 7200 ORDER BY id", output=sink, format="csv")
    return status, bytes(got), await c.execute("DELETE FROM scratch WHERE id >= 7200")


async def stream(c):
    total = 0
    async with c.transaction():
        async for r in c.cursor("SELECT generate_series(1, 200)", prefetch=7):
            total += r[0]
        cur = await c.cursor("SELECT generate_series(1, 20)")
        return total, await cur.fetch(3), await cur.fetchrow()


async def listen(c):
    got = asyncio.get_running_loop().create_future()
    await c.add_listener("news", lambda *a: got.set_result(a[3]))
    other = await connect()
    await other.execute("SELECT pg_notify('news', 'hello')")
    await other.close()
    payload = await asyncio.wait_for(got, 5)
    await c.reset()
    return payload


async def error(c):
    out = []
    for text in ("SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"):
        try:
            await c.fetch(text)
        except asyncpg.PostgresError as e:
            out.append((type(e).__name__, e.sqlstate, str(e), e.position, e.column_name))
    return out


async def types(c):
    return tuple(await c.fetchrow(
        """SELECT 1::int2, 2::int8, 1.5::numeric, 'x'::text, '\\x00ff'::bytea, true, '2026-01-02'::date, '2026-01-02 03:04:05+00'::timestamptz,
        ARRAY[1,2,NULL], '{"a": [1]}'::jsonb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '1 day'::interval, int4range(1, 5), '10.0.0.1'::inet,
        'paid'::order_status, ROW(1, 'a')""")), await c.fetchval("SELECT tags FROM products WHERE id = 1")


async def masked(c):
    return await c.fetchval("SELECT email FROM customers WHERE id = $1", 1), await c.fetchrow("SELECT c.email, c.name FROM customers c WHERE id = 1")


async def refused(c):
    out = []
    async with c.transaction():
        try:
            async with c.transaction():
                await c.fetch("SELECT id FROM customers WHERE ssn = '1'")
        except asyncpg.PostgresError as e:
            out.append((type(e).__name__, e.sqlstate))
        out.append(await c.fetchval("SELECT 1"))
    return out


async def encrypted(c):
    return c._transport.get_extra_info("ssl_object").version()


STEPS = [("connect", connected), ("introspect", introspect), ("transact", transact), ("prepare", prepare), ("cancel", cancel), ("copy", copy),
         ("stream", stream), ("listen", listen), ("error", error), ("types", types)]
POLICY_STEPS = [("masked", masked), ("refused", refused), ("tls", encrypted)]
asyncio.run(main())
