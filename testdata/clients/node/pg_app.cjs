// node-postgres with its cursor, stream and copy modules: see scenario.cjs.
'use strict'
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const copy = require('pg-copy-streams')
const { pipeline } = require('stream/promises')
const { Readable } = require('stream')
const { POLICY, ssl, step, shape, BAD } = require('./scenario.cjs')

const connect = async () => {
  const c = new Client({ ssl, enableChannelBinding: POLICY })
  await c.connect()
  return c
}
const rejected = async (p) => { try { await p } catch (e) { return shape(e) } }

async function main () {
  const c = await connect()
  const rows = async (...a) => (await c.query(...a)).rows
  if (POLICY) {
    await step('masked', async () => [await rows('SELECT email FROM customers WHERE id = 1'), await rows('SELECT email FROM customers WHERE id = $1', [1]),
      await rows({ text: 'SELECT email FROM customers WHERE id = $1', values: [1], name: 'm' })])
    await step('refused', async () => {
      await c.query('BEGIN')
      const e = await rejected(c.query("SELECT id FROM customers WHERE ssn = '1'"))
      const f = await rejected(c.query('SELECT 1'))
      await c.query('ROLLBACK')
      return [e[0], f[0], await rows('SELECT 1 AS one')]
    })
    await step('tls', async () => c.connection.stream.encrypted)
    return c.end()
  }
  await step('connect', async () => c.serverVersion || (await rows('SHOW server_encoding')))
  await step('transact', async () => {
    await c.query('BEGIN')
    await c.query('INSERT INTO scratch (id, a) VALUES ($1, $2)', [8001, 'x'])
    const e = await rejected(c.query('SELECT 1/0'))
    await c.query('ROLLBACK')
    return [e, await rows('SELECT count(*)::int FROM scratch WHERE id = 8001')]
  })
  await step('prepare', async () => {
    const q = { name: 'p', text: 'SELECT title, price FROM products WHERE id = $1' }
    return [await rows({ ...q, values: [1] }), await rows({ ...q, values: [2] })]
  })
  await step('pipeline', async () => Promise.all([1, 2, 3].map(async (i) => rows('SELECT $1::int AS i', [i])))) // queued
  await step('texts', async () => (await c.query('SELECT 1 AS a; SELECT 2 AS b')).map((r) => r.rows))
  await step('cancel', async () => {
    const pool = new Pool({ ssl })
    const sleeper = await connect()
    const asleep = rejected(sleeper.query('SELECT pg_sleep(30)'))
    while (!(await rows("SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND wait_event = 'PgSleep'")).length);
    await new Promise((resolve) => { // as the driver's own cancel does, with its own key
      const other = new Client({ ssl })
      other.cancel(sleeper, sleeper.activeQuery || sleeper._activeQuery || sleeper._getActiveQuery())
      other.connection.once('end', resolve)
    })
    const out = await asleep
    await sleeper.end()
    await pool.end()
    return out
  })
  await step('copy', async () => {
    await pipeline(Readable.from(['8101\tone\n81', '02\ttwo\n']), c.query(copy.from('COPY scratch (id, a) FROM STDIN')))
    let out = ''
    for await (const chunk of c.query(copy.to('COPY (SELECT id, a FROM scratch WHERE id > 8100 ORDER BY id) TO STDOUT CSV'))) out += chunk
    const bad = await rejected(pipeline(Readable.from(['bad\n']), c.query(copy.from('COPY scratch (id, a) FROM STDIN'))))
    return [out, bad && bad[0], (await c.query('DELETE FROM scratch WHERE id > 8100')).rowCount]
  })
  await step('stream', async () => {
    const cursor = c.query(new Cursor('SELECT n FROM generate_series(1, 20) n'))
    const first = await cursor.read(3)
    const second = await cursor.read(2)
    await cursor.close()
    let total = 0
    for await (const r of c.query(new QueryStream('SELECT n FROM generate_series(1, 500) n', [], { batchSize: 7 }))) total += r.n
    return [first, second, total]
  })
  await step('listen', async () => {
    await c.query('LISTEN news')
    const got = new Promise((resolve) => c.once('notification', (n) => resolve(n.payload)))
    const other = await connect()
    await other.query("SELECT pg_notify('news', 'hello')")
    await other.end()
    return got
  })
  await step('error', async () => { const out = []; for (const t of BAD) out.push(await rejected(c.query(t))); return out })
  await step('types', async () => rows(`SELECT 1::int2 AS a, 2::int8 AS b, 1.5::numeric AS c, '\\x00ff'::bytea AS d, true AS e, '2026-01-02 03:04:05+00'::timestamptz AS f,
    ARRAY[1,2,NULL] AS g, '{"a": [1]}'::jsonb AS h, '1 day'::interval AS i, NULL::text AS j, 'paid'::order_status AS k`))
  await c.end()
}
main()
