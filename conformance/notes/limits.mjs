// Statements about limits: sizes, rates, connections, and who does not read (sections 6 and 9). Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { makeToken } from '../lib/access.mjs'
import { NotesClient, at, makeNote } from '../lib/notes.mjs'
import { envelope } from '../lib/notes_messages.mjs'
import { until } from '../lib/until.mjs'

const messageBytesMax = 16 << 20
const perSecond = 50
const burst = 100
const refusedMax = 100
const connectionsMax = 100
const slowNotes = 1_800 // more than the 1,024 messages of a queue with what the kernels of both ends hold, but not twice as many
const slowBytes = 40_000

/** A message of so many bytes, whose note is larger than a note may be. */
function messageOf (bytes) {
  const empty = JSON.stringify(envelope('note_update', { note: makeNote({ id: 'large', content: '' }) }))
  return empty.replace('"content":""', `"content":"${'x'.repeat(bytes - Buffer.byteLength(empty))}"`)
}

const isRateError = ({ type, payload }) => type === 'error' && payload.code === 'RATE_LIMIT_EXCEEDED'

export const statements = {
  async 'a message of 16 MiB is read, a larger one closes with 1009 (9)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    a.send(messageOf(messageBytesMax))
    assert.equal((await a.error('INVALID_NOTE')).messageType, 'note_update')
    const note = makeNote()
    a.update(note)
    await b.updated(note.id)
    a.send(messageOf(messageBytesMax + 1))
    assert.equal((await a.whenClosed()).code, 1009)
    await b.barrier()
    assert.equal((await api().changes()).notes.length, 1)
  },

  async '50 messages a second and 100 at once; more are refused and not processed, pings are not counted (9)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    for (let i = 0; i < 3 * burst; i++) a.ping({ timestamp: i })
    await a.some('the last pong', ({ type, payload }) => type === 'pong' && payload.timestamp === 3 * burst - 1)
    assert.deepEqual(a.errors, [], 'pings are not counted')
    const began = performance.now()
    const sent = Array.from({ length: burst + perSecond }, (_, i) => makeNote({ id: `r-${i}` }))
    for (const note of sent) a.update(note)
    a.ping({ timestamp: -1 })
    await a.some('the pong behind all', ({ type, payload }) => type === 'pong' && payload.timestamp === -1)
    const seconds = (performance.now() - began) / 1_000
    const refused = a.messages.filter(isRateError)
    const accepted = sent.length - refused.length
    assert.ok(accepted >= burst - 2 && accepted <= burst + perSecond * seconds + 1, `${accepted} of ${sent.length} were accepted in ${seconds.toFixed(2)} s`)
    for (const { payload } of refused) assert.equal(payload.messageType, 'note_update')
    assert.equal(a.closed, null)
    const other = makeNote()
    b.update(other)
    await a.updated(other.id)
    await b.barrier()
    assert.deepEqual(b.errors, [], 'each connection has its own rate')
    const { notes } = await api().changes()
    assert.equal(notes.length, accepted + 1, 'what was refused is not stored')
    assert.equal(b.of('note_updated').length, accepted, 'nor relayed')
    await until('the rate to allow a message again', async () => {
      const from = a.received.length
      const note = makeNote()
      a.update(note)
      await a.pong()
      return !a.messages.slice(from).some(isRateError)
    }, { everyMs: 100 })
  },

  async 'bad input is counted as well, and deletions (9)' ({ join }) {
    const a = await join()
    const began = performance.now()
    for (let i = 0; i < burst; i++) a.send(i % 2 === 0 ? '{}' : envelope('note_delete', { noteId: `d-${i}` }))
    for (let i = 0; i < perSecond; i++) a.remove(`e-${i}`)
    await a.pong()
    const [refused, seconds] = [a.messages.filter(isRateError).length, (performance.now() - began) / 1_000]
    assert.ok(refused >= perSecond * (1 - seconds) - 1, `${refused} refused in ${seconds.toFixed(2)} s`)
  },

  async '100 refused in a minute: 1008 (9)' ({ join }) {
    const a = await join()
    for (let i = 0; i < burst + 2 * refusedMax; i++) a.remove(`d-${i}`)
    const { code } = await a.whenClosed()
    assert.equal(code, 1008)
    const refused = a.messages.filter(isRateError).length
    assert.ok(refused >= refusedMax - 1 && refused <= refusedMax, `${refused} refused before the close`)
  },

  async '100 connections of a user; the next one gets 429 until one has left, others and REST go on (9)' ({ server, user, token, connect, keep, api }) {
    const clients = await Promise.all(Array.from({ length: connectionsMax }, () => connect()))
    const attempt = async () => {
      const client = keep(new NotesClient(server, { token }))
      await until('an answer', () => client.refused ?? (client.received.length > 0 ? 101 : null))
      return client.refused ?? 101
    }
    assert.equal(await attempt(), 429)
    assert.equal((await api().post(makeNote({ id: 'by REST' }))).status, 200, 'a call is no connection')
    await Promise.all(clients.map(client => client.updated('by REST')))
    keep(await NotesClient.open(server, { token: makeToken({ userId: `${user}-other` }) }))
    clients[0].close()
    await clients[0].whenClosed()
    await until('a place', async () => (await attempt()) === 101, { everyMs: 50 })
  }
}

/** Needs the server for itself: it sends a lot. */
export const alone = {
  async 'who does not read misses messages and is told so, and a second time within a minute 1013; nobody else notices (6)' ({ startServer, user, join, api: apiOf, log }) {
    const server = await startServer({ CONCORD_LIMITS_RING_BYTES_MAX: '128 MiB' }) // so that messages are what is counted
    const [slow, fast] = [await join({ server }), await join({ server })]
    const api = apiOf(user, server)
    const flood = async round => {
      slow.socket.pause()
      await api.putAll(Array.from({ length: slowNotes }, (_, i) => makeNote({ id: `w-${i % 50}`, updatedAt: at(round * 10_000 + i), content: `${i}`.padEnd(slowBytes, 'x') })))
      await until('all of it at the one that reads', () => fast.of('note_updated').length >= round * slowNotes)
    }
    await flood(1)
    slow.socket.resume()
    await slow.some('missed_messages', ({ type, payload }) => type === 'sync_required' && payload.reason === 'missed_messages')
    const note = makeNote({ id: 'after it' })
    await api.do('PUT', '/api/notes/after%20it', { json: note })
    await slow.updated(note.id)
    assert.deepEqual(slow.reasons, ['initial_sync', 'missed_messages'])
    const got = slow.of('note_updated').length
    assert.ok(got < slowNotes, 'messages were dropped')
    log(`who did not read got ${got} of ${slowNotes + 1} messages of ${slowBytes} bytes, one missed_messages, and then what came next`)
    await flood(2)
    slow.socket.resume()
    assert.equal((await slow.whenClosed()).code, 1013)
    assert.deepEqual([fast.reasons, fast.closed], [['initial_sync'], null])
  }
}
