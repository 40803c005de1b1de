// Drizzle over node-postgres: see scenario.cjs.
'use strict'
const { Pool } = require('pg')
const { drizzle } = require('drizzle-orm/node-postgres')
const { pgTable, integer, text, numeric } = require('drizzle-orm/pg-core')
const { eq, sql, count, desc } = require('drizzle-orm')
const { POLICY, ssl, step } = require('./scenario.cjs')

const customers = pgTable('customers', { id: integer().primaryKey(), name: text(), email: text(), ssn: text() })
const products = pgTable('products', { id: integer().primaryKey(), title: text(), price: numeric() })
const scratch = pgTable('scratch', { id: integer(), a: text() })
const cause = (e) => (e.cause || e)

async function main () {
  const pool = new Pool({ ssl, max: 1 })
  const db = drizzle(pool)
  if (POLICY) {
    await step('masked', async () => db.select({ email: customers.email }).from(customers).where(eq(customers.id, 1)))
    await step('refused', async () => {
      try { await db.select({ id: customers.id }).from(customers).where(eq(customers.ssn, '1')) } catch (e) { return [cause(e).code, await db.select({ id: customers.id }).from(customers).where(eq(customers.id, 1))] }
    })
    return pool.end()
  }
  await step('connect', async () => (await db.execute(sql`SHOW server_encoding`)).rows)
  await step('orm', async () => [await db.select().from(products).orderBy(desc(products.id)).limit(2), await db.select({ n: count() }).from(products)])
  await step('transact', async () => db.transaction(async (tx) => {
    await tx.insert(scratch).values([{ id: 9501, a: 'x' }, { id: 9502, a: 'y' }])
    let code
    try { await tx.transaction(async (sp) => { await sp.execute(sql`SELECT 1/0`) }) } catch (e) { code = cause(e).code }
    await tx.update(scratch).set({ a: 'z' }).where(eq(scratch.id, 9501))
    return [code, await tx.delete(scratch).where(sql`id > 9500`).returning()]
  }))
  await step('prepare', async () => {
    const p = db.select().from(products).where(eq(products.id, sql.placeholder('id'))).prepare('by_id')
    return [await p.execute({ id: 1 }), await p.execute({ id: 2 })]
  })
  await step('error', async () => { try { await db.execute(sql`SELECT nope FROM products`) } catch (e) { return [cause(e).code, cause(e).message] } })
  await pool.end()
}
main()
