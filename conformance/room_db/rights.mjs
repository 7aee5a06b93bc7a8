// Statements about rows that belong to somebody: nobody else sees or changes them, whichever way they ask. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { until } from '../lib/until.mjs'
import { answers, created, enter, mutationError } from './visits.mjs'

const secret = 'for my eyes only'

/** Ann has a task and a row in a protected table; everybody has one in each. */
async function furnished (tools) {
  const { rights, id } = tools
  const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
  await ann.call('createTable', created('letters', 'text', 'owner_id'))
  await rights.protect(id, 'letters')
  for (const client of [ann, ben]) for (const table of ['tasks', 'letters']) client.send({ action: 'subscribe', table })
  await ben.barrier()
  await ann.call('createTask', { title: secret })
  await ann.call('batchInsert', { table: 'letters', rows: [{ text: secret }] })
  return { ann, ben }
}

/** Each way to read, as ben. */
const readings = {
  'listTasks': async ben => await ben.rpc('listTasks', {}),
  'executeSQL on tasks': async ben => await ben.rpc('executeSQL', { sql: 'SELECT * FROM tasks' }),
  'executeSQL on a protected table': async ben => await ben.rpc('executeSQL', { sql: 'SELECT * FROM letters' }),
  'a count': async ben => await ben.rpc('executeSQL', { sql: 'SELECT (SELECT COUNT(*) FROM tasks) + (SELECT COUNT(*) FROM letters) AS n' }),
  'a live query': async ben => await ben.ask({ action: 'subscribe_query', sql: 'SELECT * FROM tasks', table: 'tasks' }),
  'the schema': async ben => await ben.rpc('getSchema'),
  'usage': async ben => await ben.rpc('getUsage'),
  'the audit log': async ben => await ben.rpc('getAuditLog')
}

/** Each way to change, as ben, and what is answered: as if the row did not exist. */
const changings = {
  'completeTask': ['completeTask', { id: 1 }, { type: 'mutation_success', action: 'completeTask' }],
  'deleteTask': ['deleteTask', { id: 1 }, { type: 'mutation_success', action: 'deleteTask' }],
  'updateRow of tasks': ['updateRow', { table: 'tasks', id: 1, field: 'title', value: 'x' }, mutationError('updateRow', 'No row found with id 1')],
  'updateRow of the owner of a task': ['updateRow', { table: 'tasks', id: 1, field: 'owner_id', value: null }, null],
  'updateRow of a protected table': ['updateRow', { table: 'letters', id: 1, field: 'text', value: 'x' }, mutationError('updateRow', 'No row found with id 1')],
  'updateRow of the owner of a protected row': ['updateRow', { table: 'letters', id: 1, field: 'owner_id', value: 'x' }, null],
  'batchInsert over a task': ['batchInsert', { table: 'tasks', rows: [{ id: 1, title: 'x' }] }, null]
}

export const onRights = {
  ...forEach(
    readings,
    what => `rows of ann are hidden from ben: ${what} (6, 12.8)`,
    async (tools, read) => {
      const { ann, ben } = await furnished(tools)
      const answer = await read(ben)
      assert.ok(!JSON.stringify(answer).includes(secret), JSON.stringify(answer))
      if (answer.data?.[0]?.n !== undefined) assert.equal(answer.data[0].n, 0)
      if (['query_result'].includes(answer.type) && !['getUsage', 'getAuditLog'].includes(answer.originalSql) && answer.data[0]?.n === undefined) assert.deepEqual(answer.data, [])
      await ann.call('completeTask', { id: 1 })
      await ben.call('createTask', { title: 'mine' })
      await ben.message('the event of the own task', ({ event }) => event === 'update')
      await ben.barrier()
      assert.deepEqual(ben.changes().map(({ row }) => row.title), ['mine'])
      assert.ok(!JSON.stringify(ben.messages).includes(secret))
    }
  ),

  ...forEach(
    changings,
    what => `rows of ann are not ben's to change: ${what} (6, 12.8)`,
    async (tools, [method, payload, expected]) => {
      const { ann, ben } = await furnished(tools)
      const see = async () => [await ann.select('SELECT * FROM tasks'), await ann.select('SELECT * FROM letters')]
      const before = await see()
      const { data: _, ...answer } = await ben.rpc(method, payload)
      if (expected !== null) assert.deepEqual(answer, expected)
      assert.deepEqual(await see(), before)
      await ann.barrier()
      assert.ok(ann.changes().every(({ action }) => action === 'added'))
      assert.ok(!JSON.stringify(ben.messages).includes(secret))
    }
  ),

  async 'a row without an owner is everybody\'s: seen, told and changed (6)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ann.call('createTask', { title: 'shared' })
    ben.send({ action: 'subscribe', table: 'tasks' })
    await ben.barrier()
    await ann.call('updateRow', { table: 'tasks', id: 1, field: 'owner_id', value: null })
    const { row } = await ben.message('the event', ({ event }) => event === 'update')
    assert.deepEqual([row.title, row.owner_id], ['shared', null])
    await ben.call('completeTask', { id: 1 })
    assert.equal((await ann.call('listTasks', {})).data[0].status, 'completed')
    assert.equal((await ben.call('listTasks', {})).total, 1)
  },

  ...forEach(
    { 'read': { read: true, write: false }, 'write': { read: true, write: true } },
    what => `a permission to ${what} on tasks lifts it, and no more; taken away, it is as before (6, 12.9)`,
    async (tools, right) => {
      const { rights, id, people } = tools
      const { ann, ben } = await furnished(tools)
      const { id: bens } = await people.get('ben')
      await rights.permit(id, bens, 'tasks', right)
      const titles = async () => (await ben.call('listTasks', {})).data.map(({ title }) => title)
      await until('the right to count', async () => (await titles()).length === 1, { everyMs: 50 })
      assert.deepEqual(await ben.select('SELECT title FROM tasks'), [{ title: secret }])
      assert.deepEqual(await ben.select('SELECT text FROM letters'), [], 'of another table it says nothing')
      await ann.call('updateRow', { table: 'tasks', id: 1, field: 'title', value: `${secret}!` })
      const { row } = await ben.message('the event', ({ event }) => event === 'update')
      assert.equal(row.title, `${secret}!`)
      await ben.call('completeTask', { id: 1 })
      assert.equal((await ann.call('listTasks', {})).data[0].status, right.write ? 'completed' : 'pending')
      const updated = await ben.rpc('updateRow', { table: 'tasks', id: 1, field: 'title', value: 'by ben' })
      assert.equal(updated.type, right.write ? 'mutation_success' : 'mutation_error')
      await rights.forbid(id, bens, 'tasks')
      await until('the right to end', async () => (await titles()).length === 0, { everyMs: 50 })
      const from = ben.messages.length
      await ann.call('createTask', { title: secret })
      await ben.barrier()
      assert.deepEqual(ben.messages.slice(from).filter(({ event }) => event === 'update'), [])
    }
  ),

  async 'in a protected table nobody makes rows for somebody else, nor gives them away (6)' (tools) {
    const { id, rights, people } = tools
    const { ann, ben } = await furnished(tools)
    const [annsId, bensId] = [(await people.get('ann')).id, (await people.get('ben')).id]
    await ben.rpc('batchInsert', { table: 'letters', rows: [{ text: 'forged', owner_id: annsId }] })
    await ben.rpc('batchInsert', { table: 'tasks', rows: [{ title: 'forged', owner_id: annsId, user_id: annsId }] })
    await ben.call('batchInsert', { table: 'letters', rows: [{ text: 'mine' }] })
    assert.deepEqual(await ann.select("SELECT text FROM letters WHERE text = 'forged'"), [])
    assert.deepEqual((await ann.call('listTasks', {})).data.map(({ title }) => title), [secret])
    const [{ id: mine }] = await ben.select("SELECT id FROM letters WHERE text = 'mine'")
    assert.equal((await ben.rpc('updateRow', { table: 'letters', id: mine, field: 'owner_id', value: annsId })).type, 'mutation_error')
    assert.deepEqual(await ben.select("SELECT owner_id FROM letters WHERE text = 'mine'"), [{ owner_id: bensId }])
    await rights.unprotect(id, 'letters')
    await until('all rows to be seen', async () => (await ben.rpc('executeSQL', { sql: `SELECT text FROM letters WHERE text = '${secret}'` })).data.length === 1, { everyMs: 100 })
  },

  async 'other tables are open to all who are in the room (6)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ann.call('createTable', created('notes', 'text', 'owner_id'))
    await ann.call('batchInsert', { table: 'notes', rows: [{ text: 'open' }] })
    assert.equal((await ben.select('SELECT text FROM notes')).length, 1)
    await answers(ben, 'updateRow', { table: 'notes', id: 1, field: 'text', value: 'changed' }, { type: 'mutation_success', action: 'updateRow', data: { id: 1, text: 'changed', owner_id: (await tools.people.get('ann')).id } })
  }
}
