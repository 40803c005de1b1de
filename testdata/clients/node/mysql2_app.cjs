// mysql2: see scenario.cjs.
'use strict'
const mysql = require('mysql2/promise')
const { POLICY, myssl, step } = require('./scenario.cjs')

const connect = (more) => mysql.createConnection({
  host: process.env.MYSQL_HOST, port: +process.env.MYSQL_PORT, user: process.env.MYSQL_USER, password: process.env.MYSQL_PASSWORD,
  database: process.env.MYSQL_DATABASE, ssl: myssl, timezone: 'Z', ...more
})
const OURS = [1054, 1064] // whose texts are the proxy's own
const fails = async (p) => { try { await p } catch (e) { return [e.errno, e.code, e.sqlState, ...(OURS.includes(e.errno) ? [] : [e.sqlMessage])] } }

async function main () {
  const c = await connect()
  const text = async (...a) => (await c.query(...a))[0]
  const prepared = async (...a) => (await c.execute(...a))[0]
  if (POLICY) {
    await step('masked', async () => [await text('SELECT email FROM customers WHERE id = 1'), await prepared('SELECT email FROM customers WHERE id = ?', [1])])
    await step('refused', async () => {
      await c.beginTransaction()
      await text("INSERT INTO scratch (id, a) VALUES (7003, 'kept')")
      const e = [await fails(c.query("SELECT id FROM customers WHERE ssn = '1'")), await fails(c.execute('SELECT id FROM customers WHERE ssn = ?', ['1']))]
      const kept = await prepared('SELECT a FROM scratch WHERE id = 7003')
      await c.rollback()
      return [e.map((x) => x[0]), kept]
    })
    await step('local', async () => (await fails(c.query({ sql: "LOAD DATA LOCAL INFILE 'x' INTO TABLE scratch", infileStreamFactory: () => require('stream').Readable.from(['1\tx\n']) })))[0])
    await step('tls', async () => c.connection.stream.encrypted && c.connection.stream.authorized)
    return c.end()
  }
  await step('connect', async () => [await text('SELECT VERSION() AS v, DATABASE() AS d, @@character_set_client AS cs'), await c.ping()])
  await step('introspect', async () => [await text('SHOW FULL COLUMNS FROM customers'), await text('SHOW INDEX FROM order_lines'), await text('SHOW TABLES'),
    await prepared('SELECT table_name AS t, engine AS e FROM information_schema.tables WHERE table_schema = ? ORDER BY 1', ['shop'])])
  await step('transact', async () => {
    await c.beginTransaction()
    const a = await prepared('INSERT INTO scratch (id, a) VALUES (?, ?)', [7001, 'x'])
    const b = await text('INSERT INTO scratch (id, a) VALUES ?', [[[7002, "y'"], [7003, null]]])
    const rows = await text('SELECT id, a FROM scratch WHERE id > 7000 ORDER BY id')
    await c.rollback()
    return [a.affectedRows, b.affectedRows, b.info, rows, await text('SELECT COUNT(*) AS n FROM scratch WHERE id > 7000')]
  })
  await step('prepare', async () => {
    const s = await c.prepare('SELECT title, price, attrs FROM products WHERE id = ? OR title = ?')
    const out = [(await s.execute([1, 'Product 2']))[0], (await s.execute([3, null]))[0]]
    await s.close()
    return [out, await fails(c.prepare('SELECT nope FROM products WHERE id = ?'))]
  })
  await step('stream', async () => {
    let sum = 0
    const q = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n'
    for await (const row of c.connection.query(q).stream({ highWaterMark: 5 })) sum += row.i
    return sum
  })
  await step('results', async () => {
    const m = await connect({ multipleStatements: true })
    const [rows] = await m.query('SELECT 1 AS a; SELECT 2 AS b; DO 1')
    await m.end()
    return rows.map((r) => Array.isArray(r) ? r : r.affectedRows)
  })
  await step('cancel', async () => {
    const sleeper = await connect()
    const asleep = fails(sleeper.query('SELECT SLEEP(30) FROM customers'))
    while (!(await text("SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(30)%'")).length);
    await text('KILL QUERY ' + sleeper.threadId)
    const out = [await asleep, (await sleeper.query('SELECT 1 AS one'))[0]]
    await sleeper.end()
    return out
  })
  await step('error', async () => Promise.all(['SELECT * FROM nowhere', 'SELECT nope FROM products', 'SELEC', 'INSERT INTO products (id) VALUES (1)'].map((q) => fails(c.query(q)))))
  await step('types', async () => {
    const q = `SELECT -5 AS i, 18446744073709551615 AS u, 1.50 AS d, 1.5e0 AS f, 'ł€𝄞' AS t, X'00ff' AS x, DATE '2026-01-02' AS dt, TIMESTAMP '2026-01-02 03:04:05.006' AS ts,
      TIME '-12:34:56' AS tm, NULL AS n, image, price, stock FROM products WHERE id = 1`
    const o = { supportBigNumbers: true, bigNumberStrings: true }
    return [(await c.query({ sql: q, ...o }))[0], (await c.execute({ sql: q, ...o }))[0]]
  })
  await step('reset', async () => {
    await c.query('SET @kept = 5')
    const before = await text('SELECT @kept AS kept')
    await c.reset?.()
    return [before, await text('SELECT DATABASE() AS d')]
  })
  await c.end()
}
main().catch((e) => { console.error(e); process.exitCode = 1 })
