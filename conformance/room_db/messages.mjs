// Statements about messages of room databases: their forms, the ids that come back, what is not built, and bad input. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { answers, created, enter, mutationError, plainError, queryError, withPeople } from './visits.mjs'

const subscriptionsMax = 2_000
const pongMs = 1_000

/** Methods with what they need to succeed, and the form of the answer; nothing else is in it but `data`. */
const successes = {
  createTask: [{ title: 'Buy milk' }, 'mutation_success'],
  completeTask: [{ id: 1 }, 'mutation_success'],
  deleteTask: [{ id: 1 }, 'mutation_success'],
  listTasks: [{}, 'query_result'],
  updateRow: [{ table: 'people', id: 1, field: 'name', value: 'Ann' }, 'mutation_success'],
  batchInsert: [{ table: 'people', rows: [{ name: 'Ben' }] }, 'mutation_success'],
  executeSQL: [{ sql: 'SELECT 1 AS one', readonly: true }, 'query_result'],
  createTable: [created('firms', 'name'), 'mutation_success'],
  deleteTable: [{ tableName: 'missing' }, 'mutation_success'],
  getSchema: [undefined, 'rpc_result'],
  getUsage: [undefined, 'query_result'],
  getAuditLog: [undefined, 'query_result'],
  setCursor: [{ userId: 'a', position: 1 }, 'success'],
  getCursors: [undefined, 'query_result'],
  setPresence: [{ userId: 'a', status: 'here' }, 'success'],
  getPresence: [undefined, 'query_result'],
  updateDebounced: [{ key: 'k', value: 1 }, 'success'],
  flushDebounced: [undefined, 'success']
}

/** Methods with what they refuse, in the method's own form. */
const failures = {
  completeTask: [{ id: 0 }, mutationError('completeTask', 'Invalid id: must be a positive integer')],
  deleteTask: [{ id: 'x' }, mutationError('deleteTask', 'Invalid id: must be a positive integer')],
  updateRow: [{}, mutationError('updateRow', 'Invalid table name')],
  batchInsert: [{}, mutationError('batchInsert', 'Invalid table name')],
  executeSQL: [{}, queryError('executeSQL requires sql parameter')],
  createTable: [{}, mutationError('createTable', 'createTable requires tableName and columns array')],
  deleteTable: [{}, mutationError('deleteTable', 'deleteTable requires tableName parameter')],
  setCursor: [{}, plainError('setCursor requires userId and position')],
  setPresence: [{}, plainError('setPresence requires userId and status')],
  updateDebounced: [{}, plainError('updateDebounced requires key parameter')],
  foo: [{}, plainError('Unknown RPC method: foo', { code: 'UNKNOWN_METHOD' })]
}

const notSupported = [
  'streamIntent', 'subscribeSemantic', 'chatWithDatabase', 'createWebhook', 'listWebhooks', 'updateWebhook', 'deleteWebhook', 'getWebhooklogs', 'forceSyncAll',
  'getUploadUrl', 'listFiles', 'scheduleCron', 'listCronJobs', 'exportAuditLog'
]

/** How an id is sent, and how it comes back. */
const ids = {
  'requestId': [{ requestId: 'r' }, { requestId: 'r' }],
  'updateId': [{ updateId: 'u' }, { updateId: 'u' }],
  'both': [{ requestId: 'r', updateId: 'u' }, { requestId: 'r', updateId: 'u' }],
  'id for requestId': [{ id: 'i' }, { id: 'i' }],
  'id for requestId, and updateId': [{ id: 'i', updateId: 'u' }, { id: 'i', updateId: 'u' }],
  'requestId before id': [{ requestId: 'r', id: 'i' }, { requestId: 'r' }],
  'neither': [{}, {}],
  'odd characters': [{ requestId: '"\\\n\u0000é😀</script>' }, { requestId: '"\\\n\u0000é😀</script>' }],
  'empty texts': [{ requestId: '', updateId: '' }, { requestId: '', updateId: '' }]
}

const badMessages = {
  'not JSON': ['{', plainError('Invalid JSON')],
  'no text at all': ['', plainError('Invalid JSON')],
  'two objects': ['{"action":"ping"}{"action":"ping"}', plainError('Invalid JSON')],
  'a number that is none': ['{"action":NaN}', plainError('Invalid JSON')],
  'a list': ['[]', plainError('Invalid message')],
  'a list with a message': ['[{"action":"ping"}]', plainError('Invalid message')],
  'a number': ['1', plainError('Invalid message')],
  'a text': ['"ping"', plainError('Invalid message')],
  'null': ['null', plainError('Invalid message')],
  'no action': ['{}', ['action']],
  'an action of null': ['{"action":null}', ['action']],
  'an action that is a number': ['{"action":1}', ['action']],
  'an unknown action': ['{"action":"foo"}', ['action']],
  'an action in capitals': ['{"action":"PING"}', ['action']],
  'an action of every object': ['{"action":"constructor"}', ['action']],
  'subscribe without a table': ['{"action":"subscribe"}', ['table']],
  'subscribe to a number': ['{"action":"subscribe","table":7}', ['table']],
  'subscribe to null': ['{"action":"subscribe","table":null}', ['table']],
  'rpc without a method': ['{"action":"rpc"}', plainError('Unknown RPC method: ', { code: 'UNKNOWN_METHOD' })],
  'rpc with an unknown method': ['{"action":"rpc","method":"foo"}', plainError('Unknown RPC method: foo', { code: 'UNKNOWN_METHOD' })],
  'rpc with a method of every object': ['{"action":"rpc","method":"__proto__"}', plainError('Unknown RPC method: __proto__', { code: 'UNKNOWN_METHOD' })],
  'query': ['{"action":"query","sql":"SELECT 1"}', queryError('Raw SQL queries are disabled for security. Please use RPC methods.')],
  'query without sql': ['{"action":"query"}', queryError('Raw SQL queries are disabled for security. Please use RPC methods.')],
  'mutate': ['{"action":"mutate","sql":"DELETE FROM tasks"}', { error: 'Raw mutations are disabled. Use RPC actions.' }],
  'subscribe_query in neither form': ['{"action":"subscribe_query"}', plainError('subscribe_query requires queryId, method, and tables')],
  'subscribe_query without tables': ['{"action":"subscribe_query","queryId":"q","method":"listTasks"}', plainError('subscribe_query requires queryId, method, and tables')],
  'subscribe_query without a table': ['{"action":"subscribe_query","sql":"SELECT 1"}', plainError('subscribe_query requires queryId, method, and tables')]
}

/** Payloads that are no objects: as if `{}`. */
const badPayloads = { 'a list': '[]', 'a list of values': '["people"]', 'a number': '1', 'a text': '"people"', 'null': 'null', 'true': 'true', nothing: undefined }

const badSql = {
  'DROP TABLE tasks': 'Only SELECT and WITH queries allowed in read-only mode',
  'SELECT 1; DROP TABLE tasks': null,
  'WITH x AS (SELECT 1) DELETE FROM tasks': null,
  'SELECT * FROM missing': 'no such table: missing'
}

const badTableName = 'Invalid table name. Use only letters, numbers, and underscores. Must start with a letter or underscore.'
const badNames = {
  'createTable by a name with a quote': ['createTable', created('x"y', 'a'), badTableName],
  'createTable by a name with SQL': ['createTable', created('x (a); DROP TABLE tasks; --', 'a'), badTableName],
  'createTable with a column with a quote': ['createTable', created('y', 'a"b'), 'Failed to create table: Invalid column name: a"b'],
  'createTable with a column with SQL': ['createTable', created('y', 'a) ; DROP TABLE tasks; --'), 'Failed to create table: Invalid column name: a) ; DROP TABLE tasks; --'],
  'deleteTable by a name with a quote': ['deleteTable', { tableName: 'x"y' }, 'Invalid table name'],
  'deleteTable by a name with SQL': ['deleteTable', { tableName: 'people; DROP TABLE tasks' }, 'Invalid table name'],
  'updateRow with a field with a quote': ['updateRow', { table: 'people', id: 1, field: 'name"', value: 1 }, 'Invalid field name format'],
  'updateRow with a field with SQL': ['updateRow', { table: 'people', id: 1, field: "name = 'x' --", value: 1 }, 'Invalid field name format']
}

export const inMessages = {
  async 'ping: pong, to the sender only (2)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const began = performance.now()
    assert.deepEqual(await ann.ask({ action: 'ping' }), { type: 'pong' })
    assert.ok(performance.now() - began < pongMs)
    await ben.barrier()
    assert.equal(ben.of('pong').length, 0)
  },

  async 'a binary frame with JSON is a message, one without is bad input (2)' (tools) {
    const client = await enter(tools, 'ann')
    assert.deepEqual(await client.ask(Buffer.from('{"action":"ping"}')), { type: 'pong' })
    assert.deepEqual(await client.ask(Buffer.from([0xff, 0xfe, 0])), plainError('Invalid JSON'))
    assert.deepEqual(await client.ask({ action: 'ping' }), { type: 'pong' })
  },

  ...forEach(
    successes,
    method => `${method} gives both ids back when it succeeds (2, 3, 12.20)`,
    async (tools, [payload, type], method) => {
      const client = await enter(tools, 'ann')
      await withPeople(client, 'Eve')
      const answer = await client.rpc(method, payload, { updateId: 'u7' })
      assert.deepEqual([answer.type, answer.updateId], [type, 'u7'])
      if (['mutation_success', 'success'].includes(type)) assert.equal(answer.action, method)
      if (type === 'query_result') assert.ok(Array.isArray(answer.data) && typeof answer.originalSql === 'string', JSON.stringify(answer))
      if (type === 'rpc_result') assert.equal(answer.method, method)
      assert.ok(Object.values(answer).every(value => value !== null))
    }
  ),

  ...forEach(
    failures,
    method => `${method} gives both ids back when it fails, in its form (2, 3, 4, 12.20)`,
    async (tools, [payload, expected], method) => {
      await answers(await enter(tools, 'ann'), method, payload, expected)
    }
  ),

  ...forEach(
    ids,
    what => `ids as ${what} (2)`,
    async (tools, [sent, back]) => {
      const client = await enter(tools, 'ann')
      const { data, ...answer } = await client.ask({ action: 'rpc', method: 'createTask', payload: { title: 't' }, ...sent })
      assert.deepEqual(answer, { type: 'mutation_success', action: 'createTask', ...back })
      assert.deepEqual(await client.ask({ action: 'rpc', method: 'foo', ...sent }), plainError('Unknown RPC method: foo', { code: 'UNKNOWN_METHOD', ...back }))
    }
  ),

  async 'ids of messages that are no rpc come back as well (2)' (tools) {
    const client = await enter(tools, 'ann')
    const echo = { requestId: 'r', updateId: 'u' }
    const { data, ...task } = await client.ask({ action: 'createTask', payload: { title: 'short' }, ...echo })
    assert.deepEqual(task, { type: 'mutation_success', action: 'createTask', ...echo })
    assert.equal(data.title, 'short')
    const query = await client.ask({ action: 'query', sql: 'SELECT 1', ...echo })
    assert.deepEqual(query, queryError('Raw SQL queries are disabled for security. Please use RPC methods.', echo))
    assert.deepEqual(await client.ask({ action: 'subscribe_query', ...echo }), plainError('subscribe_query requires queryId, method, and tables', echo))
  },

  async 'an id that is no text is none (2)' (tools) {
    const client = await enter(tools, 'ann')
    const { data, ...answer } = await client.ask({ action: 'rpc', method: 'createTask', payload: { title: 't' }, requestId: 7, updateId: {}, id: [] })
    assert.deepEqual(answer, { type: 'mutation_success', action: 'createTask' })
  },

  async 'the same requestId twice at once: both are answered (11)' (tools) {
    const client = await enter(tools, 'ann')
    for (const sql of ['SELECT 1 AS n', 'SELECT 2 AS n']) client.send({ action: 'rpc', method: 'executeSQL', payload: { sql }, requestId: 'same' })
    const both = () => client.messages.filter(({ requestId }) => requestId === 'same')
    await client.message('two answers', () => both().length === 2)
    assert.deepEqual(both().map(({ data }) => data[0].n).sort(), [1, 2])
  },

  ...forEach(
    Object.fromEntries(notSupported.map(method => [method, null])),
    method => `${method} is not available on this server (10)`,
    async (tools, _, method) => {
      await answers(await enter(tools, 'ann'), method, {}, plainError(`${method} is not available on this server`, { code: 'NOT_SUPPORTED' }))
    }
  ),

  async 'search finds nothing without AI, or is not available (10)' (tools) {
    const client = await enter(tools, 'ann')
    const { code, ...answer } = await client.rpc('search', { query: 'milk' })
    if (code !== 'NOT_SUPPORTED') assert.deepEqual(answer, { type: 'query_result', data: [], originalSql: 'search' })
  },

  async 'getSyncStatus: healthy without a replica, or not available (10)' (tools) {
    const client = await enter(tools, 'ann')
    const { code, ...answer } = await client.rpc('getSyncStatus')
    if (code !== 'NOT_SUPPORTED') assert.match(JSON.stringify(answer), /"replicaAvailable":false/)
  },

  ...forEach(
    badMessages,
    what => `${what}: answered, and the socket goes on (11, 12.19)`,
    async (tools, [text, expected]) => {
      const client = await enter(tools, 'ann')
      const answer = await client.ask(text)
      if (Array.isArray(expected)) {
        const { details, ...rest } = answer
        assert.deepEqual(rest, plainError('Invalid message'))
        assert.deepEqual(details.map(({ path }) => path), [expected])
        assert.ok(details.every(({ message }) => typeof message === 'string' && message.length > 0), JSON.stringify(details))
      } else assert.deepEqual(answer, expected)
      assert.deepEqual(await client.ask({ action: 'ping' }), { type: 'pong' })
      await client.call('createTask', { title: 'still here' })
    }
  ),

  ...forEach(
    badPayloads,
    what => `a payload that is ${what}: as if it were {} (11)`,
    async (tools, payload) => {
      const client = await enter(tools, 'ann')
      for (const [method, [, { updateId: _, ...expected }]] of Object.entries(failures)) {
        if (method === 'foo') continue
        const text = JSON.stringify({ action: 'rpc', method, requestId: 'r' })
        assert.deepEqual(await client.ask(payload === undefined ? text : `${text.slice(0, -1)},"payload":${payload}}`), { ...expected, requestId: 'r' })
      }
      const direct = payload === undefined ? '{"action":"setCursor"}' : `{"action":"setCursor","payload":${payload}}`
      assert.deepEqual(await client.ask(direct), plainError('setCursor requires userId and position'))
    }
  ),

  ...forEach(
    badSql,
    sql => `${sql}: refused, nothing changed (11)`,
    async (tools, error, sql) => {
      const client = await enter(tools, 'ann')
      await client.call('createTask', { title: 'stays' })
      for (const readonly of [true, false, undefined]) {
        const answer = await client.rpc('executeSQL', { sql, readonly })
        assert.equal(answer.type, 'query_error')
        if (error !== null) assert.equal(answer.error, error)
      }
      assert.deepEqual((await client.call('listTasks', {})).data.map(({ title }) => title), ['stays'])
    }
  ),

  async 'a table that is missing is named in a code; without requestId a second message of type error says so (11)' (tools) {
    const client = await enter(tools, 'ann')
    const missing = { error: 'no such table: x', code: 'TABLE_NOT_FOUND', details: { table: 'x' } }
    assert.deepEqual(await client.rpc('executeSQL', { sql: 'SELECT * FROM x' }), { type: 'query_error', ...missing })
    await client.barrier()
    assert.equal(client.of('error').length, 0)
    client.send({ action: 'rpc', method: 'executeSQL', payload: { sql: 'SELECT * FROM x' } })
    const { error, code, details } = await client.message('the second message', ({ type }) => type === 'error')
    assert.deepEqual([error.includes('x'), code, details], [true, missing.code, missing.details])
    assert.deepEqual(client.messages.at(client.messages.findIndex(({ type }) => type === 'error') - 1), { type: 'query_error', ...missing })
  },

  ...forEach(
    badNames,
    what => `${what}: the method's own error (11)`,
    async (tools, [method, payload, error]) => {
      const client = await enter(tools, 'ann')
      await withPeople(client, 'Ann')
      await answers(client, method, payload, mutationError(method, error))
      assert.deepEqual(Object.keys((await client.call('getSchema')).data).sort(), ['people', 'tasks'])
    }
  ),

  async 'a change that breaks a constraint: the error of the database (11)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('people', { name: 'name', type: 'TEXT', unique: true, notNull: true }))
    await client.call('batchInsert', { table: 'people', rows: [{ name: 'Ann' }, { name: 'Ben' }] })
    await answers(client, 'updateRow', { table: 'people', id: 2, field: 'name', value: 'Ann' }, mutationError('updateRow', 'UNIQUE constraint failed: people.name'))
    await answers(client, 'updateRow', { table: 'people', id: 2, field: 'name', value: null }, mutationError('updateRow', 'NOT NULL constraint failed: people.name'))
    assert.deepEqual(await client.select('SELECT name FROM people ORDER BY id'), [{ name: 'Ann' }, { name: 'Ben' }])
  },

  async 'deep, repeated and unpaired JSON is data or bad input, and never an end (11)' (tools) {
    const client = await enter(tools, 'ann')
    const deep = '['.repeat(5_000) + ']'.repeat(5_000)
    client.send(`{"action":"setCursor","payload":{"userId":"a","position":${deep}}}`)
    client.send(`{"action":"rpc","method":"createTask","payload":{"title":"\\ud800 alone"},"requestId":"\\udc00"}`)
    client.send('{"action":"ping","action":"ping"}')
    client.send('{"__proto__":{"action":"ping"},"action":"ping","constructor":1}')
    assert.equal((await client.rpc('createTask', { title: 'after it' })).type, 'mutation_success')
    assert.equal(client.closed, null)
  },

  async 'subscriptions of one connection: 2,000, and then an error; it goes on (2)' (tools) {
    const client = await enter(tools, 'ann')
    for (let i = 0; i < subscriptionsMax; i++) client.send({ action: 'subscribe', table: `t${i}` })
    client.send({ action: 'subscribe', table: 't7' })
    await client.barrier()
    assert.equal(client.of('error').length, 0, JSON.stringify(client.of('error')[0]))
    client.send({ action: 'subscribe', table: 'one_more' })
    const { error } = await client.message('a refusal', ({ type }) => type === 'error')
    assert.match(error, /subscription limit reached/)
    client.send({ action: 'unsubscribe', table: 't7' })
    client.send({ action: 'subscribe', table: 'people' })
    await withPeople(client, 'Ann')
    await client.message('a change', ({ event, table }) => event === 'update' && table === 'people')
    assert.equal(client.of('error').length, 1)
  },

  async 'subscribe, unsubscribe: no answer; repeating is harmless; before the table is there (2, 5)' (tools) {
    const client = await enter(tools, 'ann')
    for (let i = 0; i < 3; i++) client.send({ action: 'subscribe', table: 'people' })
    await client.barrier()
    assert.deepEqual(client.messages.map(({ type }) => type), ['reset', 'query_result'])
    await withPeople(client, 'Ann')
    await client.barrier()
    assert.equal(client.changes('people').length, 1)
    for (let i = 0; i < 2; i++) client.send({ action: 'unsubscribe', table: 'people' })
    await client.call('batchInsert', { table: 'people', rows: [{ name: 'Ben' }] })
    await client.barrier()
    assert.equal(client.changes('people').length, 1)
  }
}
