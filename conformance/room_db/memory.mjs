// Statements about what is kept in memory: cursors, presence, debounced values. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { forEach } from '../lib/any_editor_statements.mjs'
import { Account } from '../lib/room_db_accounts.mjs'
import { until } from '../lib/until.mjs'
import { answers, enter, enterWith, plainError } from './visits.mjs'

const kinds = {
  cursors: { set: 'setCursor', get: 'getCursors', member: 'position', other: { x: 1, y: [2] }, lastsMs: 30_000 },
  presence: { set: 'setPresence', get: 'getPresence', member: 'status', other: 'away', lastsMs: 60_000 }
}
const lateMs = 15_000 // beyond the time that an entry lasts
const earlyMs = 1_000 // timers of two processes
const valueBytesMax = 16 * 1024
const debouncedCharactersMax = 100_000

const eventOf = (kind, data) => ({ event: 'memory_update', type: kind, data })
const isEvent = kind => message => message.event === 'memory_update' && message.type === kind

const bothKinds = Object.assign({}, ...Object.entries(kinds).map(([kind, { set, get, member, other }]) => ({
  async [`${set}: all connections hear of it, the sender too; ${get} lists it (4, 12.13)`] (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    const data = { userId: 'Ann of the 2nd floor', [member]: other }
    await answers(ann, set, data, { type: 'success', action: set })
    for (const client of [ann, ben]) assert.deepEqual(await client.message('the event', isEvent(kind)), eventOf(kind, data))
    await answers(ben, get, undefined, { type: 'query_result', data: [data], originalSql: get })
    await ann.call(set, { ...data, [member]: null })
    await answers(ben, get, undefined, { type: 'query_result', data: [{ ...data, [member]: null }], originalSql: get })
  },

  async [`${set} as an action of its own: no reply (2)`] (tools) {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    ann.send({ action: set, payload: { userId: 'a', [member]: 1 } })
    assert.deepEqual(await ben.message('the event', isEvent(kind)), eventOf(kind, { userId: 'a', [member]: 1 }))
    await ann.barrier()
    assert.equal(ann.of('success').length, 0)
    assert.deepEqual(await ann.ask({ action: set, payload: {} }), plainError(`${set} requires userId and ${member}`))
  },

  ...forEach(
    { nothing: {}, 'no user': { [member]: 1 }, 'no value': { userId: 'a' }, 'an empty user': { userId: '', [member]: 1 }, 'a user that is a number': { userId: 7, [member]: 1 } },
    what => `${set} with ${what}: refused (4)`,
    async (tools, payload) => {
      const client = await enter(tools, 'ann')
      await answers(client, set, payload, plainError(`${set} requires userId and ${member}`))
      assert.deepEqual((await client.call(get)).data, [])
    }
  ),

  async [`${set}: a label that another user has is not overwritten; one's own is, from any connection (4)`] (tools) {
    const [ann, again, ben] = [await enter(tools, 'ann'), await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ann.call(set, { userId: 'x', [member]: 'first' })
    await answers(ben, set, { userId: 'x', [member]: 'taken' }, plainError('userId belongs to another user'))
    assert.deepEqual(await ben.ask({ action: set, payload: { userId: 'x', [member]: 'taken' } }), plainError('userId belongs to another user'))
    await again.call(set, { userId: 'x', [member]: 'second' })
    await ben.call(set, { userId: 'y', [member]: 'mine' })
    const { data } = await ben.call(get)
    assert.deepEqual(data.sort((a, b) => a.userId < b.userId ? -1 : 1), [{ userId: 'x', [member]: 'second' }, { userId: 'y', [member]: 'mine' }])
    assert.ok(!JSON.stringify(ann.messages).includes('taken'))
  },

  async [`${set}: what a user has set goes with the user's last connection (4)`] (tools) {
    const [one, two, ben] = [await enter(tools, 'ann'), await enter(tools, 'ann'), await enter(tools, 'ben')]
    await one.call(set, { userId: 'x', [member]: 1 })
    one.terminate()
    await one.whenClosed()
    await ben.barrier()
    const list = async () => (await ben.call(get)).data.length
    assert.equal(await list(), 1)
    two.terminate()
    await until('the entry to go', async () => await list() === 0, { everyMs: 20 })
    await ben.call(set, { userId: 'x', [member]: 2 })
  },

  async [`${set}: a value of more than 16 KiB is refused (4)`] (tools) {
    const client = await enter(tools, 'ann')
    const value = bytes => 'x'.repeat(bytes - 2) // with its quotes
    await client.call(set, { userId: 'x', [member]: value(valueBytesMax) })
    const { type, error } = await client.rpc(set, { userId: 'x', [member]: value(valueBytesMax + 1) })
    assert.deepEqual([type, typeof error], ['error', 'string'])
    assert.equal((await client.call(get)).data[0][member].length, valueBytesMax - 2)
  }
})))

export const inMemory = {
  ...bothKinds,

  async 'cursors and presence are two lists, and no row of any table (4)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('setCursor', { userId: 'x', position: 1 })
    assert.deepEqual((await client.call('getPresence')).data, [])
    await client.call('setPresence', { userId: 'x', status: 'here' })
    assert.deepEqual((await client.call('getCursors')).data, [{ userId: 'x', position: 1 }])
    assert.deepEqual(Object.keys((await client.call('getSchema')).data), ['tasks'])
  },

  ...forEach(
    {
      'no key': [{ value: 1 }, 'updateDebounced requires key parameter'],
      'an empty key': [{ key: '', value: 1 }, 'updateDebounced requires key parameter'],
      'a key that is a number': [{ key: 7, value: 1 }, 'updateDebounced requires key parameter'],
      'a value that is too large': [{ key: 'k', value: 'x'.repeat(debouncedCharactersMax - 1) }, 'Value too large: maximum 100KB']
    },
    what => `updateDebounced with ${what}: refused (4)`,
    async (tools, [payload, error]) => {
      await answers(await enter(tools, 'ann'), 'updateDebounced', payload, plainError(error))
    }
  ),

  async 'updateDebounced and flushDebounced: their replies; the largest value (4)' (tools) {
    const client = await enter(tools, 'ann')
    for (const value of [1, null, 'x'.repeat(debouncedCharactersMax - 2), { a: [1] }]) {
      await answers(client, 'updateDebounced', { key: 'k', value }, { type: 'success', action: 'updateDebounced', message: 'Update queued for flush' })
    }
    await answers(client, 'flushDebounced', undefined, { type: 'success', action: 'flushDebounced', message: 'Debounced writes flushed to SQLite' })
  },

  async 'updateDebounced: more than 10 MiB that wait are refused; after a flush there is room (4)' (tools) {
    const client = await enter(tools, 'ann')
    const value = 'x'.repeat(99_000)
    const results = await Promise.all(Array.from({ length: 130 }, (_, i) => client.rpc('updateDebounced', { key: `k${i}`, value })))
    const refused = results.findIndex(({ type }) => type === 'error')
    assert.ok(refused >= 95 && refused <= 110, `the first refusal is value ${refused}`)
    assert.deepEqual(results[refused], plainError('Memory limit reached. Please wait for pending writes to flush.'))
    await client.call('flushDebounced')
    await client.call('updateDebounced', { key: 'more', value })
  },

  async 'no query reads the table of debounced values (4, 12.11)' (tools) {
    const client = await enter(tools, 'ann')
    await client.call('updateDebounced', { key: 'k', value: 'secret-in-memory' })
    await client.call('flushDebounced')
    assert.equal((await client.rpc('executeSQL', { sql: 'SELECT * FROM _debounced_state' })).type, 'query_error')
    assert.ok(!JSON.stringify(client.messages).includes('secret-in-memory'))
  }
}

/** They wait half a minute and a minute; beside everything else. */
export const inTime = forEach(
  kinds,
  kind => `${kind} that nobody renews are gone after their time, and then anybody may have the label (4, 12.13)`,
  async (tools, { set, get, member, lastsMs }) => {
    const [ann, ben] = [await enter(tools, 'ann'), await enter(tools, 'ben')]
    await ann.call(set, { userId: 'x', [member]: 1 })
    const began = performance.now()
    await until('the entry to go', async () => (await ben.call(get)).data.length === 0, { ms: lastsMs + lateMs, everyMs: 500 })
    const lasted = performance.now() - began
    assert.ok(lasted >= lastsMs - earlyMs, `gone after ${lasted} ms`)
    await ben.call(set, { userId: 'x', [member]: 2 })
  }
)

/** What is in the files of a folder, whatever is in them. */
function bytesBelow (folder) {
  return Buffer.concat(readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile()).map(entry => readFileSync(join(entry.parentPath ?? entry.path, entry.name))))
}

export const inEachOwnMemory = {
  async 'updateDebounced 100 times in a second: only the last value is ever written, at the latest when the server ends (4, 12.14)' ({ startServer, ...tools }) {
    const server = await startServer()
    const client = await enterWith({ ...tools, server }, await Account.signUp(server, 'ann'))
    const value = i => `debounced-value-${i}.`
    for (let i = 0; i < 100; i++) client.send({ action: 'rpc', method: 'updateDebounced', payload: { key: 'k', value: value(i) } })
    await client.message('all replies', () => client.of('success').length === 100)
    assert.deepEqual(await server.terminate(), { code: 0, signal: null })
    const bytes = bytesBelow(server.data)
    assert.ok(bytes.includes(value(99)), 'the last value is on the disk')
    assert.equal(Array.from({ length: 99 }, (_, i) => value(i)).filter(text => bytes.includes(text)).length, 0, 'values that were written in between')
  },

  async 'a debounced value is written a second after the last change by itself: it is there after a kill (4)' ({ startServer, ...tools }) {
    const server = await startServer()
    const client = await enterWith({ ...tools, server }, await Account.signUp(server, 'ann'))
    await client.call('updateDebounced', { key: 'k', value: 'by-itself' })
    const early = bytesBelow(server.data).includes('by-itself')
    const began = performance.now()
    await until('the value on the disk', () => bytesBelow(server.data).includes('by-itself'), { ms: 10_000, everyMs: 50 })
    const after = performance.now() - began
    assert.ok(!early && after >= 500, `written after ${after} ms`)
    await client.call('updateDebounced', { key: 'k', value: 'at-once' })
    await client.call('flushDebounced')
    assert.ok(bytesBelow(server.data).includes('at-once'), 'flushed before the reply')
    await server.kill9()
    await server.start()
    assert.ok(bytesBelow(server.data).includes('at-once'))
  }
}
