// Statements about executeSQL: one statement that reads, whatever is written in it. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { answers, created, endless, enter, queryError, withPeople } from './visits.mjs'

const onlyReads = 'Only SELECT and WITH queries allowed in read-only mode'
const charactersMax = 10_000
const queryMs = 5_000
const lateMs = 3_000 // beyond that time, with what runs beside it
const pongMs = 1_000
const clientMs = 10_000 // after which a console gives up

const reads = {
  'SELECT': ['SELECT 1 AS a, \'b\' AS b, NULL AS c', [{ a: 1, b: 'b', c: null }]],
  'WITH': ['WITH x(n) AS (VALUES (1), (2)) SELECT SUM(n) AS n FROM x', [{ n: 3 }]],
  'small letters and space before it': [' \n\tselect 1 as a', [{ a: 1 }]],
  'a semicolon behind it': ['SELECT 1 AS a;', [{ a: 1 }]],
  'a semicolon and space behind it': ['SELECT 1 AS a ; \n ', [{ a: 1 }]],
  'a semicolon in a text': ["SELECT ';DROP TABLE people;' AS a", [{ a: ';DROP TABLE people;' }]],
  'a comment behind it': ['SELECT 1 AS a -- and no more', [{ a: 1 }]],
  'rows of a table': ['SELECT name FROM people ORDER BY id', [{ name: 'Ann' }, { name: 'Ben' }]],
  'a count': ['SELECT COUNT(*) AS n FROM people', [{ n: 2 }]],
  'a join with itself': ['SELECT a.name AS a, b.name AS b FROM people a JOIN people b ON a.id < b.id', [{ a: 'Ann', b: 'Ben' }]],
  'a sub-query': ['SELECT (SELECT MAX(name) FROM people) AS m', [{ m: 'Ben' }]],
  'a window': ['SELECT name, ROW_NUMBER() OVER (ORDER BY name DESC) AS n FROM people', [{ name: 'Ben', n: 1 }, { name: 'Ann', n: 2 }]],
  'JSON functions': ["SELECT json_extract('{\"a\":[1,2]}', '$.a[1]') AS v", [{ v: 2 }]],
  'a table in other letters and quotes': ['SELECT "name" FROM [PEOPLE] WHERE `id` = 1', [{ name: 'Ann' }]],
  'a BLOB': ["SELECT x'0102' AS b", [{ b: 'AQI=' }]],
  'nothing found': ['SELECT * FROM people WHERE 0', []]
}

const refusals = {
  'no sql': [{}, 'executeSQL requires sql parameter'],
  'sql that is a number': [{ sql: 7 }, 'executeSQL requires sql parameter'],
  'empty sql': [{ sql: '' }, 'executeSQL requires sql parameter'],
  'INSERT': [{ sql: "INSERT INTO people (name) VALUES ('x')" }, onlyReads],
  'UPDATE': [{ sql: "UPDATE people SET name = 'x'" }, onlyReads],
  'DELETE': [{ sql: 'DELETE FROM people' }, onlyReads],
  'DROP': [{ sql: 'DROP TABLE people' }, onlyReads],
  'CREATE': [{ sql: 'CREATE TABLE x (a)' }, onlyReads],
  'PRAGMA': [{ sql: 'PRAGMA table_info(people)' }, onlyReads],
  'ATTACH': [{ sql: "ATTACH 'x' AS x" }, onlyReads],
  'VACUUM': [{ sql: "VACUUM INTO '/tmp/x'" }, onlyReads],
  'BEGIN': [{ sql: 'BEGIN' }, onlyReads],
  'too long': [{ sql: `SELECT '${'x'.repeat(charactersMax)}'` }, 'Query too long: maximum 10,000 characters'],
  'a missing column': [{ sql: 'SELECT absent FROM people' }, 'no such column: absent']
}

export const onQueries = {
  ...forEach(
    reads,
    what => `executeSQL: ${what} (4, 12.15)`,
    async (tools, [sql, rows]) => {
      const client = await enter(tools, 'ann')
      await withPeople(client, 'Ann', 'Ben')
      for (const readonly of [true, false]) await answers(client, 'executeSQL', { sql, readonly }, { type: 'query_result', data: rows, originalSql: sql })
    }
  ),

  ...forEach(
    refusals,
    what => `executeSQL refuses ${what}, read-only or not (4)`,
    async (tools, [payload, error]) => {
      const client = await enter(tools, 'ann')
      await withPeople(client, 'Ann')
      for (const readonly of [true, false]) await answers(client, 'executeSQL', { ...payload, readonly }, queryError(error))
      assert.deepEqual(await client.select('SELECT name FROM people'), [{ name: 'Ann' }])
    }
  ),

  async 'executeSQL: the longest statement (4)' (tools) {
    const client = await enter(tools, 'ann')
    const sql = `SELECT 1 AS a --${'x'.repeat(charactersMax)}`.slice(0, charactersMax)
    await answers(client, 'executeSQL', { sql }, { type: 'query_result', data: [{ a: 1 }], originalSql: sql })
  },

  async 'originalSql is the text that was sent, byte for byte (12.15)' (tools) {
    const client = await enter(tools, 'ann')
    let text
    client.onmessage = (message, raw) => { text = raw }
    for (const sql of [' SELECT  1 AS a ;\n', 'SELECT \'é😀\u2028\\u0041\' AS a', 'SELECT 1 AS "a\tb"', "SELECT '</script>' AS a"]) {
      assert.equal((await client.call('executeSQL', { sql })).originalSql, sql)
      assert.equal(JSON.parse(text).originalSql, sql)
    }
  },

  async 'params stand for question marks (4)' (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client, 'Ann', "O'Hara")
    assert.deepEqual(await client.select('SELECT name FROM people WHERE name = ?', ["O'Hara"]), [{ name: "O'Hara" }])
    assert.deepEqual(await client.select('SELECT ? AS a, ? AS b, ? AS c', [1, null, '?']), [{ a: 1, b: null, c: '?' }])
    assert.equal((await client.rpc('executeSQL', { sql: 'SELECT ?', params: [1, 2] })).type, 'query_error')
  },

  async '10,000 rows are a result, one more is too large (4)' (tools) {
    const client = await enter(tools, 'ann')
    const rows = n => `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ${n}) SELECT n FROM c`
    assert.equal((await client.select(rows(10_000))).length, 10_000)
    await answers(client, 'executeSQL', { sql: rows(10_001) }, queryError('Result too large: maximum 10,000 rows'))
  },

  async 'a result that no socket would carry is refused in words, and the room goes on (4)' (tools) {
    const client = await enter(tools, 'ann')
    for (const sql of ['SELECT zeroblob(1000000000) AS a', "SELECT printf('%.*c', 900000000, 'x') AS a", "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9000) SELECT printf('%.*c', 100000, 'x') AS a FROM c"]) {
      assert.equal((await client.rpc('executeSQL', { sql })).type, 'query_error', sql)
    }
    assert.deepEqual(await client.select('SELECT 1 AS a'), [{ a: 1 }])
  },

  async 'whole numbers beyond 2^53 are numbers in full, and infinities are told somehow (4)' (tools) {
    const client = await enter(tools, 'ann')
    let text = ''
    client.onmessage = (message, raw) => { if (message.type === 'query_result') text = raw }
    await client.select('SELECT 9223372036854775807 AS a, -9223372036854775807 - 1 AS b, 9007199254740993 AS c')
    assert.match(text, /"a":9223372036854775807\b.*"b":-9223372036854775808\b.*"c":9007199254740993\b/)
    await client.select('SELECT 1e999 AS a, -1e999 AS b')
  },

  async 'columns of the same name do not hide an answer (4)' (tools) {
    const client = await enter(tools, 'ann')
    const [row] = await client.select('SELECT 1 AS a, 2 AS a, 3 AS b')
    assert.equal(row.b, 3)
  }
}

/** One after the other, and alone: they want a core for seconds. */
export const onLongQueries = {
  async 'a query is cut off after 5 s; meanwhile others ping, write and read without delay (4, 12.4)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(ben)
    ann.send({ action: 'subscribe', table: 'people' })
    ann.send({ action: 'setCursor', payload: { userId: 'ann', position: 0 } })
    const began = performance.now()
    let over = null
    const long = ann.rpc('executeSQL', { sql: endless }).then(answer => { over = performance.now() - began; return answer })
    const slowest = { ping: 0, write: 0, read: 0, event: 0 }
    const time = async (what, act) => {
      const began = performance.now()
      await act()
      slowest[what] = Math.max(slowest[what], performance.now() - began)
    }
    let writes = 0
    while (over === null) {
      await time('ping', () => ben.ask({ action: 'ping' }))
      if (writes >= 40) continue
      await time('write', () => ben.call('batchInsert', { table: 'people', rows: [{ name: `${writes++}` }] }))
      await time('event', () => ann.message('the event', () => ann.changes('people').length === writes))
      await time('read', () => ben.call('listTasks', {}))
      await time('ping', () => ann.ask({ action: 'ping' }))
    }
    assert.deepEqual(await long, queryError('Query execution timeout (max 5 seconds)'))
    tools.log(`a query of ${(over / 1000).toFixed(1)} s; beside it ${writes} writes, slowest ${Object.entries(slowest).map(([what, ms]) => `${what} ${ms.toFixed(0)} ms`).join(', ')}`)
    assert.ok(over >= queryMs - 500 && over <= queryMs + lateMs, `cut off after ${over} ms`)
    for (const [what, ms] of Object.entries(slowest)) assert.ok(ms <= pongMs, `${what} took ${ms} ms`)
  },

  async 'one user with ten queries of 5 s delays no query of another, in this room or elsewhere (4)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const elsewhere = await enter(tools, 'ben', { room: `${tools.id}-other` })
    const long = Promise.all(Array.from({ length: 10 }, () => ann.rpc('executeSQL', { sql: endless }, { ms: 60_000 })))
    await ann.ask({ action: 'ping' })
    let slowest = 0
    for (let i = 0; i < 10; i++) {
      for (const client of [ben, elsewhere]) {
        const began = performance.now()
        assert.deepEqual(await client.select(`SELECT ${i} AS n`), [{ n: i }])
        slowest = Math.max(slowest, performance.now() - began)
      }
    }
    tools.log(`beside ten endless queries the slowest other took ${slowest.toFixed(0)} ms`)
    assert.ok(slowest <= 2 * pongMs, `a query took ${slowest} ms`)
    const answers = await long
    assert.ok(answers.every(({ type, error }) => type === 'query_error' && error.length > 0), JSON.stringify(answers))
  },

  async 'ten endless queries of one user are each answered within the 10 s of a client (3, 12.20)' (tools) {
    const client = await enter(tools, 'ann')
    const answers = await Promise.all(Array.from({ length: 10 }, () => client.rpc('executeSQL', { sql: endless }, { ms: clientMs })))
    assert.ok(answers.every(({ type, error }) => type === 'query_error' && error.length > 0), JSON.stringify(answers))
  },

  async 'queries of others are answered at once beside endless ones of four users (4)' (tools) {
    const busy = await Promise.all(['ann', 'eve', 'dan', 'fay'].map(name => enter(tools, name)))
    const ben = await enter(tools, 'ben')
    const long = Promise.all(busy.map(client => client.rpc('executeSQL', { sql: endless }, { ms: clientMs })))
    await Promise.all(busy.map(client => client.ask({ action: 'ping' })))
    const began = performance.now()
    assert.deepEqual(await ben.select('SELECT 1 AS n'), [{ n: 1 }])
    const tookMs = performance.now() - began
    await long
    assert.ok(tookMs <= 2 * pongMs, `a query took ${tookMs.toFixed(0)} ms`)
  },

  async 'who leaves while a query runs delays nobody; a table that is read for long can be deleted (4)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ben.call('createTable', created('numbers', { name: 'n', type: 'INTEGER' }))
    await ben.call('batchInsert', { table: 'numbers', rows: Array.from({ length: 2_000 }, (_, n) => ({ n })) })
    ann.send({ action: 'rpc', method: 'executeSQL', payload: { sql: 'SELECT SUM(a.n * b.n * c.n) FROM numbers a, numbers b, numbers c' } })
    await ann.ask({ action: 'ping' })
    ann.terminate()
    await ben.call('deleteTable', { tableName: 'numbers' })
    assert.equal((await ben.rpc('executeSQL', { sql: 'SELECT 1 FROM numbers' })).type, 'query_error')
    await ben.call('createTask', { title: 'goes on' })
  }
}
