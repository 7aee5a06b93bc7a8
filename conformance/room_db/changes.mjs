// Statements about change events and live queries. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { forEach } from '../lib/any_editor_statements.mjs'
import { Random } from '../lib/random.mjs'
import { databaseUrl } from '../lib/room_db.mjs'
import { Account } from '../lib/room_db_accounts.mjs'
import { Listener } from '../lib/room_db_listener.mjs'
import { pause, until } from '../lib/until.mjs'
import { created, enter, enterWith, plainError, withPeople } from './visits.mjs'

const perSecondMax = 2
const watchedMs = 4_000
const subscribersMax = 10_000
const spareFiles = 500 // of this process and of the server, beside the sockets
const openedAtOnce = 64

/** What child processes may open as well. */
const openFilesMax = () => {
  const limit = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim()
  return limit === 'unlimited' ? Infinity : Number(limit)
}

export const onChanges = {
  async 'events come in the order in which the database took the changes, to everybody the same, and make the table (5)' (tools) {
    const { seed, log } = tools
    const random = new Random(seed)
    const names = ['ann', 'ben', 'eve']
    const clients = await Promise.all(names.map(name => enter(tools, name)))
    const [first] = clients
    await first.call('createTable', created('counters', 'name', { name: 'n', type: 'INTEGER' }))
    for (const client of clients) {
      client.send({ action: 'subscribe', table: 'counters' })
      client.send({ action: 'subscribe', table: 'tasks' })
      await client.barrier()
    }
    await first.call('batchInsert', { table: 'counters', rows: names.map(name => ({ name, n: 0 })) })
    await Promise.all(clients.map(async client => {
      const pending = []
      for (let i = 0; i < 60; i++) {
        pending.push(random.chance(0.7)
          ? client.call('updateRow', { table: 'counters', id: random.between(1, 3), field: 'n', value: random.below(1_000) })
          : client.call('batchInsert', { table: 'counters', rows: [{ name: `x${i}`, n: i }, { name: `y${i}`, n: i }] }))
        if (random.chance(0.2)) await pending.at(-1)
      }
      await Promise.all(pending)
    }))
    for (const client of clients) await client.barrier()
    const seen = clients.map(client => client.changes('counters'))
    for (const others of seen.slice(1)) assert.deepEqual(others, seen[0], `seed ${seed}`)
    const rows = new Map()
    for (const { row } of seen[0]) rows.set(row.id, row)
    assert.deepEqual([...rows.values()].sort((a, b) => a.id - b.id), await first.select('SELECT * FROM counters ORDER BY id'), `seed ${seed}`)
    log(`${seen[0].length} events, in the same order for ${clients.length} members; seed ${seed}`)
  },

  async "the writer's reply comes before its event, for each method (5)" (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client, 'Ann')
    for (const table of ['people', 'tasks']) client.send({ action: 'subscribe', table })
    await client.barrier()
    const acts = [['createTask', { title: 'x' }], ['completeTask', { id: 1 }], ['deleteTask', { id: 1 }], ['updateRow', { table: 'people', id: 1, field: 'name', value: 'x' }], ['batchInsert', { table: 'people', rows: [{ name: 'y' }] }]]
    for (const [method, payload] of acts) {
      const from = client.messages.length
      client.send({ action: 'rpc', method, payload, requestId: 'r' })
      await client.message('the event', ({ event }) => event === 'update', { from })
      assert.deepEqual(client.messages.slice(from).map(({ requestId, event }) => requestId ?? event), ['r', 'update'], method)
    }
  },

  async 'no events of a change that failed, and none of tables that one has not asked for (5)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ann.call('createTable', created('people', { name: 'name', unique: true }))
    await ann.call('createTable', created('firms', 'name'))
    ben.send({ action: 'subscribe', table: 'people' })
    await ben.barrier()
    await ann.call('batchInsert', { table: 'people', rows: [{ name: 'a' }, { name: 'b' }] })
    await ann.rpc('updateRow', { table: 'people', id: 2, field: 'name', value: 'a' })
    await ann.rpc('batchInsert', { table: 'people', rows: [{ name: 'a' }] })
    await ann.call('batchInsert', { table: 'firms', rows: [{ name: 'c' }] })
    await ann.call('createTask', { title: 'd' })
    await ben.barrier()
    assert.deepEqual(ben.changes().map(({ row }) => row.name), ['a', 'b'])
  },

  async 'a table is meant whatever the letters of its name, as in SQL (5)' (tools) {
    const client = await enter(tools, 'ann')
    await withPeople(client)
    client.send({ action: 'subscribe', table: 'PEOPLE' })
    await client.call('batchInsert', { table: 'People', rows: [{ name: 'x' }] })
    const { row } = await client.message('the event', ({ event }) => event === 'update')
    assert.deepEqual(row, { id: 1, name: 'x' })
  },

  async 'subscribe_query in form A: told to ask again at each change, and of the changes themselves (5)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const watch = { action: 'subscribe_query', queryId: 'q1', method: 'executeSQL', payload: { sql: 'SELECT 1' }, tables: ['people', 'firms'], requestId: 'r', updateId: 'u' }
    assert.deepEqual(await ben.ask(watch), { type: 'query_subscribed', queryId: 'q1', requestId: 'r', updateId: 'u' })
    await withPeople(ann, 'Ann')
    const refresh = action => ({ type: 'query_refresh', queryId: 'q1', table: 'people', action })
    await ben.message('the refresh', ({ type }) => type === 'query_refresh')
    await ann.call('updateRow', { table: 'people', id: 1, field: 'name', value: 'x' })
    await ben.message('two refreshes', () => ben.of('query_refresh').length === 2)
    assert.deepEqual(ben.of('query_refresh'), [refresh('added'), refresh('modified')])
    assert.deepEqual(ben.changes().map(({ action }) => action), ['added', 'modified'])
    for (let i = 0; i < 2; i++) assert.deepEqual(await ben.ask({ action: 'unsubscribe_query', queryId: 'q1' }), { type: 'query_unsubscribed', queryId: 'q1' })
    await ann.call('batchInsert', { table: 'people', rows: [{ name: 'y' }] })
    await ben.barrier()
    assert.equal(ben.of('query_refresh').length, 2)
  },

  async 'unsubscribe_query of an unknown query is answered as any other (2)' (tools) {
    const client = await enter(tools, 'ann')
    assert.deepEqual(await client.ask({ action: 'unsubscribe_query', queryId: 'never', requestId: 'r' }), { type: 'query_unsubscribed', queryId: 'never', requestId: 'r' })
  },

  async 'form A with listTasks of one user is not told of what that user may not see (5, 6)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ben.ask({ action: 'subscribe_query', queryId: 'q', method: 'listTasks', payload: {}, tables: ['tasks'] })
    await ann.call('createTask', { title: 'hidden' })
    await ben.call('createTask', { title: 'mine' })
    await ben.message('the refresh', ({ type }) => type === 'query_refresh')
    await ben.barrier()
    assert.equal(ben.of('query_refresh').length, 1)
  },

  async 'subscribe_query in form B: the result now, and again after changes, at most twice a second; the last has everything (5)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(ann, 'Ann')
    const sql = 'SELECT COUNT(*) AS n FROM people'
    const results = () => ben.messages.filter(({ originalSql }) => originalSql === sql)
    assert.deepEqual(await ben.ask({ action: 'subscribe_query', sql, table: 'people', requestId: 'r' }), { type: 'query_result', data: [{ n: 1 }], originalSql: sql, requestId: 'r' })
    const [began, from] = [performance.now(), results().length]
    let count = 1
    while (performance.now() - began < watchedMs) {
      await ann.call('batchInsert', { table: 'people', rows: [{ name: `${count}` }] })
      count++
      await pause(10)
    }
    await ben.message('the last result', ({ originalSql, data }) => originalSql === sql && data[0].n === count)
    const [told, seconds] = [results().length - from, (performance.now() - began) / 1_000]
    assert.ok(told <= seconds * perSecondMax + 2, `${told} results in ${seconds.toFixed(1)} s`)
    assert.ok(told >= 3, `${told} results in ${seconds.toFixed(1)} s`)
    const numbers = results().map(({ data }) => data[0].n)
    assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b), 'never an older result after a newer one')
    assert.ok(results().slice(1).every(message => message.type === 'query_result'))
    tools.log(`a live query was told ${told} times in ${seconds.toFixed(1)} s, over ${count} changes`)
  },

  async 'form B on rows of one user: each is told what each may see, and no more (5, 6, 12.8)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const sql = 'SELECT title FROM tasks ORDER BY id'
    for (const client of [ann, ben]) assert.deepEqual((await client.ask({ action: 'subscribe_query', sql, table: 'tasks' })).data, [])
    await ann.call('createTask', { title: 'of ann' })
    await ben.call('createTask', { title: 'of ben' })
    for (const [client, title] of [[ann, 'of ann'], [ben, 'of ben']]) await client.message('the result', ({ originalSql, data }) => originalSql === sql && JSON.stringify(data) === JSON.stringify([{ title }]))
    assert.ok(!JSON.stringify(ben.messages).includes('of ann') && !JSON.stringify(ann.messages).includes('of ben'))
  },

  async 'form B of several tables, of a bad statement, and of a table that is not there yet (5)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    assert.equal((await ben.ask({ action: 'subscribe_query', sql: 'DROP TABLE tasks', table: 'tasks', requestId: 'r' })).type, 'query_error')
    assert.equal((await ben.ask({ action: 'subscribe_query', sql: 'SELECT name FROM people', table: 'people', requestId: 's' })).error, 'no such table: people')
    await withPeople(ann, 'Ann')
    const joined = 'SELECT p.name, COUNT(t.id) AS n FROM people p LEFT JOIN tasks t ON t.title = p.name GROUP BY p.id'
    assert.deepEqual((await ben.ask({ action: 'subscribe_query', sql: joined, table: 'people' })).data, [{ name: 'Ann', n: 0 }])
    await ann.call('batchInsert', { table: 'people', rows: [{ name: 'Eve' }] })
    await ben.message('the result', ({ originalSql, data }) => originalSql === joined && data.length === 2)
    await ben.barrier()
  },

  async 'a result of form B reaches who asked for it, and nobody else (5)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(ann, 'Ann')
    const sql = 'SELECT name FROM people'
    await ann.ask({ action: 'subscribe_query', sql, table: 'people' })
    await ann.call('batchInsert', { table: 'people', rows: [{ name: 'Ben' }] })
    await ann.message('the result', ({ originalSql, data }) => originalSql === sql && data.length === 2)
    await ben.barrier()
    assert.equal(ben.of('query_result').filter(({ originalSql }) => originalSql === sql).length, 0)
  },

  ...forEach(
    {
      'queryId and tables without a method': { queryId: 'q', tables: ['people'] },
      'a method without queryId': { method: 'listTasks', tables: ['people'] },
      'tables that are a text': { queryId: 'q', method: 'listTasks', tables: 'people' },
      'sql that is a number': { sql: 7, table: 'people' }
    },
    what => `subscribe_query with ${what}: refused (5)`,
    async (tools, more) => {
      const client = await enter(tools, 'ann')
      assert.deepEqual(await client.ask({ action: 'subscribe_query', ...more }), plainError('subscribe_query requires queryId, method, and tables'))
    }
  ),

  async 'all subscriptions end with the connection (5)' (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(ann)
    ben.send({ action: 'subscribe', table: 'people' })
    await ben.ask({ action: 'subscribe_query', queryId: 'q', method: 'listTasks', tables: ['tasks'] })
    ben.terminate()
    await ben.whenClosed()
    const again = await enter(tools, 'ben')
    await ann.call('batchInsert', { table: 'people', rows: [{ name: 'x' }] })
    await again.call('createTask', { title: 'x' })
    await again.barrier()
    assert.deepEqual(again.messages.filter(({ event, type }) => event !== undefined || type === 'query_refresh'), [])
  },

  async 'a change reaches 300 who listen, each once (5)' (tools) {
    const listeners = await Promise.all(Array.from({ length: 300 }, (_, i) => enter(tools, i % 2 === 0 ? 'ann' : 'ben')))
    const writer = await enter(tools, 'ann')
    await withPeople(writer)
    for (const client of listeners) client.send({ action: 'subscribe', table: 'people' })
    await Promise.all(listeners.map(client => client.barrier()))
    await writer.call('batchInsert', { table: 'people', rows: [{ name: 'a' }, { name: 'b' }] })
    await until('all events', () => listeners.every(client => client.changes().length === 2))
    await Promise.all(listeners.map(client => client.barrier()))
    assert.ok(listeners.every(client => client.changes().map(({ row }) => row.name).join() === 'a,b'))
  }
}

export const inEachOwnChanges = {
  async '10,000 connections of a table, and no more: the next is told so, and the change reaches them all (2)' ({ startServer, keep, ...tools }) {
    if (openFilesMax() < subscribersMax + spareFiles) return tools.log(`10,000 subscribers are left out: at most ${openFilesMax()} open files (ulimit -n)`)
    const server = await startServer({ CONCORD_LIMITS_ROOM_CONNECTIONS_MAX: String(2 * subscribersMax), CONCORD_LIMITS_USER_CONNECTIONS_MAX: String(2 * subscribersMax), CONCORD_LOG_LEVEL: 'warn' })
    const own = { ...tools, keep, server }
    const ann = await Account.signUp(server, 'ann')
    const [last, refused] = [await enterWith(own, ann), await enterWith(own, ann)]
    await last.call('createTask', { title: 'first' })
    const path = databaseUrl({ url: '' }, tools.id, (await ann.makeKey()).parameters)
    const listeners = []
    const open = async () => {
      while (listeners.length < subscribersMax - 1) {
        const listener = new Listener(server.port, path, [{ action: 'subscribe', table: 'tasks' }, { action: 'ping' }])
        listeners.push(keep(listener))
        await listener.opened
      }
    }
    await Promise.all(Array.from({ length: openedAtOnce }, open))
    await until('all to have subscribed', () => listeners.every(({ frames }) => frames === 2)) // reset and pong
    last.send({ action: 'subscribe', table: 'tasks' })
    await last.barrier()
    assert.equal(last.of('error').length, 0)
    const full = plainError("Table 'tasks' subscription limit reached (10000 max). Please try again later.", { requestId: 'r' })
    assert.deepEqual(await refused.ask({ action: 'subscribe', table: 'tasks', requestId: 'r' }), full)
    const began = performance.now()
    await refused.call('createTask', { title: 'to all' })
    await until('the change at all of them', () => listeners.every(({ frames }) => frames === 3) && last.changes().length === 1)
    tools.log(`a change reached ${subscribersMax} in ${(performance.now() - began).toFixed(0)} ms`)
    assert.equal(refused.changes().length, 0)
    last.send({ action: 'unsubscribe', table: 'tasks' })
    await last.barrier()
    refused.send({ action: 'subscribe', table: 'tasks' })
    await refused.barrier()
    assert.equal(refused.of('error').length, 1, 'there is room again')
  }
}
