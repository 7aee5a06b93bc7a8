// Statements about how connections to room databases end: withdrawn credentials, too much of anything, silence, the end of the server. Run by
// scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { Account } from '../lib/room_db_accounts.mjs'
import { pause, until } from '../lib/until.mjs'
import { enter, enterWith, withPeople } from './visits.mjs'

const withdrawnMs = 60_000
const sessionS = 60 // the shortest that can be set
const messageBytesMax = 4 * 2 ** 20
const insertBytesMax = 16 * 2 ** 20
const invalidPerMinute = 100
const queuedMax = 1_024
const slowBytes = 20_000
const slowRows = 4_500 // beyond what the kernel holds for a socket (36 MB here), more than 1,024
const lateMs = 2_000

/** They may take a minute each, beside everything else. */
export const inAMinute = {
  async 'a key is deleted: its open sockets are closed with 1008 within a minute, others stay (8, 12.17)' (tools) {
    const ann = await tools.people.get('ann')
    const [key, other] = [await ann.makeKey({ name: 'short' }), await ann.makeKey({ name: 'long' })]
    const clients = [await enterWith(tools, key), await enterWith(tools, key, { room: `${tools.id}-other` })]
    const stays = [await enterWith(tools, other), await enter(tools, 'ann')]
    await clients[0].call('createTask', { title: 'before' })
    const began = performance.now()
    assert.equal((await ann.post('/api/keys/delete', { id: key.text })).status, 200)
    for (const client of clients) assert.equal((await client.whenClosed(withdrawnMs)).code, 1008)
    tools.log(`closed ${((performance.now() - began) / 1_000).toFixed(1)} s after the key was deleted`)
    for (const client of stays) await client.barrier()
    await assert.rejects(enterWith(tools, key), /401/)
  },

  async 'somebody signs out: the sockets of that session are closed with 1008, those of another session stay (8)' (tools) {
    const { server, id } = tools
    const first = await Account.signUp(server, 'ann', { email: `${id}@people.example` })
    const second = await Account.signIn(server, first.email)
    const byToken = { parameters: { session_token: first.token }, socketOptions: {} }
    const clients = [await enterWith(tools, first), await enterWith(tools, byToken)]
    const stays = await enterWith(tools, second)
    assert.equal((await first.signOut()).status, 200)
    for (const client of clients) assert.equal((await client.whenClosed(withdrawnMs)).code, 1008)
    await stays.barrier()
  },

  async 'a key runs out while somebody is in: 1008 within a minute (8)' (tools) {
    const { admin, people } = tools
    const made = await admin.do('POST', '/api/admin/keys', { name: 'short', owner: (await people.get('ann')).id, scopes: ['read', 'write'], ttl_s: 3, form: 'console' })
    const client = await enterWith(tools, { parameters: { key: made.key }, socketOptions: {} })
    assert.equal((await client.whenClosed(withdrawnMs)).code, 1008)
  },

  async 'a session runs out while somebody is in: 1008 within a minute, and the cookie is worth nothing (8)' ({ startServer, ...tools }) {
    const server = await startServer({ CONCORD_ACCOUNTS_SESSION_S: String(sessionS) })
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    const client = await enterWith(own, ann)
    const timer = setInterval(() => client.isOpen && client.send({ action: 'ping' }), 5_000) // use does not prolong it beyond its time
    try {
      assert.equal((await client.whenClosed(sessionS * 1_000 + withdrawnMs - 10_000)).code, 1008)
    } finally {
      clearInterval(timer)
    }
    await assert.rejects(enterWith(own, ann), /401/)
  },

  async 'a user is deleted: 1008 within a minute (8)' (tools) {
    const { server, id, admin } = tools
    const account = await Account.signUp(server, 'gone', { email: `${id}-gone@people.example` })
    const clients = [await enterWith(tools, account), await enterWith(tools, await account.makeKey())]
    await admin.do('DELETE', `/api/admin/users/${account.id}`)
    for (const client of clients) assert.equal((await client.whenClosed(withdrawnMs)).code, 1008)
  }
}

export const onClosing = {
  async 'a message of more than 4 MiB: 1009; of 4 MiB it is one (8)' (tools) {
    const [fits, over] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const message = bytes => {
      const text = JSON.stringify({ action: 'rpc', method: 'foo', requestId: 'r', payload: { x: '' } })
      return text.replace('"x":""', `"x":"${'x'.repeat(bytes - text.length)}"`)
    }
    assert.equal((await fits.ask(message(messageBytesMax))).code, 'UNKNOWN_METHOD')
    over.send(message(messageBytesMax + 1))
    assert.equal((await over.whenClosed()).code, 1009)
    await fits.barrier()
  },

  async 'a batchInsert may have 16 MiB, and no more: 1009 (8)' (tools) {
    const [fits, over] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await withPeople(fits)
    const rows = bytes => Array.from({ length: 100 }, () => ({ name: 'x'.repeat(bytes / 100) }))
    assert.equal((await fits.call('batchInsert', { table: 'people', rows: rows(15 * 2 ** 20) }, { ms: 60_000 })).data.inserted, 100)
    over.send({ action: 'rpc', method: 'batchInsert', payload: { table: 'people', rows: rows(insertBytesMax + 2 ** 18) } })
    assert.equal((await over.whenClosed()).code, 1009)
    assert.deepEqual(await fits.select('SELECT COUNT(*) AS n FROM people'), [{ n: 100 }])
  },

  async '100 invalid messages in a minute are answered, one more closes with 1008 (8)' (tools) {
    const client = await enter(tools, 'ann')
    for (let i = 0; i < invalidPerMinute; i++) client.send(['{', '[]', '{"action":"foo"}', '{"action":"subscribe"}'][i % 4])
    await client.message('all answers', () => client.of('error').length === invalidPerMinute)
    await client.barrier()
    client.send('{')
    assert.equal((await client.whenClosed()).code, 1008)
  },

  async 'refusals of methods are no invalid messages (8)' (tools) {
    const client = await enter(tools, 'ann')
    for (let i = 0; i < 2 * invalidPerMinute; i++) await client.rpc('createTable', {})
    await client.barrier()
    assert.equal(client.closed, null)
  },

  async 'who reads slowly but reads gets more than 1,024 messages (8)' (tools) {
    const [reader, writer] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await writer.call('createTable', { tableName: 'n', columns: [{ name: 'n', type: 'INTEGER' }] })
    reader.send({ action: 'subscribe', table: 'n' })
    await reader.barrier()
    for (let i = 0; i < 4; i++) {
      await writer.call('batchInsert', { table: 'n', rows: Array.from({ length: 500 }, (_, n) => ({ n })) })
      await reader.message('the events', () => reader.changes().length === (i + 1) * 500)
    }
    assert.ok(reader.changes().length > queuedMax)
  }
}

export const inEachOwnClosing = {
  ...forEach(
    { 'to everybody in the room': true, 'to a part of the room': false },
    what => `who stops reading is closed with 1013 and delays nobody, when events go ${what} (8)`,
    async ({ startServer, ...tools }, writerListens) => {
      const server = await startServer()
      const own = { ...tools, server }
      const ann = await Account.signUp(server, 'ann')
      const [slow, fast, writer] = [await enterWith(own, ann), await enterWith(own, ann), await enterWith(own, ann)]
      await withPeople(writer)
      const listeners = [slow, fast, ...(writerListens ? [writer] : [])]
      for (const client of listeners) client.send({ action: 'subscribe', table: 'people' })
      await Promise.all(listeners.map(client => client.barrier()))
      slow.socket.pause()
      const name = 'x'.repeat(slowBytes)
      const waits = []
      let sent = 0
      const isNoticed = () => server.log.some(line => line.includes('SlowConsumer'))
      while (sent < slowRows && !isNoticed()) {
        const began = performance.now()
        await writer.call('batchInsert', { table: 'people', rows: Array.from({ length: 50 }, () => ({ name })) })
        sent += 50
        await fast.message('the events', () => fast.changes().length === sent)
        writer.messages.length = 0
        waits.push(performance.now() - began)
      }
      slow.socket.resume()
      const { code } = await slow.whenClosed()
      assert.equal(code, 1013)
      assert.deepEqual(slow.changes().map(({ row }) => row.id), slow.changes().map((_, i) => i + 1), 'what it has had is without a gap')
      waits.sort((a, b) => a - b)
      tools.log(`closed after ${sent} events of ${slowBytes} bytes; 50 of them took the others ${waits[waits.length >> 1].toFixed(0)} ms, at most ${waits.at(-1).toFixed(0)} ms`)
      assert.ok(waits.at(-1) < 50 * waits[waits.length >> 1] + lateMs, 'nobody else waits')
      await fast.barrier()
    }
  ),

  async 'SIGTERM: 1001 Server shutdown to everybody, exit code 0, and what was answered is there (8)' ({ startServer, ...tools }) {
    const server = await startServer()
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    const clients = [await enterWith(own, ann), await enterWith(own, ann)]
    await clients[0].call('createTask', { title: 'kept' })
    const ended = server.terminate()
    for (const client of clients) assert.deepEqual(await client.whenClosed(), { code: 1001, reason: 'Server shutdown' })
    assert.deepEqual(await ended, { code: 0, signal: null })
    await server.start()
    const late = await enterWith(own, ann)
    assert.deepEqual((await late.call('listTasks', {})).data.map(({ title }) => title), ['kept'])
  },

  async 'SIGTERM while a query runs and rows are written: it ends in time, and every answered row is there (8, 12.16)' ({ startServer, ...tools }) {
    const server = await startServer()
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    const [reader, writer] = [await enterWith(own, ann), await enterWith(own, ann)]
    await withPeople(writer)
    reader.send({ action: 'rpc', method: 'executeSQL', payload: { sql: 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT COUNT(*) FROM c' } })
    await reader.ask({ action: 'ping' })
    let sent = 0
    const writing = (async () => { while (writer.isOpen) { writer.send({ action: 'rpc', method: 'batchInsert', payload: { table: 'people', rows: [{ name: `${sent++}` }] }, requestId: `${sent}` }); await pause(1) } })()
    await until('some answers', () => writer.of('mutation_success').length > 50)
    const began = performance.now()
    assert.deepEqual(await server.terminate(), { code: 0, signal: null })
    const tookMs = performance.now() - began
    await writing
    const answered = writer.of('mutation_success').filter(({ action }) => action === 'batchInsert').length
    await server.start()
    const late = await enterWith(own, ann)
    const [{ n }] = await late.select('SELECT COUNT(*) AS n FROM people')
    assert.ok(n >= answered && n <= sent, `${n} rows; ${answered} were answered, ${sent} sent`)
    tools.log(`SIGTERM under load took ${(tookMs / 1_000).toFixed(1)} s; ${answered} rows answered, ${n} there`)
  }
}

/** They wait for the server's own pings and patience: half a minute, and a minute and a quarter. */
export const inSilence = {
  async 'the server pings every 30 s; who answers stays, who does not is gone after 75 s; a client that pings by message stays (8)' (tools) {
    const [alive, dead, pinging] = [await enter(tools, 'ann'), await enter(tools, 'ann', { autoPong: false }), await enter(tools, 'ben', { autoPong: false })]
    const timer = setInterval(() => pinging.isOpen && pinging.send({ action: 'ping' }), 30_000)
    try {
      const began = performance.now()
      await until('the silent one to be dropped', () => dead.closed, { ms: 110_000, everyMs: 100 })
      const after = performance.now() - began
      assert.ok(after >= 60_000, `dropped after ${after} ms`)
      assert.ok(alive.pings >= 2 && alive.pings <= 4, `${alive.pings} pings in ${after} ms`)
      await alive.barrier()
      await pinging.barrier()
    } finally {
      clearInterval(timer)
    }
  }
}
