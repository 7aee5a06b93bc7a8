// Statements about what administrators do to a notebook: a resync, a lock, a revocation, its end. Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { makeToken } from '../lib/access.mjs'
import { askUpgrade } from '../lib/any_editor_http.mjs'
import { makeNote } from '../lib/notes.mjs'
import { NotesApi, isError } from '../lib/notes_http.mjs'
import { page } from './entry.mjs'

const isResync = ({ type, payload }) => type === 'sync_required' && payload.reason === 'server_update'

export const statements = {
  async 'a resync tells each connection of that user, once, and ends nothing (6)' ({ user, join, admin }) {
    const [a, b] = [await join(), await join()]
    const other = await join({ token: makeToken({ userId: `${user}-other` }) })
    assert.deepEqual(await admin.do('POST', `/api/admin/notebooks/${user}/resync`), { connections: 2 })
    for (const client of [a, b]) await client.some('server_update', isResync)
    for (const client of [a, b, other]) await client.barrier()
    for (const client of [a, b]) assert.deepEqual(client.reasons, ['initial_sync', 'server_update'])
    assert.deepEqual(other.reasons, ['initial_sync'])
  },

  async 'in a locked notebook everything is read, and every write is refused with a reason, until it is unlocked' ({ user, join, api, admin }) {
    const [a, b] = [await join(), await join()]
    const note = makeNote()
    a.update(note)
    await b.updated(note.id)
    await admin.do('POST', `/api/admin/notebooks/${user}/lock`)
    const next = { ...note, content: 'locked', updatedAt: new Date().toISOString() }
    a.update(next)
    a.remove(note.id)
    await a.some('the second refusal', ({ type, payload }) => type === 'error' && payload.messageType === 'note_delete')
    assert.deepEqual(a.of('error').map(({ payload }) => [payload.code, payload.messageType, payload.noteId]), [['FORBIDDEN', 'note_update', note.id], ['FORBIDDEN', 'note_delete', note.id]])
    for (const answer of [await api().put(next), await api().post(next), await api().remove(note.id), await api().restore(note.id)]) isError(answer, 403, 'FORBIDDEN')
    assert.equal((await api().get(note.id)).json.content, note.content)
    assert.equal((await a.pong({ timestamp: 1 })).timestamp, 1)
    await admin.do('POST', `/api/admin/notebooks/${user}/unlock`)
    a.update(next)
    await b.updated(note.id, ({ content }) => content === 'locked')
    assert.equal(b.of('note_updated').length, 2)
  },

  async 'whose rights are revoked is out, and comes back neither with the token nor with the cookie nor over REST' ({ server, user, token, join, admin }) {
    const a = await join()
    const cookie = a.cookies[0].split(';')[0]
    assert.deepEqual(await admin.do('POST', '/api/admin/revoke', { user }), { connections: 1 })
    await a.whenClosed()
    const attempts = [
      await askUpgrade(server, '/sync', { 'sec-websocket-protocol': `token-${token}` }),
      await askUpgrade(server, '/sync', { cookie, origin: page }),
      await new NotesApi(server, { token }).call('GET', '/api/notes'),
      await new NotesApi(server, { cookie, origin: page }).call('GET', '/api/notes')
    ]
    for (const { status, json } of attempts) {
      assert.ok(status === 401 || status === 403, `status ${status}`)
      assert.match(json.error.code, /^(INVALID_TOKEN|FORBIDDEN)$/)
    }
  },

  async 'a notebook that is deleted ends its connections and is closed, and is empty once it is reopened' ({ server, user, token, join, api, admin }) {
    const a = await join()
    await api().post(makeNote())
    assert.deepEqual(await admin.do('DELETE', `/api/admin/notebooks/${user}`), { connections: 1, existed: true })
    await a.whenClosed()
    for (const { status } of [await askUpgrade(server, '/sync', { 'sec-websocket-protocol': `token-${token}` }), await api().call('GET', '/api/notes')]) {
      assert.ok(status === 403 || status === 404, `status ${status}`)
    }
    await admin.do('POST', `/api/admin/notebooks/${user}/reopen`)
    assert.deepEqual((await join()).events.map(({ type }) => type), ['sync_required'])
    assert.deepEqual(await api().changes().then(({ notes, deleted }) => [notes, deleted]), [[], []])
  }
}
