// Statements about calls that nobody would make: every one is answered, whatever is in it, and the room goes on. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { Random } from '../lib/random.mjs'
import { created, enter } from './visits.mjs'

const calls = 1_500
const atOnce = 20
const perUser = 45 // of 50 statements and 100 changes that one user may send in a minute: most are not refused for being too many

const names = ['people', 'tasks', 'PEOPLE', 'missing', '_usage', 'sqlite_master', 'people"', "people'", 'peo ple', '', ' ', '1', 'é', 'a'.repeat(5_000), 'order', '__proto__', 'constructor', 'people\u0000', '\ud800']
const columns = ['name', 'id', 'ID', 'Name', 'owner_id', 'rowid', 'absent', 'na me', '"name"', 'name; --', '', '__proto__', 'select', 'x'.repeat(3_000)]
// No numbers from which rows would count on beyond 2^53: this side could not tell them apart.
const scalars = [null, true, false, 0, 1, -1, 1.5, 1e308, -0, 2 ** 40, -(2 ** 53), 1e400, '', 'x', "it's", '\u0000', '\ud800', '😀', 'x'.repeat(20_000), 'NULL', 'CURRENT_TIMESTAMP', "x'00'"]
const statements = [
  'SELECT 1', 'SELECT', ';', '', ' ', '--', 'SELECT * FROM people', 'SELECT * FROM people ORDER BY 99', 'SELECT ?', 'SELECT ?, ?9', 'SELECT :a', 'SELECT count(*) FROM people, people, people',
  'WITH x AS (SELECT 1) SELECT * FROM x', 'VALUES (1)', 'SELECT abs(-9223372036854775808)', 'SELECT 9223372036854775807 + 1', 'SELECT 1/0', 'SELECT 1e999, -1e999', 'SELECT char(0), char(55296)', "SELECT x'ff' || 'x'",
  'SELECT CAST(x\'ff\' AS TEXT) AS t', `SELECT ${'('.repeat(900)}1${')'.repeat(900)}`, `SELECT ${'1,'.repeat(3_000)}1`, 'SELECT * FROM json_each(\'[1,2]\')', 'SELECT * FROM generate_series(1, 3)', 'SELECT "a\u0000b"'
]

/** Anything that JSON can hold, small or not. */
function anything (random, depth = 0) {
  const kind = random.below(depth > 2 ? 3 : 6)
  if (kind < 3) return random.pick(scalars)
  if (kind === 3) return Array.from({ length: random.below(4) }, () => anything(random, depth + 1))
  if (kind === 4) return Object.fromEntries(Array.from({ length: random.below(4) }, () => [random.pick(columns), anything(random, depth + 1)]))
  return random.pick([...names, ...statements])
}

const often = (random, usual, other) => random.chance(0.6) ? usual : other

const row = random => often(random, Object.fromEntries(Array.from({ length: random.below(4) }, () => [random.pick(columns), often(random, random.pick(scalars), anything(random))])), anything(random))
const column = random => often(random, { name: random.pick(columns), type: random.pick(['TEXT', 'integer', 'BLOB', 'x', 7, null]), primaryKey: anything(random), notNull: anything(random), unique: anything(random), default: anything(random) }, anything(random))

const payloads = {
  createTask: random => ({ title: anything(random) }),
  completeTask: random => ({ id: anything(random) }),
  deleteTask: random => ({ id: anything(random) }),
  listTasks: random => ({ limit: anything(random), offset: anything(random) }),
  updateRow: random => ({ table: often(random, 'people', random.pick(names)), id: often(random, 1, anything(random)), field: random.pick(columns), value: anything(random) }),
  batchInsert: random => ({ table: often(random, 'people', random.pick(names)), rows: often(random, Array.from({ length: random.below(5) }, () => row(random)), anything(random)) }),
  executeSQL: random => ({ sql: often(random, random.pick(statements), anything(random)), params: random.chance(0.5) ? undefined : anything(random), readonly: anything(random) }),
  createTable: random => ({ tableName: often(random, `t${random.below(5)}`, random.pick(names)), columns: often(random, Array.from({ length: random.below(4) }, () => column(random)), anything(random)) }),
  deleteTable: random => ({ tableName: often(random, `t${random.below(5)}`, anything(random)) === 'people' ? 't0' : `t${random.below(5)}` }),
  getSchema: anything,
  getUsage: anything,
  getAuditLog: anything,
  setCursor: random => ({ userId: anything(random), position: anything(random) }),
  getCursors: anything,
  setPresence: random => ({ userId: anything(random), status: anything(random) }),
  getPresence: anything,
  updateDebounced: random => ({ key: anything(random), value: anything(random) }),
  flushDebounced: anything,
  search: anything,
  foo: anything
}

/** The forms in which each kind of method answers. */
const forms = {
  mutation: ['mutation_success', 'mutation_error'],
  query: ['query_result', 'query_error'],
  plain: ['success', 'error']
}
const formOf = method =>
  ['createTask', 'completeTask', 'deleteTask', 'updateRow', 'batchInsert', 'createTable', 'deleteTable'].includes(method) ? forms.mutation
    : ['listTasks', 'executeSQL', 'getUsage', 'getAuditLog', 'getCursors', 'getPresence', 'search'].includes(method) ? forms.query
      : method === 'getSchema' ? ['rpc_result'] : method === 'foo' ? ['error'] : forms.plain

export const atRandom = {
  async 'calls with anything in them: each is answered, in the form of its method, and the table of others is what events have told (2, 3, 12.19, 12.20)' (tools) {
    const { seed, log } = tools
    const random = new Random(seed)
    const watcher = await enter(tools, 'ann')
    await watcher.call('createTable', created('people', 'name', 'owner_id'))
    watcher.send({ action: 'subscribe', table: 'people' })
    await watcher.barrier()
    const counts = {}
    let client
    for (let sent = 0; sent < calls; sent += atOnce) {
      if (client === undefined || sent % (perUser * 4) < atOnce) client = await enter(tools, `random${Math.floor(sent / (perUser * 4))}`)
      await Promise.all(Array.from({ length: atOnce }, async () => {
        const method = random.pick(Object.keys(payloads))
        const payload = random.chance(0.9) ? payloads[method](random) : anything(random)
        const answer = await client.rpc(method, payload)
        const what = `${method} ${JSON.stringify(payload)?.slice(0, 300)} was answered with ${JSON.stringify(answer).slice(0, 300)}; seed ${seed}`
        assert.ok(formOf(method).includes(answer.type), what)
        if (answer.error !== undefined) assert.ok(typeof answer.error === 'string' && answer.error.length > 0 && answer.error.length < 20_000, what)
        counts[answer.type] = (counts[answer.type] ?? 0) + 1
      }))
      assert.equal(client.closed, null, `seed ${seed}`)
    }
    await watcher.barrier()
    const rows = new Map()
    for (const { action, row } of watcher.changes('people')) {
      if (action === 'deleted') rows.delete(row.id)
      else {
        if (row.id !== undefined) rows.set(row.id, row)
      }
    }
    const there = await watcher.select('SELECT * FROM people ORDER BY id')
    const told = [...rows.values()].filter(row => there.some(({ id }) => id === row.id)).sort((a, b) => a.id - b.id)
    assert.deepEqual(told, there, `seed ${seed}`)
    log(`${calls} calls: ${Object.entries(counts).map(([type, count]) => `${count} ${type}`).join(', ')}; ${there.length} rows; seed ${seed}`)
  }
}
