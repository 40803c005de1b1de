// What the Node scenarios share: lines "step: what was seen", so that runs can be compared. The first argument is
// plain, or policy, where customers.email is masked and customers.ssn must not be compared.
'use strict'
const fs = require('fs')
exports.POLICY = process.argv[2] === 'policy'
const tls = (ca) => exports.POLICY && ca ? { ca: fs.readFileSync(ca, 'utf8'), servername: 'localhost' } : undefined
exports.ssl = tls(process.env.PGSSLROOTCERT) || false
exports.myssl = tls(process.env.MYSQL_CA)
exports.step = async (name, f) => {
  try {
    console.log(`${name}: ${JSON.stringify(await f())}`)
  } catch (e) {
    console.error(e)
    console.log(`${name}: FAILED ${e.message}`)
  }
}
exports.shape = (e) => [e.code, e.message, e.position, e.column || e.column_name, e.severity]
exports.BAD = ['SELECT * FROM nowhere', 'SELECT nope FROM products', 'SELEC', 'INSERT INTO products (id) VALUES (1)']
