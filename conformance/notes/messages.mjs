// Statements about messages and what they do: who is told what, pings, what a note keeps, and every case of a write (section 5). Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { makeToken } from '../lib/access.mjs'
import { at, fromNow, makeNote } from '../lib/notes.mjs'
import { until } from '../lib/until.mjs'

const hourMs = 3_600_000
const replayed = 1_000
const pongMs = 1_000

const oddPings = { null: null, 'a text': 'now', 'a list': [1], 'a number': 7, 'an empty object': {}, 'a text as timestamp': { timestamp: 'x' }, 'true': true }

export const statements = {
  async 'a ping is answered with its number, to the sender only (3, 11.3)' ({ join }) {
    const [a, b] = [await join(), await join()]
    const before = b.received.length
    for (const timestamp of [1737124059502, 0, 1]) assert.deepEqual(await a.pong({ timestamp }), { timestamp })
    await b.barrier()
    assert.equal(b.received.slice(before).filter(({ message }) => message.type === 'pong').length, 0)
  },

  ...forEach(
    oddPings,
    what => `a ping with ${what} as payload is answered with the server's time (3, 10)`,
    async ({ join }, payload) => {
      const a = await join()
      const { timestamp } = await a.pong(payload)
      assert.ok(Math.abs(timestamp - Date.now()) < 60_000, `timestamp ${timestamp}`)
      assert.deepEqual(a.errors, [])
    }
  ),

  async 'a note reaches each other connection of the user once, with the writer, and not its sender (11.4)' ({ user, join }) {
    const [a, b, c] = [await join(), await join(), await join()]
    const note = makeNote()
    a.update(note, { userId: 'somebody else' })
    await a.barrier()
    for (const client of [b, c]) {
      await client.barrier()
      const told = client.of('note_updated')
      assert.equal(told.length, 1)
      assert.deepEqual(told[0].payload, { note: { ...note, remoteVersion: 1 }, userId: user })
    }
    assert.deepEqual([a.of('note_updated'), a.errors], [[], []], 'a claimed userId is no error')
  },

  async 'nothing of it reaches another user, live, by replay or by REST (11.5)' ({ user, join, api }) {
    const other = `${user}-other`
    const theirs = { token: makeToken({ userId: other }) }
    const [a, b] = [await join(), await join(theirs)]
    const note = makeNote()
    a.update(note)
    await a.barrier()
    b.remove(note.id, at(0))
    b.update({ ...note, title: 'theirs', updatedAt: at(1) })
    await b.barrier()
    const late = await join(theirs)
    assert.deepEqual([b.of('note_updated').length, a.of('note_deleted').length], [0, 0])
    assert.deepEqual([...late.notes.values()].map(({ title }) => title), ['theirs'])
    assert.equal((await api(other).get(note.id)).json.title, 'theirs')
    assert.equal((await api().get(note.id)).json.title, note.title)
  },

  async 'a deletion reaches the others once, with the writer, and not its sender (11.9)' ({ user, join }) {
    const [a, b] = [await join(), await join()]
    const note = makeNote()
    a.update(note)
    await b.updated(note.id)
    a.remove(note.id)
    a.remove(note.id)
    await a.barrier()
    await b.barrier()
    assert.deepEqual(b.of('note_deleted').map(({ payload }) => payload), [{ noteId: note.id, userId: user }])
    assert.deepEqual(a.of('note_deleted'), [])
  },

  async 'members that nobody knows come back unchanged, to others, by replay and by REST (11.10)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    const odd = '"z":1,"x-custom":{"a":[1,2.50,{"b":null}],"":""},"__proto__":{"evil":true},"big":123456789012345678901234567890,"constructor":7,"tiny":1e-7'
    const known = '"userId":"old","syncStatus":"pending","lastSyncedAt":"2025-01-01T00:00:00Z","localVersion":4,"wordCount":2,"version":9'
    const text = `{"id":"odd","title":"Öl & <b>日本 \\ud83d\\ude00 \\"q\\"","content":"<p>x</p>\\n\\u0000\\u2028","tags":[],"createdAt":"${at(0)}","updatedAt":"${at(0)}",${known},${odd}}`
    a.send(`{"type":"note_update","payload":{"note":${text}},"timestamp":"${at(0)}"}`)
    await b.updated('odd')
    const late = await join()
    const expected = { ...JSON.parse(text), remoteVersion: 1 }
    for (const client of [b, late]) {
      const { message, text: wire } = client.received.find(({ message: { type, payload } }) => type === 'note_updated' && payload.note.id === 'odd')
      assert.deepEqual(message.payload.note, expected)
      assert.ok(Object.hasOwn(message.payload.note, '__proto__'))
      assert.ok(wire.replaceAll(' ', '').includes('123456789012345678901234567890'), 'a number that no double holds')
    }
    assert.deepEqual((await api().get('odd')).json, { ...expected, deletedAt: null })
  },

  async 'remoteVersion is the server\'s: from 1 on, through deletion and revival, whatever a client says (3)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    const version = async note => {
      a.update(note)
      return (await b.updated(note.id, ({ updatedAt }) => Date.parse(updatedAt) === Date.parse(note.updatedAt))).note.remoteVersion
    }
    const note = makeNote({ remoteVersion: 77 })
    assert.equal(await version(note), 1)
    assert.equal(await version({ ...note, updatedAt: at(1) }), 2)
    assert.equal(await version({ ...note, updatedAt: at(2), remoteVersion: 0 }), 3)
    a.update({ ...note, updatedAt: at(1) })
    await a.barrier()
    a.remove(note.id, at(3))
    await b.deleted(note.id)
    assert.equal(await version({ ...note, updatedAt: at(4) }), 4)
    assert.equal(await version({ ...note, updatedAt: at(5) }), 5)
    assert.equal((await api().get(note.id)).json.remoteVersion, 5)
  },

  async 'what a note has is bounded, and the bounds are reached: id, title, tags, an empty title (3)' ({ join }) {
    const [a, b] = [await join(), await join()]
    const notes = [
      makeNote({ id: 'i' }),
      makeNote({ id: 'x'.repeat(128) }),
      makeNote({ id: 'note with spaces / ? # & é' }),
      makeNote({ title: '' }),
      makeNote({ title: 't'.repeat(255) }),
      makeNote({ content: '' }),
      makeNote({ tags: [] }),
      makeNote({ tags: Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(100, 'x')) }),
      makeNote({ tags: ['', 'a', 'a'] }),
      makeNote({ updatedAt: fromNow(23 * hourMs) }),
      makeNote({ createdAt: '1999-12-31T23:59:59Z', updatedAt: '2000-02-29T00:00:00+02:00' }),
      makeNote({ createdAt: fromNow(48 * hourMs) })
    ]
    for (const note of notes) a.update(note)
    await a.barrier()
    await b.barrier()
    assert.deepEqual(a.of('error').map(({ payload }) => payload), [])
    assert.deepEqual(b.of('note_updated').map(({ payload }) => payload.note.id), notes.map(({ id }) => id))
  },

  async 'names that are special in JavaScript or in paths are ids like others (3)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    const odd = ['__proto__', 'constructor', 'toString', '0', 'null', '%2e%2e', 'a/b?c#d', '日本', ' ', '\u{1F600}', '\u2028']
    for (const id of odd) a.update(makeNote({ id }))
    await a.barrier()
    await b.barrier()
    assert.deepEqual(b.of('note_updated').map(({ payload }) => payload.note.id), odd)
    for (const id of odd) assert.deepEqual([(await api().get(id)).json.id, (await api().remove(id)).status], [id, 200])
    await b.barrier()
    assert.deepEqual([b.of('note_deleted').map(({ payload }) => payload.noteId), (await api().changes()).notes], [odd, []])
  },

  async 'however a note is written, one id is stored, and what the server owns stays its own (3)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    const times = `"createdAt":"${at(0)}","updatedAt":"${at(0)}"`
    const texts = [
      `{"id":"first","id":"last","title":"T","content":"c","tags":[],${times}}`,
      `{"i\\u0064":"escaped","title":"T","content":"c","tags":[],${times}}`,
      `{"id":"version","title":"T","content":"c","tags":[],${times},"remoteVersion":7,"remoteVersion":8,"remote\\u0056ersion":9}`,
      `{"id":"times","title":"T","content":"c","tags":[],${times},"updated\\u0041t":"${at(5)}"}`,
      `{"id":"half","title":"\\ud83d","content":"\\ude00 x","tags":["\\ud83d"],${times},"more":"\\udfff"}`
    ]
    for (const text of texts) a.send(`{"type":"note_update","payload":{"note":${text}},"timestamp":"${at(0)}"}`)
    await a.barrier()
    await b.barrier()
    const told = b.of('note_updated').map(({ payload }) => payload.note)
    assert.equal(told.length + a.errors.length, texts.length, `${a.errors}`)
    for (const note of told) {
      assert.equal(note.remoteVersion, 1)
      assert.deepEqual((await api().get(note.id)).json, { ...note, deletedAt: null })
    }
    assert.ok(told.some(({ id }) => id === 'version'))
    const half = told.find(({ id }) => id === 'half')
    if (half !== undefined) assert.deepEqual(half, { ...JSON.parse(texts[4]), remoteVersion: 1 })
    for (const { text } of b.received) for (const owned of ['remoteVersion', 'updatedAt', 'createdAt']) assert.ok(text.split(`"${owned}":`).length <= 2, text)
  },

  async 'a message in fragments is one message (2)' ({ join }) {
    const [a, b] = [await join(), await join()]
    const note = makeNote({ content: 'é日本'.repeat(100) })
    const bytes = Buffer.from(JSON.stringify({ type: 'note_update', payload: { note }, timestamp: at(0) }))
    const parts = [bytes.subarray(0, 1), bytes.subarray(1, 203), bytes.subarray(203, 204), bytes.subarray(204)]
    for (const [i, part] of parts.entries()) {
      a.socket.send(part, { binary: false, fin: i === parts.length - 1 })
      if (i === 1) a.socket.ping()
    }
    assert.equal((await b.updated(note.id)).note.content, note.content)
  },

  async 'content of 10 MiB is taken, stored and sent as it is (3)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    const note = makeNote({ content: 'é<script>'.repeat((10 << 20) / 10) })
    assert.equal(Buffer.byteLength(note.content), 10 << 20)
    a.update(note)
    assert.equal((await b.updated(note.id)).note.content, note.content)
    assert.equal((await api().get(note.id)).json.content, note.content)
  }
}

/** What is stored first: `null` nothing, a time for a note, `[noteTime, deletedAt]` for a deletion mark; what is sent then; what follows. */
const writes = {
  'nothing stored: accepted': { stored: null, sent: at(0), outcome: 'accepted' },
  'newer: accepted': { stored: at(0), sent: at(1), outcome: 'accepted' },
  'newer by a millisecond: accepted': { stored: '2025-01-17T14:00:00.000Z', sent: '2025-01-17T14:00:00.001Z', outcome: 'accepted' },
  'older: the sender gets the stored one (11.7)': { stored: at(0), sent: at(-1), outcome: 'refused' },
  'older by a millisecond: the sender gets the stored one (11.7)': { stored: '2025-01-17T14:00:00.001Z', sent: '2025-01-17T14:00:00.000Z', outcome: 'refused' },
  'as old, with other content: the stored one stays (11.8)': { stored: at(0), sent: at(0), outcome: 'refused' },
  'as old, and the same: nothing is stored or sent': { stored: at(0), sent: at(0), same: true, outcome: 'duplicate' },
  'as old, and the same, in another time zone: nothing is stored or sent': { stored: '2025-01-17T14:00:00.000Z', sent: '2025-01-17T16:00:00+02:00', same: true, outcome: 'duplicate' },
  'as old in another time zone: the stored one stays': { stored: '2025-01-17T14:00:00.000Z', sent: '2025-01-17T16:00:00+02:00', outcome: 'refused' },
  'newer, though its text sorts before: accepted': { stored: '2025-01-17T14:00:00.000Z', sent: '2025-01-17T10:30:00-04:00', outcome: 'accepted' },
  'older, though its text sorts behind: the sender gets the stored one': { stored: '2025-01-17T14:00:00.000Z', sent: '2025-01-17T15:30:00+02:00', outcome: 'refused' },
  'a second with and without a fraction is the same time': { stored: '2025-01-17T14:00:00Z', sent: '2025-01-17T14:00:00.000Z', outcome: 'refused' },
  'newer than the deletion: it is back (11.9)': { stored: [at(0), at(5)], sent: at(6), outcome: 'accepted' },
  'older than the deletion: the sender is told of it (11.9)': { stored: [at(0), at(5)], sent: at(4), outcome: 'deleted' },
  'as old as the deletion: the sender is told of it': { stored: [at(0), at(5)], sent: at(5), outcome: 'deleted' },
  'a deletion counts from the time of its note, if that is later': { stored: [at(5), at(0)], sent: at(5), outcome: 'deleted' },
  'newer than that: it is back': { stored: [at(5), at(0)], sent: at(6), outcome: 'accepted' },
  'never there, but deleted: what is older stays away': { stored: [null, at(5)], sent: at(5), outcome: 'deleted' },
  'never there, but deleted: what is newer comes': { stored: [null, at(5)], sent: at(6), outcome: 'accepted' }
}

export const outcomes = forEach(
  writes,
  what => `note_update, ${what} (5)`,
  async ({ user, join, api }, { stored, sent, same = false, outcome }) => {
    const [a, b, c] = [await join(), await join(), await join()]
    const id = 'one'
    const [noteTime, deletedAt] = Array.isArray(stored) ? stored : [stored, null]
    const before = makeNote({ id, content: 'before', updatedAt: noteTime ?? at(0) })
    if (noteTime !== null) a.update(before)
    if (deletedAt !== null) a.remove(id, deletedAt)
    await a.barrier()
    await b.barrier()
    await c.barrier()
    const [byA, byB, byC] = [a.mark(), b.mark(), c.mark()]
    const next = { ...before, content: same ? 'before' : 'after', updatedAt: sent }
    b.update(next)
    await b.barrier()
    await a.barrier()
    await c.barrier()
    const said = events => events().map(({ type, payload }) => [type, payload.note?.content ?? payload.noteId, payload.userId])
    const accepted = [['note_updated', 'after', user]]
    const toSender = { accepted: [], duplicate: [], refused: [['note_updated', 'before', user]], deleted: [['note_deleted', id, user]] }
    assert.deepEqual(said(byB), toSender[outcome], 'what the sender is told')
    for (const others of [byA, byC]) assert.deepEqual(said(others), outcome === 'accepted' ? accepted : [], 'what the others are told')
    const { status, json } = await api().get(id)
    if (outcome === 'deleted') {
      assert.ok(status === 404 || typeof json.deletedAt === 'string', `${status} ${JSON.stringify(json)}`)
    } else {
      assert.deepEqual([status, json.content, json.deletedAt], [200, outcome === 'accepted' ? 'after' : 'before', null])
    }
  }
)

/** The envelope's time of a deletion, and from when to when the mark may then be, in ms from now. */
const deletions = {
  'a time of the past': { timestamp: '2025-01-17T15:00:00.000Z', from: '2025-01-17T15:00:00.000Z', to: '2025-01-17T15:00:00.000Z' },
  'a time with an offset': { timestamp: '2025-01-17T17:00:00+02:00', from: '2025-01-17T15:00:00.000Z', to: '2025-01-17T15:00:00.000Z' },
  'a time before the note': { timestamp: '2025-01-01T00:00:00.000Z', from: at(0), to: at(0) },
  'a time 23 h ahead': { timestamp: fromNow(23 * hourMs), from: fromNow(22 * hourMs), to: fromNow(24 * hourMs) },
  'a time 25 h ahead is not used': { timestamp: fromNow(25 * hourMs), from: at(0), to: fromNow(hourMs) },
  'no time: the server\'s is used (10)': { timestamp: 'yesterday', from: fromNow(-hourMs), to: fromNow(hourMs) }
}

export const marks = forEach(
  deletions,
  what => `note_delete with ${what} (5)`,
  async ({ join, api }, { timestamp, from, to }) => {
    const a = await join()
    const note = makeNote()
    a.update(note)
    a.remove(note.id, timestamp)
    await a.barrier()
    assert.deepEqual(a.errors, [])
    const { deleted } = await api().changes()
    assert.deepEqual(deleted.map(({ noteId }) => noteId), [note.id])
    const time = Date.parse(deleted[0].deletedAt)
    assert.ok(time >= Date.parse(from) && time <= Date.parse(to), `deletedAt ${deleted[0].deletedAt} is not from ${from} to ${to}`)
  }
)

export const races = {
  async 'two devices at the same moment, with the same time: one wins, and both have it (5)' ({ join, api }) {
    const [a, b] = [await join(), await join()]
    for (let round = 0; round < 20; round++) {
      const id = `race-${round}`
      a.update(makeNote({ id, content: 'of a' }))
      b.update(makeNote({ id, content: 'of b' }))
    }
    await a.barrier()
    await b.barrier()
    const { notes } = await api().changes()
    assert.equal(notes.length, 20)
    for (const { id, content } of notes) {
      const [winner, loser] = content === 'of a' ? [a, b] : [b, a]
      assert.equal(winner.of('note_updated').filter(({ payload }) => payload.note.id === id).length, 0, 'the winner is told nothing')
      assert.equal(loser.notes.get(id).content, content)
    }
  }
}

/** Needs the server for itself: what it measures is time. */
export const alone = {
  async 'while 1,000 notes are replayed, a ping is answered within a second (11.3)' ({ connect, api, log }) {
    await api().putAll(Array.from({ length: replayed }, () => makeNote({ content: 'x'.repeat(10_000) })))
    const slowest = []
    for (let i = 0; i < 5; i++) {
      const late = await connect()
      const began = performance.now()
      await late.pong()
      slowest.push(performance.now() - began)
      await until('the whole replay', () => late.of('note_updated').length === replayed)
      late.terminate()
    }
    log(`a pong during a replay of ${replayed} notes of 10 kB took at most ${Math.max(...slowest).toFixed(0)} ms`)
    assert.ok(Math.max(...slowest) < pongMs, `${slowest}`)
  }
}
