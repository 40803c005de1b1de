// postgres.js: see scenario.cjs. It pipelines by itself and fetches types.
'use strict'
const postgres = require('postgres')
const { POLICY, ssl, step, shape, BAD } = require('./scenario.cjs')

const rejected = async (p) => { try { await p } catch (e) { return shape(e) } }
const sql = postgres({ ssl, max: 1, onnotice: () => {} })

async function main () {
  if (POLICY) {
    await step('masked', async () => [await sql`SELECT email FROM customers WHERE id = ${1}`, await sql.unsafe('SELECT email FROM customers WHERE id = 1')])
    await step('refused', async () => {
      const e = await rejected(sql.begin(async (tx) => { await tx`SELECT 1`; await tx`SELECT id FROM customers WHERE ssn = '1'` }))
      return [e[0], await sql`SELECT 1 AS one`]
    })
    return sql.end()
  }
  await step('connect', async () => sql`SHOW server_encoding`)
  await step('transact', async () => sql.begin(async (tx) => {
    await tx`INSERT INTO scratch ${tx([{ id: 9001, a: 'x' }, { id: 9002, a: 'y' }])}`
    const e = await rejected(tx.savepoint((sp) => sp`SELECT 1/0`))
    return [e, await tx`DELETE FROM scratch WHERE id > 9000 RETURNING a`]
  }))
  await step('prepare', async () => { const out = []; for (const i of [1, 2, 1]) out.push(await sql`SELECT title, price FROM products WHERE id = ${i}`); return out })
  await step('pipeline', async () => [await Promise.all([1, 2, 3].map((i) => sql`SELECT ${i}::int AS i`)),
    await Promise.all([sql`SELECT 1 AS a`, rejected(sql`SELECT nope FROM products`), sql`SELECT 3 AS c`])])
  await step('cancel', async () => {
    const asleep = sql`SELECT pg_sleep(30)`.execute()
    setTimeout(() => asleep.cancel(), 300)
    return [(await rejected(asleep))[0], await sql`SELECT 1 AS one`]
  })
  await step('copy', async () => {
    const w = await sql`COPY scratch (id, a) FROM STDIN`.writable()
    await new Promise((resolve, reject) => { w.on('error', reject); w.on('finish', resolve); w.write('9101\tone\n'); w.end('9102\ttwo\n') })
    let out = ''
    for await (const chunk of await sql`COPY (SELECT id, a FROM scratch WHERE id > 9100 ORDER BY id) TO STDOUT`.readable()) out += chunk
    return [out, (await sql`DELETE FROM scratch WHERE id > 9100`).count]
  })
  await step('stream', async () => {
    let total = 0
    await sql`SELECT n FROM generate_series(1, 500) n`.cursor(7, (rows) => { for (const r of rows) total += r.n })
    let first = 0
    await sql`SELECT n FROM generate_series(1, 500) n`.cursor(5, (rows) => { first += rows.length; return sql.CLOSE })
    return [total, first, await sql`SELECT id, title FROM products WHERE id = ${1}`.describe().then((d) => d.columns.map((c) => [c.name, c.type]))]
  })
  await step('listen', async () => {
    let heard
    const got = new Promise((resolve) => { heard = resolve })
    await sql.listen('news', heard)
    await sql.notify('news', 'hello')
    return got
  })
  await step('error', async () => { const out = []; for (const t of BAD) out.push(await rejected(sql.unsafe(t))); return out })
  await step('types', async () => sql`SELECT 1::int2 AS a, 2::int8 AS b, 1.5::numeric AS c, '\\x00ff'::bytea AS d, true AS e, '2026-01-02 03:04:05+00'::timestamptz AS f,
    ARRAY[1,2,NULL] AS g, ${sql.json({ a: [1] })}::jsonb AS h, ${['x', 'y']}::text[] AS i, NULL::text AS j`)
  await sql.end()
}
main()
