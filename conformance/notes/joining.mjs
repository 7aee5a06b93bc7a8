// Statements about those who come later: what is replayed to whom, in which order, and what is too much to replay (section 6). Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { at, makeNote } from '../lib/notes.mjs'
import { until } from '../lib/until.mjs'

const replayedMax = 1_000
const joiners = 20
const restWrites = 600

/** A replay as it came: types and ids in order. */
const order = client => client.events.map(({ type, payload }) => (type === 'sync_required' ? payload.reason : `${type} ${payload.note?.id ?? payload.noteId}`))

/** An instant of the server's clock, with writes before and after it told apart. */
async function serverTime (api) {
  const { serverTime } = await api.changes()
  await until('the next millisecond but one', async () => Date.parse((await api.changes()).serverTime) > Date.parse(serverTime) + 1)
  return serverTime
}

export const statements = {
  async 'to an empty notebook: initial_sync, and nothing else (6)' ({ join }) {
    assert.deepEqual(order(await join()), ['initial_sync'])
  },

  async 'initial_sync, then notes from the oldest to the newest, then deletions (6, 11.6)' ({ user, join }) {
    const a = await join()
    for (const [id, minutes] of Object.entries({ third: 3, first: -5, second: 0, gone: 1, 'gone too': 9 })) a.update(makeNote({ id, updatedAt: at(minutes) }))
    a.update(makeNote({ id: 'zone', updatedAt: '2025-01-17T23:00:00+10:00' })) // at 13:00, before all others
    a.update(makeNote({ id: 'first', updatedAt: at(7), content: 'again' }))
    a.remove('gone', at(20))
    a.remove('gone too', at(10))
    a.remove('never there', at(15))
    await a.barrier()
    const late = await join()
    assert.deepEqual(order(late).slice(0, 5), ['initial_sync', 'note_updated zone', 'note_updated second', 'note_updated third', 'note_updated first'])
    assert.deepEqual(order(late).slice(5).sort(), ['note_deleted gone', 'note_deleted gone too', 'note_deleted never there'])
    for (const { payload } of late.events.slice(1)) assert.equal(payload.userId, user)
    assert.equal(late.notes.get('first').content, 'again')
  },

  async 'a client that connects later has the note without asking, also when nobody else is left (11.6)' ({ join }) {
    const a = await join()
    const note = makeNote()
    a.update(note)
    await a.barrier()
    a.close()
    await a.whenClosed()
    assert.deepEqual([...(await join()).notes.values()], [{ ...note, remoteVersion: 1 }])
  },

  async 'with ?since only what the server accepted after that time, whatever updatedAt says (6)' ({ join, api }) {
    const a = await join()
    a.update(makeNote({ id: 'before', updatedAt: at(1_000) }))
    a.update(makeNote({ id: 'deleted before' }))
    a.remove('deleted before', at(1))
    a.update(makeNote({ id: 'changed' }))
    await a.barrier()
    const since = await serverTime(api())
    a.update(makeNote({ id: 'changed', updatedAt: at(1) }))
    a.update(makeNote({ id: 'new', updatedAt: at(-1_000) }))
    a.update(makeNote({ id: 'deleted' }))
    a.remove('deleted', at(1))
    await a.barrier()
    for (const text of [encodeURIComponent(since), encodeURIComponent(since.replace('Z', '+00:00'))]) {
      const late = await join({ query: `?since=${text}` })
      assert.deepEqual(order(late), ['initial_sync', 'note_updated new', 'note_updated changed', 'note_deleted deleted'])
    }
    const future = encodeURIComponent(new Date(Date.now() + 60_000).toISOString())
    assert.deepEqual(order(await join({ query: `?since=${future}` })), ['initial_sync'])
  },

  async 'a ?since that is no time is passed over: everything is replayed (6)' ({ join }) {
    const a = await join()
    a.update(makeNote({ id: 'one' }))
    await a.barrier()
    for (const query of ['?since=', '?since=yesterday', '?since=0', '?other=1', '?']) assert.deepEqual(order(await join({ query })), ['initial_sync', 'note_updated one'], query)
  },

  async 'exactly 1,000 notes are replayed; one more, and there is one sync_required with too_many_changes instead (11.15)' ({ connect, api }) {
    const notes = Array.from({ length: replayedMax }, (_, i) => makeNote({ id: `n-${i}`, updatedAt: at(i) }))
    await api().putAll(notes)
    const fits = await connect()
    await until(() => `${fits.events.length} of the replay's messages`, () => fits.events.length === replayedMax + 1)
    assert.deepEqual(fits.reasons, ['initial_sync'])
    assert.deepEqual(fits.of('note_updated').map(({ payload }) => payload.note.id), notes.map(({ id }) => id))
    await api().do('POST', '/api/notes', { json: makeNote({ id: 'one more' }) })
    await fits.updated('one more')
    const late = await connect()
    await late.pong()
    const note = makeNote()
    await api().do('POST', '/api/notes', { json: note })
    await late.updated(note.id)
    assert.deepEqual(order(late), ['too_many_changes', `note_updated ${note.id}`], 'and it is told what happens from then on')
    const { notes: all } = await api().changes()
    assert.equal(all.length, replayedMax + 2)
    const since = encodeURIComponent((await api().changes()).serverTime)
    const newer = await connect({ query: `?since=${since}` })
    await newer.pong()
    assert.deepEqual(newer.reasons, ['initial_sync'], 'with ?since only what is newer counts')
  },

  async 'more than 16 MiB are too many as well (6)' ({ join, api }) {
    const content = 'x'.repeat(9 << 20)
    for (const id of ['one', 'two']) {
      await api().do('PUT', `/api/notes/${id}`, { json: makeNote({ id, content }) })
      const late = await join()
      assert.deepEqual(order(late), id === 'one' ? ['initial_sync', 'note_updated one'] : ['too_many_changes'])
      late.terminate()
    }
    assert.equal((await api().changes()).notes.length, 2)
  },

  async 'who joins while others write gets each change once or more, and no note goes backwards (6)' ({ join, connect, api }) {
    const writers = await Promise.all([join(), join(), join()])
    const ids = Array.from({ length: 12 }, (_, i) => `busy-${i}`)
    const late = []
    let version = 0
    const calls = api().putAll(Array.from({ length: restWrites }, (_, i) => makeNote({ id: `rest-${i % 30}`, updatedAt: at(i), content: `${i}` })))
    for (let round = 0; round < joiners; round++) {
      for (let i = 0; i < 4; i++) {
        const [writer, id] = [writers[version % writers.length], ids[(version * 7) % ids.length]]
        version++
        writer.update(makeNote({ id, updatedAt: at(version), content: `${version}` }))
      }
      late.push(connect())
    }
    const clients = await Promise.all(late)
    await calls
    for (const client of [...writers, ...clients]) await client.barrier()
    const { notes } = await api().changes()
    for (const client of clients) {
      const versions = new Map()
      for (const { payload } of client.of('note_updated')) {
        const { id, remoteVersion } = payload.note
        assert.ok(remoteVersion > (versions.get(id) ?? 0), `${id} goes from ${versions.get(id)} to ${remoteVersion}`)
        versions.set(id, remoteVersion)
      }
      assert.deepEqual([...client.notes.values()].map(({ id, content }) => [id, content]).sort(), notes.map(({ id, content }) => [id, content]).sort())
    }
  },

  async 'GET /api/sync/notes/0 has the set of the replay (11.14)' ({ join, api }) {
    const a = await join()
    for (let i = 0; i < 20; i++) a.update(makeNote({ id: `s-${i}`, updatedAt: at(i) }))
    for (let i = 0; i < 20; i += 3) a.remove(`s-${i}`, at(30))
    a.update(makeNote({ id: 's-3', updatedAt: at(40) }))
    await a.barrier()
    await isReplayOf(await join(), api())
  }
}

/** A fresh connection's replay and the full set of REST are the same notes and marks. */
export async function isReplayOf (client, api) {
  const { notes, deleted, serverTime } = await api.changes()
  const byId = (x, y) => (x.id < y.id ? -1 : 1)
  assert.deepEqual(
    client.of('note_updated').map(({ payload }) => ({ ...payload.note, deletedAt: null })).sort(byId),
    notes.sort(byId)
  )
  assert.deepEqual(
    client.of('note_deleted').map(({ payload }) => payload.noteId).sort(),
    deleted.map(({ noteId }) => noteId).sort()
  )
  assert.ok(Math.abs(Date.parse(serverTime) - Date.now()) < 60_000, serverTime)
}
