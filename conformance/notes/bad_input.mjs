// Statements about bad input: each gets the error of its code, goes no further, and leaves the connection usable (11.12). Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { at, fromNow, makeNote } from '../lib/notes.mjs'
import { envelope } from '../lib/notes_messages.mjs'

const time = at(0)
const serverTypes = ['note_updated', 'note_deleted', 'sync_required', 'pong', 'error']
const noObjects = { null: null, 'a text': 'x', 'a number': 7, 'a list': [], 'true': true }

const withPayload = (type, kinds = noObjects) => Object.fromEntries(Object.entries(kinds).map(([what, payload]) => [`${type} with ${what} as payload`, [{ type, payload, timestamp: time }, 'INVALID_MESSAGE']]))

/** @type {Record<string, [string | Uint8Array | object, string, object?]>} what is sent, the code, and more of the error's payload */
const envelopes = {
  'text that is no JSON': ['{"type":', 'INVALID_JSON'],
  'an empty text': ['', 'INVALID_JSON'],
  'JSON with something behind it': [`${JSON.stringify(envelope('ping', {}))}x`, 'INVALID_JSON'],
  'JSON with a comma too many': ['{"type":"ping","payload":{},"timestamp":"x",}', 'INVALID_JSON'],
  'a binary frame with a good message': [Buffer.from(JSON.stringify(envelope('note_update', { note: makeNote() }))), 'INVALID_JSON'],
  'an empty binary frame': [new Uint8Array(0), 'INVALID_JSON'],
  'a list': ['[]', 'INVALID_MESSAGE'],
  'a text as JSON': ['"ping"', 'INVALID_MESSAGE'],
  'a number': ['7', 'INVALID_MESSAGE'],
  null: ['null', 'INVALID_MESSAGE'],
  'an empty object': [{}, 'INVALID_MESSAGE'],
  'no type': [{ payload: {}, timestamp: time }, 'INVALID_MESSAGE'],
  'an empty type': [{ type: '', payload: {}, timestamp: time }, 'INVALID_MESSAGE'],
  'a number as type': [{ type: 1, payload: {}, timestamp: time }, 'INVALID_MESSAGE'],
  'null as type': [{ type: null, payload: {}, timestamp: time }, 'INVALID_MESSAGE'],
  'no payload': [{ type: 'note_update', timestamp: time }, 'INVALID_MESSAGE'],
  'no timestamp': [{ type: 'note_delete', payload: { noteId: 'x' } }, 'INVALID_MESSAGE'],
  'a number as timestamp': [{ type: 'note_delete', payload: { noteId: 'x' }, timestamp: Date.now() }, 'INVALID_MESSAGE'],
  'null as timestamp': [{ type: 'note_update', payload: { note: makeNote() }, timestamp: null }, 'INVALID_MESSAGE'],
  ...withPayload('note_update'),
  ...withPayload('note_delete'),
  'an unknown type': [envelope('note_move', {}), 'UNKNOWN_TYPE'],
  'a type in capitals': [envelope('PING', {}), 'UNKNOWN_TYPE'],
  'a name of JavaScript as type': [envelope('constructor', {}), 'UNKNOWN_TYPE'],
  ...Object.fromEntries(serverTypes.map(type => [`${type}, which only servers say`, [envelope(type, { note: makeNote(), noteId: 'x', reason: 'x' }), 'UNKNOWN_TYPE', { messageType: type }]])),
  'nesting without end': [`{"type":"ping","timestamp":"${time}","payload":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, null]
}

const update = (note, more = {}) => [envelope('note_update', { note }), 'INVALID_NOTE', { messageType: 'note_update', ...more }]
const remove = payload => [envelope('note_delete', payload), 'INVALID_NOTE', { messageType: 'note_delete' }]
const without = member => {
  const { [member]: _, ...rest } = makeNote({ id: 'bad' })
  return rest
}
/** A note whose one member breaks the rules; the error names the member, and the note where it can. */
const bad = (member, value) => update({ ...makeNote({ id: 'bad' }), [member]: value }, { names: member, ...(member === 'id' ? {} : { noteId: 'bad' }) })
const lacking = member => update(without(member), { names: member, ...(member === 'id' ? {} : { noteId: 'bad' }) })

const notes = {
  'no note': [envelope('note_update', {}), 'INVALID_NOTE', { names: 'note' }],
  ...Object.fromEntries(Object.entries(noObjects).map(([what, note]) => [`${what} as note`, [envelope('note_update', { note }), 'INVALID_NOTE', { names: 'note' }]])),
  ...Object.fromEntries(['id', 'title', 'content', 'tags', 'createdAt', 'updatedAt'].map(member => [`a note without ${member}`, lacking(member)])),
  ...Object.fromEntries(['id', 'title', 'content', 'tags', 'createdAt', 'updatedAt'].flatMap(member => [[`null as ${member}`, bad(member, null)], [`an object as ${member}`, bad(member, {})], [`a number as ${member}`, bad(member, 7)]])),
  'an empty id': bad('id', ''),
  'an id of 129 characters': bad('id', 'x'.repeat(129)),
  'an id with a line break': bad('id', 'a\nb'),
  'an id with a NUL': bad('id', 'a\0b'),
  'an id with DEL': bad('id', 'a\x7fb'),
  'an id with a control character of the second set': bad('id', 'a\x85b'),
  'a title of 256 characters': bad('title', 't'.repeat(256)),
  'content of 10 MiB and a byte': bad('content', 'x'.repeat((10 << 20) + 1)),
  'content of 10 MiB and a byte, in letters of two bytes': bad('content', `${'é'.repeat(5 << 20)}x`),
  'a text as tags': bad('tags', 'a,b'),
  '101 tags': bad('tags', Array.from({ length: 101 }, String)),
  'a tag of 101 characters': bad('tags', ['x'.repeat(101)]),
  'a number among the tags': bad('tags', ['a', 7]),
  'null among the tags': bad('tags', [null]),
  'a word as updatedAt': bad('updatedAt', 'yesterday'),
  'an empty updatedAt': bad('updatedAt', ''),
  'a day alone as updatedAt': bad('updatedAt', '2025-01-17'),
  'the 30th of February as updatedAt': bad('updatedAt', '2025-02-30T00:00:00.000Z'),
  'a 13th month as createdAt': bad('createdAt', '2025-13-01T00:00:00.000Z'),
  'an hour 25 as createdAt': bad('createdAt', '2025-01-01T25:00:00.000Z'),
  'a time in the style of mails as createdAt': bad('createdAt', 'Fri, 17 Jan 2025 14:27:39 GMT'),
  'an updatedAt 25 h ahead': bad('updatedAt', fromNow(25 * 3_600_000)),
  'a note of more than 12 MiB': update({ ...makeNote({ id: 'bad' }), content: 'x'.repeat(9 << 20), more: 'y'.repeat(4 << 20) }), // too large to be looked into for its id
  'a deletion without noteId': remove({}),
  'a deletion of null': remove({ noteId: null }),
  'a deletion of a number': remove({ noteId: 7 }),
  'a deletion of an object': remove({ noteId: { id: 'x' } }),
  'a deletion of the empty id': remove({ noteId: '' }),
  'a deletion of an id of 129 characters': remove({ noteId: 'x'.repeat(129) }),
  'a deletion of an id with a control character': remove({ noteId: 'a\u0001' })
}

async function isRefused ({ join, api }, [sent, code, { names, ...more } = {}]) {
  const [a, b] = [await join(), await join()]
  const kept = makeNote()
  a.update(kept)
  await b.updated(kept.id)
  const [byA, byB] = [a.mark(), b.mark()]
  const from = a.received.length
  a.send(sent)
  if (code !== null) {
    const error = await a.error(code, { from })
    for (const [member, value] of Object.entries(more)) assert.equal(error[member], value, `${member} of ${JSON.stringify(error).slice(0, 300)}`)
    if (names !== undefined) assert.ok(error.message.includes(names), `"${error.message}" names ${names}`)
    assert.ok(error.message.length <= 1_000, `the message has ${error.message.length} characters`)
  }
  // The connection is as good as before.
  await a.pong()
  const next = makeNote()
  a.update(next)
  await b.updated(next.id)
  await a.barrier()
  await b.barrier()
  assert.deepEqual(byB().map(({ type, payload }) => [type, payload.note?.id]), [['note_updated', next.id]], 'what the other is told')
  const told = byA().map(({ payload }) => payload.code)
  if (code === null) assert.ok(told.length <= 1, `${told}`)
  else assert.deepEqual(told, [code], 'what the sender is told')
  const { notes, deleted } = await api().changes()
  assert.deepEqual([notes.map(({ id }) => id).sort(), deleted], [[kept.id, next.id].sort(), []])
}

export const statements = {
  ...forEach(envelopes, what => `${what}: ${envelopes[what][1] ?? 'harmless'} (10)`, isRefused),
  ...forEach(notes, what => `${what}: INVALID_NOTE (10)`, isRefused),

  async 'a timestamp that is no time is accepted (10)' ({ join }) {
    const [a, b] = [await join(), await join()]
    for (const timestamp of ['x', 'yesterday', '2025-99-99T00:00:00Z']) {
      const note = makeNote()
      a.send({ type: 'note_update', payload: { note }, timestamp })
      await b.updated(note.id)
    }
    a.send({ type: 'ping', payload: { timestamp: 5 }, timestamp: 'x' })
    await a.some('a pong', ({ type, payload }) => type === 'pong' && payload.timestamp === 5)
    assert.deepEqual(a.errors, [])
  },

  async 'members of the envelope that nobody knows are passed over (2)' ({ join }) {
    const [a, b] = [await join(), await join()]
    const note = makeNote()
    a.send({ id: 7, ...envelope('note_update', { note, more: [] }), version: 2 })
    await b.updated(note.id)
    assert.deepEqual(a.errors, [])
  },

  async 'all lines of bad input one after the other, and the connections still work (11.12)' ({ join }) {
    const b = await join()
    const lines = Object.values({ ...envelopes, ...notes }).filter(([sent, code]) => code !== null && JSON.stringify(sent).length < 100_000)
    const half = Math.ceil(lines.length / 2) // all of them are more than one connection may send at once
    for (const part of [lines.slice(0, half), lines.slice(half)]) {
      const a = await join()
      for (const [sent, code] of part) {
        const from = a.received.length
        a.send(sent)
        await a.error(code, { from })
      }
      const note = makeNote()
      a.update(note)
      await b.updated(note.id)
      assert.deepEqual([a.errors.length, a.closed], [part.length, null])
    }
  }
}
