// Statements about tables that people make: their columns, rows and names. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { People } from '../lib/room_db_accounts.mjs'
import { answers, created, enter, mutationError, withPeople } from './visits.mjs'

const tooFast = 'Rate limit exceeded. Please slow down.'
const badTableName = 'Invalid table name. Use only letters, numbers, and underscores. Must start with a letter or underscore.'
const reserved = 'Cannot create tables with names starting with underscore (reserved for system tables)'
const types = ['TEXT', 'INTEGER', 'REAL', 'BLOB', 'NUMERIC', 'BOOLEAN', 'DATE', 'DATETIME']
const badType = type => `Failed to create table: Invalid column type: ${type}. Valid types: ${types.join(', ')}`
const notThere = table => `Table '${table}' does not exist or is not accessible`
const one = 'CREATE TABLE '
const rowsMax = 10_000

/** In the order of the checks: each lacks what it is refused for, and everything that is checked later as well. */
const updateRefusals = {
  'nothing': [{}, 'Invalid table name'],
  'a table that is a number': [{ table: 7 }, 'Invalid table name'],
  'a table that is null': [{ table: null, id: 1 }, 'Invalid table name'],
  'no id': [{ table: 'missing' }, 'Invalid row id'],
  'the id 0': [{ table: 'missing', id: 0 }, 'Invalid row id'],
  'an id that is a list': [{ table: 'missing', id: [1] }, 'Invalid row id'],
  'an id that is null': [{ table: 'missing', id: null, field: 7 }, 'Invalid row id'],
  'an id that is true': [{ table: 'missing', id: true }, 'Invalid row id'],
  'no field': [{ table: 'missing', id: 1 }, 'Invalid field name'],
  'a field that is a number': [{ table: 'missing', id: 1, field: 7 }, 'Invalid field name'],
  'an empty field': [{ table: 'missing', id: 1, field: '' }, 'Invalid field name'],
  'a table that is missing': [{ table: 'missing', id: 1, field: 'a b', value: 1 }, notThere('missing')],
  'a system table': [{ table: '_usage', id: 1, field: 'a b', value: 1 }, notThere('_usage')],
  "SQLite's own table": [{ table: 'sqlite_sequence', id: 1, field: 'seq', value: 1 }, notThere('sqlite_sequence')],
  'a table with a quote': [{ table: 'people"', id: 1, field: 'name', value: 1 }, notThere('people"')],
  'a table with SQL': [{ table: 'people SET name = 1; --', id: 1, field: 'name', value: 1 }, notThere('people SET name = 1; --')],
  'a field with a space': [{ table: 'people', id: 99, field: 'a b', value: 1 }, 'Invalid field name format'],
  'a field that begins with a digit': [{ table: 'people', id: 99, field: '1a', value: 1 }, 'Invalid field name format'],
  'a row that is missing': [{ table: 'people', id: 99, field: 'name', value: 1 }, 'No row found with id 99'],
  'a row that is missing, by text': [{ table: 'people', id: 'x', field: 'name', value: 1 }, 'No row found with id x']
}

const insertRefusals = {
  'nothing': [{}, 'Invalid table name'],
  'a table that is a number': [{ table: 7, rows: [{ name: 'x' }] }, 'Invalid table name'],
  'no rows': [{ table: 'missing' }, 'Rows must be a non-empty array'],
  'an empty list': [{ table: 'missing', rows: [] }, 'Rows must be a non-empty array'],
  'an object for rows': [{ table: 'missing', rows: { name: 'x' } }, 'Rows must be a non-empty array'],
  'a table that is missing': [{ table: 'missing', rows: [{ name: 'x' }] }, notThere('missing')],
  'a system table': [{ table: '_usage', rows: [{ date: 'x' }] }, notThere('_usage')],
  "SQLite's own table": [{ table: 'sqlite_master', rows: [{ name: 'x' }] }, notThere('sqlite_master')],
  'a table with SQL': [{ table: 'people; DROP TABLE people', rows: [{ name: 'x' }] }, notThere('people; DROP TABLE people')],
  'no column that is known': [{ table: 'people', rows: [{ a: 1, b: 2 }] }, 'Column mismatch. CSV columns (a, b) do not match Table columns (id, name)']
}

const createRefusals = {
  'nothing': [{}, 'createTable requires tableName and columns array'],
  'no name': [{ columns: [] }, 'createTable requires tableName and columns array'],
  'no columns': [{ tableName: 'x' }, 'createTable requires tableName and columns array'],
  'columns that are no list': [{ tableName: 'x', columns: {} }, 'createTable requires tableName and columns array'],
  'a name with a space': [created('a b', 'x'), badTableName],
  'a name with a digit first': [created('1a', 'x'), badTableName],
  'a name with a quote': [created('a"b', 'x'), badTableName],
  'a name of other letters': [created('täble', 'x'), badTableName],
  'a name with a line break': [created('a\n', 'x'), badTableName],
  'a name with an underscore first': [created('_x', 'x'), reserved],
  'the name of a system table': [created('_usage', 'x'), reserved],
  'a column with a space': [created('x', 'a b'), 'Failed to create table: Invalid column name: a b'],
  'a column with SQL': [created('x', 'a TEXT); DROP TABLE tasks; --'), 'Failed to create table: Invalid column name: a TEXT); DROP TABLE tasks; --'],
  'an unknown type': [created('x', { name: 'a', type: 'VARCHAR' }), badType('VARCHAR')],
  'a type with SQL': [created('x', { name: 'a', type: 'TEXT DEFAULT (SELECT 1)' }), badType('TEXT DEFAULT (SELECT 1)')],
  'a default that is a list': [created('x', { name: 'a', default: [1] }), 'Failed to create table: Invalid default'],
  'a default that is an object': [created('x', { name: 'a', default: { sql: '1' } }), 'Failed to create table: Invalid default']
}

/** A column, and what a row without a value for it gets. */
const defaults = {
  'a number': [{ type: 'INTEGER', default: 7 }, 7],
  'a negative number': [{ type: 'INTEGER', default: -7 }, -7],
  'a fraction': [{ type: 'REAL', default: 1.5 }, 1.5],
  'a text': [{ default: 'new' }, 'new'],
  'an empty text': [{ default: '' }, ''],
  'a text with quotes': [{ default: `it's "new"` }, `it's "new"`],
  'a text with SQL': [{ default: "'); DROP TABLE tasks; --" }, "'); DROP TABLE tasks; --"],
  'a call': [{ default: '(SELECT 1)' }, '(SELECT 1)'],
  'true': [{ type: 'BOOLEAN', default: true }, 1],
  'false': [{ type: 'BOOLEAN', default: false }, 0],
  'null': [{ default: null }, null],
  'the date': [{ type: 'DATE', default: 'CURRENT_DATE' }, /^\d{4}-\d\d-\d\d$/],
  'the time': [{ default: 'CURRENT_TIME' }, /^\d\d:\d\d:\d\d$/],
  'date and time': [{ type: 'DATETIME', default: 'CURRENT_TIMESTAMP' }, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/]
}

/** A key of a row, and the column that it means. */
const keys = {
  'capitals': ['First_Name', 'first_name'],
  'a space': ['first name', 'first_name'],
  'runs of other characters': ['first -- name', 'first_name'],
  'other characters at the ends': ['  (first name)! ', 'first_name'],
  'other letters': ['größe', 'gr_e'],
  'a digit first': ['2nd', '_2nd']
}

export const onTables = {
  ...forEach(
    updateRefusals,
    what => `updateRow with ${what}: refused (4)`,
    async (tools, [payload, error]) => {
      const client = await enter(tools, 'ann')
      await withPeople(client, 'Ann')
      await answers(client, 'updateRow', payload, mutationError('updateRow', error))
      assert.deepEqual(await client.select('SELECT name FROM people'), [{ name: 'Ann' }])
    }
  ),

  async 'updateRow: the new row in the reply and in an event, with both ids (4, 12.7)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(ann, 'Eve', 'Ben')
    for (const client of [ann, ben]) client.send({ action: 'subscribe', table: 'people' })
    await ben.barrier()
    await ann.barrier()
    const values = { 1: 'Ann', '1': "O'Hara \"x\" \u0000 é" }
    for (const [id, value] of [[1, values[1]], ['1', 'by text'], [1, null], [1, 7.5]]) {
      const row = { id: 1, name: value === 7.5 ? '7.5' : value }
      const from = ben.messages.length
      await answers(ann, 'updateRow', { table: 'people', id, field: 'name', value }, { type: 'mutation_success', action: 'updateRow', data: row })
      for (const client of [ben, ann]) assert.deepEqual(await client.message('the event', ({ row }) => row?.name === (value === 7.5 ? '7.5' : value), { from: client === ben ? from : 0 }), { event: 'update', table: 'people', action: 'modified', row })
    }
    assert.deepEqual(await ben.select('SELECT name FROM people WHERE id = 2'), [{ name: 'Ben' }])
  },

  async 'a table without a column id: the row is found by its primary key (4)' (tools) {
    const client = await enter(tools, 'ann')
    // A column `id` is put before all others where there is none, so only the primary key is another one.
    await client.call('createTable', created('codes', { name: 'code', type: 'TEXT', unique: true }, 'name'))
    await client.call('batchInsert', { table: 'codes', rows: [{ code: 'a', name: 'A' }] })
    assert.deepEqual((await client.call('updateRow', { table: 'codes', id: 1, field: 'name', value: 'B' })).data, { id: 1, code: 'a', name: 'B' })
  },

  async 'updateRow 101 times in a minute: the last is refused, after the checks of names (4)' (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client, 'Ann')
    const results = await Promise.all(Array.from({ length: 101 }, (_, i) => client.rpc('updateRow', { table: 'people', id: 1, field: 'name', value: `${i}` })))
    assert.equal(results.filter(({ type }) => type === 'mutation_success').length, 100)
    assert.deepEqual(results.at(-1), mutationError('updateRow', tooFast))
    await answers(client, 'updateRow', { table: 'people', id: 1, field: 'a b', value: 1 }, mutationError('updateRow', 'Invalid field name format'))
    await answers(client, 'updateRow', { table: 'people', id: 99, field: 'name', value: 1 }, mutationError('updateRow', tooFast))
    assert.deepEqual(await client.select('SELECT name FROM people'), [{ name: '99' }])
  },

  ...forEach(
    insertRefusals,
    what => `batchInsert with ${what}: refused (4)`,
    async (tools, [payload, error]) => {
      const client = await enter(tools, 'ann')
      await withPeople(client)
      await answers(client, 'batchInsert', payload, mutationError('batchInsert', error))
      assert.deepEqual(await client.select('SELECT * FROM people'), [])
    }
  ),

  async 'batchInsert: two rows, two events to both who listen, after the reply; a third hears nothing (4, 5, 12.5)' (tools) {
    const [ann, ben, eve] = [await enter(tools, 'ann'), await enter(tools, 'ben'), await enter(tools, 'eve')]
    await withPeople(ann)
    for (const client of [ann, ben]) client.send({ action: 'subscribe', table: 'people' })
    await ben.barrier()
    ann.send({ action: 'rpc', method: 'batchInsert', payload: { table: 'people', rows: [{ name: 'Ann', unknown: 1 }, { name: 'Ben' }] } })
    const expected = ['Ann', 'Ben'].map((name, i) => ({ event: 'update', table: 'people', action: 'added', row: { id: i + 1, name } }))
    for (const client of [ann, ben]) {
      await client.message('two events', () => client.changes().length === 2)
      assert.deepEqual(client.changes(), expected)
      if (client === ben) assert.equal((await ben.select('SELECT * FROM people')).length, 2, 'who hears of it can read it')
    }
    const [reply, first] = [ann.messages.findIndex(({ action }) => action === 'batchInsert'), ann.messages.findIndex(({ event }) => event === 'update')]
    assert.ok(reply < first, 'the reply is sent before the events')
    assert.deepEqual(ann.messages[reply], { type: 'mutation_success', action: 'batchInsert', data: { inserted: 2, total: 2, errors: [] } })
    await eve.barrier()
    assert.equal(eve.changes().length, 0)
  },

  ...forEach(
    keys,
    what => `batchInsert: a key with ${what} is brought into the form of columns (4)`,
    async (tools, [key, column]) => {
      const client = await enter(tools, 'ann')
      await client.call('createTable', created('t', column))
      await client.call('batchInsert', { table: 't', rows: [{ [key]: 'x' }] })
      assert.deepEqual(await client.select('SELECT * FROM t'), [{ id: 1, [column]: 'x' }])
    }
  ),

  async 'batchInsert skips rows that fail, and reports the first five; none at all is an error with the same data (4, 7)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('people', { name: 'name', unique: true }))
    client.send({ action: 'subscribe', table: 'people' })
    const names = ['a', 'b', ...Array(7).fill('a'), 'c']
    const { data } = await client.call('batchInsert', { table: 'people', rows: names.map(name => ({ name })) })
    assert.deepEqual([data.inserted, data.total, data.errors.length], [3, 10, 5])
    assert.ok(data.errors.every(error => /UNIQUE constraint failed: people\.name/.test(error)), data.errors.join())
    const failed = await client.rpc('batchInsert', { table: 'people', rows: [{ name: 'a' }, { name: 'b' }] })
    assert.deepEqual([failed.type, failed.action, failed.data.inserted, failed.data.total], ['mutation_error', 'batchInsert', 0, 2])
    assert.match(failed.error, /^No rows were inserted\. First error: .*UNIQUE constraint failed: people\.name/)
    await client.barrier()
    assert.deepEqual(client.changes().map(({ row }) => row.name), ['a', 'b', 'c'])
  },

  async 'batchInsert of many rows: each one event, in order; rows of every group stay though one is bad (4, 7)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('n', { name: 'n', type: 'INTEGER', unique: true }))
    client.send({ action: 'subscribe', table: 'n' })
    const rows = Array.from({ length: 500 }, (_, i) => ({ n: i === 60 ? 0 : i }))
    const { data } = await client.call('batchInsert', { table: 'n', rows }, { ms: 60_000 })
    assert.deepEqual([data.inserted, data.total, data.errors.length], [499, 500, 1])
    await client.message('all events', () => client.changes().length === 499)
    assert.deepEqual(client.changes().map(({ row }) => row.n), rows.map(({ n }) => n).filter((n, i) => i !== 60))
  },

  async 'batchInsert of more than 10,000 rows is refused (4)' (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client)
    const rows = Array.from({ length: rowsMax + 1 }, () => ({ name: 'x' }))
    const answer = await client.rpc('batchInsert', { table: 'people', rows }, { ms: 60_000 })
    assert.deepEqual([answer.type, answer.action], ['mutation_error', 'batchInsert'])
    assert.match(answer.error, /10,?000/)
    assert.deepEqual(await client.select('SELECT COUNT(*) AS n FROM people'), [{ n: 0 }])
    assert.equal((await client.call('batchInsert', { table: 'people', rows: rows.slice(1) }, { ms: 60_000 })).data.inserted, rowsMax)
  },

  async 'batchInsert fills user_id, owner_id and created_at where they are empty (4)' (tools) {
    const client = await enter(tools, 'ann')
    const { id: me } = await tools.people.get('ann')
    await client.call('createTable', created('notes', 'text', 'user_id', 'owner_id', { name: 'created_at', type: 'INTEGER' }))
    const before = Date.now()
    await client.call('batchInsert', { table: 'notes', rows: [{ text: 'a' }, { text: 'b', user_id: 'x', owner_id: 'y', created_at: 5 }, { text: 'c', user_id: '', owner_id: null }] })
    const [a, b, c] = await client.select('SELECT * FROM notes ORDER BY id')
    for (const row of [a, c]) {
      assert.deepEqual([row.user_id, row.owner_id], [me, me])
      assert.ok(row.created_at >= before - 5_000 && row.created_at <= Date.now() + 5_000, `${row.created_at}`)
    }
    assert.deepEqual([b.user_id, b.owner_id, b.created_at], ['x', 'y', 5])
  },

  async 'values of every kind come back as they are: numbers, texts, null, true, BLOB columns, what is nested as JSON (4)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('v', { name: 'n', type: 'REAL' }, { name: 'i', type: 'INTEGER' }, 't', { name: 'b', type: 'BOOLEAN' }))
    await client.call('batchInsert', { table: 'v', rows: [{ n: 1.5, i: 9007199254740991, t: 'é\u0000😀', b: true }, { n: null, i: -1, t: '', b: false }] })
    assert.deepEqual(await client.select('SELECT n, i, t, b FROM v ORDER BY id'), [{ n: 1.5, i: 9007199254740991, t: 'é\u0000😀', b: 1 }, { n: null, i: -1, t: '', b: 0 }])
    assert.deepEqual(await client.select("SELECT x'00ff10' AS blob, typeof(i) AS kind FROM v LIMIT 1"), [{ blob: 'AP8Q', kind: 'integer' }])
  },

  ...forEach(
    createRefusals,
    what => `createTable with ${what}: refused (4)`,
    async (tools, [payload, error]) => {
      const client = await enter(tools, 'ann')
      await answers(client, 'createTable', payload, mutationError('createTable', error))
      assert.deepEqual(Object.keys((await client.call('getSchema')).data), ['tasks'])
      assert.equal(client.of('schema_update').length, 1, 'that of getSchema')
    }
  ),

  ...forEach(
    defaults,
    what => `createTable: a default that is ${what} (4)`,
    async (tools, [column, expected]) => {
      const client = await enter(tools, 'ann')
      await client.call('createTable', created('d', 'name', { name: 'value', ...column }))
      await client.call('batchInsert', { table: 'd', rows: [{ name: 'x' }] })
      const [{ value }] = await client.select('SELECT value FROM d')
      if (expected instanceof RegExp) assert.match(value, expected)
      else assert.equal(value, expected)
    }
  ),

  async 'createTable: all connections get the new schema; getSchema has it; once more changes nothing; after a kill it is there (4, 12.6)' ({ startServer, server: _, ...tools }) {
    const server = await startServer()
    const own = { ...tools, server, people: new People(server) }
    const [ann, ben] = [await enter(own, 'ann'), await enter(own, 'ben')]
    const columns = [{ name: 'name', type: 'text', notNull: true }, { name: 'age', type: 'Integer', default: 18 }, { name: 'mail', unique: true }, { name: 'born', type: 'DATE' }]
    const { data, ...answer } = await ann.rpc('createTable', { tableName: 'people', columns }, { updateId: 'u' })
    assert.deepEqual(answer, { type: 'mutation_success', action: 'createTable', updateId: 'u' })
    assert.equal(data.tableName, 'people')
    assert.ok(data.sql.startsWith(one), data.sql)
    const expected = [
      ['id', 'INTEGER', 0, null, 1], ['name', 'TEXT', 1, null, 0], ['age', 'INTEGER', 0, '18', 0], ['mail', 'TEXT', 0, null, 0], ['born', 'DATE', 0, null, 0]
    ].map(([name, type, notnull, dflt_value, pk], cid) => ({ cid, name, type, notnull, dflt_value, pk }))
    for (const client of [ann, ben]) {
      const { schema } = await client.message('the schema', ({ type }) => type === 'schema_update')
      assert.deepEqual(schema.people, expected)
      assert.deepEqual(Object.keys(schema).sort(), ['people', 'tasks'])
      assert.deepEqual(schema.tasks.map(({ name }) => name), ['id', 'title', 'status', 'vector_status', 'owner_id', 'user_id'])
    }
    await ann.call('batchInsert', { table: 'people', rows: [{ name: 'Ann' }] })
    const from = ann.messages.length
    await ann.call('createTable', created('people', 'other'))
    const got = await ann.rpc('getSchema')
    assert.deepEqual(got, { type: 'rpc_result', method: 'getSchema', data: { ...got.data, people: expected } })
    const both = ann.messages.slice(from).filter(({ type }) => type === 'schema_update' || type === 'rpc_result')
    assert.ok(both.every(({ schema, data }) => JSON.stringify(schema ?? data) === JSON.stringify(got.data)))
    assert.ok(both.some(({ type, requestId }) => type === 'schema_update' && requestId === undefined), 'getSchema gives two messages')
    await server.kill9()
    await server.start()
    const late = await enter(own, 'ben')
    assert.deepEqual((await late.call('getSchema')).data, got.data)
    assert.deepEqual(await late.select('SELECT * FROM people'), [{ id: 1, name: 'Ann', age: 18, mail: null, born: null }])
  },

  async 'createTable: one column id of its own, or a primary key of its own, stays as it is (4)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('a', { name: 'ID', type: 'INTEGER', primaryKey: true }, 'name'))
    await client.call('createTable', created('b', 'name'))
    const { data } = await client.call('getSchema')
    assert.deepEqual(data.a.map(({ name, pk }) => [name, pk]), [['ID', 1], ['name', 0]])
    assert.deepEqual(data.b.map(({ name, type, pk }) => [name, type, pk]), [['id', 'INTEGER', 1], ['name', 'TEXT', 0]])
  },

  async 'words of SQL are names like others (4)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('order', 'select', 'group', 'table', 'from'))
    client.send({ action: 'subscribe', table: 'order' })
    await client.call('batchInsert', { table: 'order', rows: [{ select: 'a', Group: 'b', TABLE: 'c', from: 'd' }] })
    const row = { id: 1, select: 'a', group: 'b', table: 'c', from: 'x' }
    assert.deepEqual((await client.call('updateRow', { table: 'order', id: 1, field: 'from', value: 'x' })).data, row)
    assert.deepEqual(await client.message('the event', ({ action }) => action === 'modified'), { event: 'update', table: 'order', action: 'modified', row })
    assert.deepEqual(await client.select('SELECT "select" AS s FROM "order"'), [{ s: 'a' }])
    await client.call('deleteTable', { tableName: 'order' })
  },

  async 'createTable with the same column twice, or with thousands: refused in words, and nothing is there (4)' (tools) {
    const client = await enter(tools, 'ann')
    for (const columns of [['a', 'A'], Array.from({ length: 3_000 }, (_, i) => `c${i}`)]) {
      const { type, error } = await client.rpc('createTable', created('t', ...columns))
      assert.deepEqual([type, error.startsWith('Failed to create table: ')], ['mutation_error', true], error)
    }
    assert.deepEqual(Object.keys((await client.call('getSchema')).data), ['tasks'])
  },

  async 'batchInsert skips what is no object, and says so (4)' (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client)
    const { data } = await client.call('batchInsert', { table: 'people', rows: [{ name: 'a' }, null, 7, ['name'], 'name', { other: 1 }, { name: 'b' }] })
    assert.deepEqual(data.total, 7)
    assert.ok(data.inserted >= 2 && data.inserted <= 3 && data.errors.length >= 4, JSON.stringify(data)) // an object without a known column may be an empty row
    assert.deepEqual(await client.select('SELECT name FROM people WHERE name IS NOT NULL ORDER BY id'), [{ name: 'a' }, { name: 'b' }])
  },

  async 'createTable takes each of the types, in any case (4)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('createTable', created('t', ...types.map(type => ({ name: `c_${type}`, type: type.toLowerCase() }))))
    assert.deepEqual((await client.call('getSchema')).data.t.slice(1).map(({ type }) => type), types)
  },

  async 'createTable 11 times in a minute, and deleteTable as often: the last is refused (4)' (tools) {
    const client = await enter(tools, 'ann')
    for (let i = 0; i < 10; i++) await client.call('createTable', created(`t${i}`, 'a'))
    await answers(client, 'createTable', created('t10', 'a'), mutationError('createTable', 'Rate limit exceeded for createTable'))
    for (let i = 0; i < 10; i++) await client.call('deleteTable', { tableName: `t${i}` })
    await answers(client, 'deleteTable', { tableName: 't9' }, mutationError('deleteTable', 'Rate limit exceeded for deleteTable'))
  },

  ...forEach(
    {
      'no name': [{}, 'deleteTable requires tableName parameter'],
      'a name that is empty': [{ tableName: '' }, 'deleteTable requires tableName parameter'],
      'a name that is no name': [{ tableName: 'a b' }, 'Invalid table name'],
      'a number': [{ tableName: 7 }, 'Invalid table name'],
      'a name with a quote': [{ tableName: 'people"' }, 'Invalid table name'],
      'a system table': [{ tableName: '_usage' }, 'Cannot delete system tables'],
      "SQLite's own table": [{ tableName: 'sqlite_master' }, 'Cannot delete system tables'],
      "SQLite's own table in capitals": [{ tableName: 'SQLITE_SEQUENCE' }, 'Cannot delete system tables']
    },
    what => `deleteTable with ${what}: refused (4)`,
    async (tools, [payload, error]) => {
      const client = await enter(tools, 'ann')
      await withPeople(client, 'Ann')
      await answers(client, 'deleteTable', payload, mutationError('deleteTable', error))
      assert.deepEqual(Object.keys((await client.call('getSchema')).data).sort(), ['people', 'tasks'])
    }
  ),

  async 'deleteTable: gone for all, who get the schema; a missing one is deleted as well (4)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(ann, 'Ann')
    await ben.message('the schema', ({ schema }) => schema?.people !== undefined)
    const from = ben.messages.length
    for (let i = 0; i < 2; i++) await answers(ann, 'deleteTable', { tableName: 'people' }, { type: 'mutation_success', action: 'deleteTable', data: { tableName: 'people' } })
    const { schema } = await ben.message('the schema', ({ type }) => type === 'schema_update', { from })
    assert.deepEqual(Object.keys(schema), ['tasks'])
    assert.equal((await ben.rpc('executeSQL', { sql: 'SELECT * FROM people' })).type, 'query_error')
  }
}
