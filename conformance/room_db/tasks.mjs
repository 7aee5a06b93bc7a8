// Statements about the built-in table of tasks, and about usage. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { answers, enter, mutationError, queryError, withPeople } from './visits.mjs'

const perMinute = 100
const titleCharactersMax = 500
const tooFast = 'Rate limit exceeded. Please slow down.'
const badId = 'Invalid id: must be a positive integer'

const titles = {
  'a title': ['Buy milk', 'Buy milk'],
  'spaces around it': ['  Buy milk \n', 'Buy milk'],
  'tab and line break in it': ['Buy\tmilk\nand bread', 'Buy\tmilk\nand bread'],
  'control characters': ['Buy\u0000 \u001bmilk\u0007\u007f', 'Buy milk'],
  'quotes and SQL': [`Robert'); DROP TABLE tasks; --"`, `Robert'); DROP TABLE tasks; --"`],
  'other scripts': ['買う 🥛 мо́локо', '買う 🥛 мо́локо'],
  'the longest': ['x'.repeat(titleCharactersMax), 'x'.repeat(titleCharactersMax)],
  'too long': [`${'x'.repeat(titleCharactersMax)}y`, 'x'.repeat(titleCharactersMax)]
}

const badIds = { zero: 0, negative: -1, 'with a fraction': 1.5, 'a text': 'x', null: null, nothing: undefined, 'a list': [1], true: true, 'with SQL': '1 OR 1=1' }

/** What is asked for, and what it means. */
const pages = {
  'nothing': [{}, 100, 0],
  'numbers': [{ limit: 2, offset: 1 }, 2, 1],
  'numeric texts': [{ limit: '2', offset: '1' }, 2, 1],
  'the largest limit': [{ limit: 1000, offset: 0 }, 1000, 0],
  'no limit': [{ limit: 0 }, 100, 0],
  'too large a limit': [{ limit: 1001 }, 100, 0],
  'a negative limit and offset': [{ limit: -1, offset: -1 }, 100, 0],
  'texts': [{ limit: 'x', offset: 'y' }, 100, 0],
  'null and lists': [{ limit: null, offset: [] }, 100, 0],
  'behind the end': [{ limit: 5, offset: 50 }, 5, 50],
  'SQL': [{ limit: '1; DROP TABLE tasks', offset: '0 UNION SELECT 1' }, 100, 0]
}

export const onTasks = {
  ...forEach(
    titles,
    what => `createTask: ${what} (4)`,
    async (tools, [title, kept]) => {
      const client = await enter(tools, 'ann')
      const { id: me } = await tools.people.get('ann')
      client.send({ action: 'subscribe', table: 'tasks' })
      const row = { id: 1, title: kept, status: 'pending', vector_status: 'pending', owner_id: me, user_id: me }
      await answers(client, 'createTask', { title, owner_id: 'x', user_id: 'x', status: 'done' }, { type: 'mutation_success', action: 'createTask', data: row })
      const event = await client.message('the event', ({ event }) => event === 'update')
      assert.deepEqual(event, { event: 'update', table: 'tasks', action: 'added', row })
      assert.deepEqual((await client.call('listTasks', {})).data, [row])
    }
  ),

  async 'a task is completed and deleted; events have the row after and before (4, 5)' (tools) {
    const client = await enter(tools, 'ann')
    client.send({ action: 'subscribe', table: 'tasks' })
    const { data: row } = await client.call('createTask', { title: 'a' })
    for (const [method, action, after] of [['completeTask', 'modified', { ...row, status: 'completed' }], ['deleteTask', 'deleted', { ...row, status: 'completed' }]]) {
      const { data: _, ...answer } = await client.rpc(method, { id: row.id }, { updateId: 'u' })
      assert.deepEqual(answer, { type: 'mutation_success', action: method, updateId: 'u' })
      assert.deepEqual(await client.message(action, message => message.action === action), { event: 'update', table: 'tasks', action, row: after })
    }
    for (const method of ['completeTask', 'deleteTask']) assert.equal((await client.rpc(method, { id: row.id })).type, 'mutation_success', 'also when there is none')
    await client.barrier()
    assert.deepEqual(client.changes().map(({ action }) => action), ['added', 'modified', 'deleted'])
    assert.deepEqual((await client.call('listTasks', {})).data, [])
  },

  ...forEach(
    badIds,
    what => `completeTask and deleteTask with an id that is ${what}: refused (4)`,
    async (tools, id) => {
      const client = await enter(tools, 'ann')
      await client.call('createTask', { title: 'a' })
      for (const method of ['completeTask', 'deleteTask']) await answers(client, method, { id }, mutationError(method, badId))
      assert.equal((await client.call('listTasks', {})).data[0].status, 'pending')
    }
  ),

  ...forEach(
    pages,
    what => `listTasks with limit and offset: ${what} (4)`,
    async (tools, [payload, limit, offset]) => {
      const client = await enter(tools, 'ann')
      const titles = ['a', 'b', 'c', 'd']
      for (const title of titles) await client.call('createTask', { title })
      const { data, ...answer } = await client.call('listTasks', payload)
      assert.deepEqual(data.map(({ title }) => title), titles.slice(offset, offset + limit))
      assert.deepEqual(answer, { type: 'query_result', total: 4, originalSql: 'listTasks', pagination: { limit, offset, total: 4 } })
    }
  ),

  async '101 times createTask in a minute: the last is refused, 100 rows exist; another user goes on (4, 12.12)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const results = await Promise.all(Array.from({ length: perMinute + 1 }, (_, i) => ann.rpc('createTask', { title: `${i}` })))
    assert.deepEqual(results.filter(({ type }) => type === 'mutation_success').length, perMinute)
    assert.deepEqual(results.at(-1), mutationError('createTask', tooFast))
    assert.equal((await ann.call('listTasks', { limit: 1 })).total, perMinute)
    await ben.call('createTask', { title: 'mine' })
    await ann.call('completeTask', { id: 1 })
    const other = await enter(tools, 'ann', { room: `${tools.id}-other` })
    await other.call('createTask', { title: 'another room' })
  },

  async 'getUsage counts each method once, on the day it was called, in UTC (4, 7)' (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client, 'Ann') // two writes
    await client.call('createTask', { title: 'x' })
    await client.select('SELECT 1')
    await client.call('listTasks', {})
    const { data, originalSql } = await client.call('getUsage')
    assert.equal(originalSql, 'getUsage')
    const days = [Date.now(), Date.now() - 1_000].map(ms => new Date(ms).toISOString().slice(0, 10))
    assert.ok(days.includes(data[0].date), data[0].date)
    assert.equal(data[0].writes, 3)
    assert.ok(data[0].reads >= 2 && data[0].reads <= 3, `${data[0].reads} reads`)
    assert.equal(data[0].ai_ops, 0)
  },

  async 'getAuditLog is empty, and says why (4)' (tools) {
    const { info, ...answer } = await (await enter(tools, 'ann')).call('getAuditLog')
    assert.deepEqual(answer, { type: 'query_result', data: [], originalSql: 'getAuditLog' })
    assert.equal(typeof info, 'string')
  },

  async 'createTask without a title is one without, or refused in words (4)' (tools) {
    const client = await enter(tools, 'ann')
    for (const payload of [{}, { title: 7 }, { title: '   ' }]) {
      const answer = await client.rpc('createTask', payload)
      if (answer.type !== 'mutation_success') assert.deepEqual([answer.type, answer.action, typeof answer.error], ['mutation_error', 'createTask', 'string'])
    }
  },

  async 'executeSQL is counted by user, room and method: the 51st is refused (4, 12.10)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const results = await Promise.all(Array.from({ length: 51 }, (_, i) => ann.rpc('executeSQL', { sql: `SELECT ${i} AS n` })))
    assert.deepEqual(results.slice(0, 50).map(({ data, error }) => data?.[0].n ?? error), Array.from({ length: 50 }, (_, i) => i))
    assert.deepEqual(results[50], queryError('Rate limit exceeded for executeSQL'))
    await ben.select('SELECT 1')
    const other = await enter(tools, 'ann', { room: `${tools.id}-other` })
    await other.select('SELECT 1')
    const again = await enter(tools, 'ann')
    assert.deepEqual(await again.rpc('executeSQL', { sql: 'SELECT 1' }), queryError('Rate limit exceeded for executeSQL'), 'a new connection is no new minute')
  }
}
