// Statements about the HTTP calls (section 7). Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { makeToken, now } from '../lib/access.mjs'
import { ask } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { at, fromNow, makeNote, wireTime } from '../lib/notes.mjs'
import { parseCookie, originOf } from '../lib/notes_cookies.mjs'
import { NotesApi, isError } from '../lib/notes_http.mjs'
import { page } from './entry.mjs'

const calls = {
  'GET /api/notes': api => api.call('GET', '/api/notes'),
  'GET /api/sync/notes/0': api => api.call('GET', '/api/sync/notes/0'),
  'GET /api/notes/{id}': api => api.get('one'),
  'POST /api/notes': api => api.post(makeNote({ id: 'one', updatedAt: at(1) })),
  'PUT /api/notes/{id}': api => api.put(makeNote({ id: 'one', updatedAt: at(2) })),
  'DELETE /api/notes/{id}': api => api.remove('one'),
  'POST /api/notes/{id}/restore': api => api.restore('one')
}

const badTokens = {
  'no token': () => ({}),
  'a token that ran out': user => ({ token: makeToken({ userId: user, exp: now() - 60 }) }),
  'a token with another secret': user => ({ token: makeToken({ userId: user }, { key: 'x'.repeat(40) }) }),
  'a cookie that nobody was given': () => ({ cookie: 'notes_session=x', origin: page })
}

/** Bodies that POST refuses, and the member that the error names. */
const badBodies = {
  'no JSON': ['{"id":', 'note'],
  'no body': ['', 'note'],
  'a list': ['[]', 'note'],
  'more than 12 MiB': [{ ...makeNote({ content: 'x'.repeat(9 << 20) }), more: 'y'.repeat(4 << 20) }, 'note'],
  'no id': [without('id'), 'id'],
  'an empty id': [{ ...makeNote(), id: '' }, 'id'],
  'no title': [without('title'), 'title'],
  'a title of 256 characters': [{ ...makeNote(), title: 't'.repeat(256) }, 'title'],
  'a number as content': [{ ...makeNote(), content: 7 }, 'content'],
  'a text as tags': [{ ...makeNote(), tags: 'a' }, 'tags'],
  'an updatedAt that is no time': [{ ...makeNote(), updatedAt: 'now' }, 'updatedAt'],
  'an updatedAt 25 h ahead': [{ ...makeNote(), updatedAt: fromNow(25 * 3_600_000) }, 'updatedAt']
}

const badQueries = ['limit=0', 'limit=101', 'limit=x', 'page=0', 'page=-1', 'sortBy=content', 'sortOrder=up', 'includeDeleted=maybe']

function without (member) {
  const { [member]: _, ...rest } = makeNote()
  return rest
}

const ids = ({ data }) => data.map(({ id }) => id)

export const statements = {
  async 'POST and PUT make a note and give it back as stored; the others are told, the same as by a socket (7)' ({ user, join, api }) {
    const [a, b] = [await join(), await join()]
    const [posted, put] = [makeNote({ extra: { kept: [1] } }), makeNote()]
    const answers = [await api().post(posted), await api().put(put)]
    for (const [i, note] of [posted, put].entries()) {
      assert.equal(answers[i].status, 200, answers[i].text)
      assert.deepEqual(answers[i].json, { ...note, remoteVersion: 1, deletedAt: null })
      for (const client of [a, b]) assert.deepEqual(await client.updated(note.id), { note: { ...note, remoteVersion: 1 }, userId: user })
    }
    const { json } = await api().put({ ...put, title: 'replaced', updatedAt: at(1) })
    assert.deepEqual(json, { ...put, title: 'replaced', updatedAt: at(1), remoteVersion: 2, deletedAt: null })
    await a.updated(put.id, ({ title }) => title === 'replaced')
    assert.deepEqual((await api().get(put.id)).json, json)
  },

  async 'missing times are filled in (7)' ({ api }) {
    const { createdAt: _, updatedAt: __, ...note } = makeNote()
    for (const { status, json } of [await api().post(note), await api().put({ ...note, id: 'other' })]) {
      assert.equal(status, 200)
      for (const time of [json.createdAt, json.updatedAt]) {
        assert.match(time, wireTime)
        assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000, time)
      }
    }
  },

  async 'an id may be in the path of PUT alone, and must not be another one in the body (7)' ({ api }) {
    const { id: _, ...note } = makeNote()
    const { status, json } = await api().put(note, 'from the path / é')
    assert.deepEqual([status, json.id], [200, 'from the path / é'])
    assert.equal(isError(await api().put({ ...note, id: 'one' }, 'another'), 400, 'INVALID_NOTE').error.field, 'id')
  },

  async 'a lost conflict: 409 with the stored one, and nobody is told (7)' ({ join, api }) {
    const a = await join()
    const note = makeNote({ content: 'stored' })
    const { json: stored } = await api().post(note)
    await a.updated(note.id)
    const later = a.mark()
    for (const updatedAt of [at(-1), at(0)]) {
      for (const answer of [await api().post({ ...note, content: 'lost', updatedAt }), await api().put({ ...note, content: 'lost', updatedAt })]) {
        const { note: kept } = isError(answer, 409, 'CONFLICT')
        assert.deepEqual(kept, stored)
      }
    }
    assert.equal((await api().post(note)).status, 200, 'the same again is no conflict')
    await a.barrier()
    assert.deepEqual(later(), [])
    assert.equal((await api().get(note.id)).json.remoteVersion, 1)
  },

  async 'what is older than a deletion: 409; what is newer brings the note back (7)' ({ join, api }) {
    const a = await join()
    const note = makeNote()
    await api().post(note)
    a.remove(note.id, at(5))
    await a.barrier()
    isError(await api().put({ ...note, updatedAt: at(4) }), 409, 'CONFLICT')
    assert.equal((await api().put({ ...note, updatedAt: at(6) })).status, 200)
    await a.updated(note.id, ({ updatedAt }) => updatedAt === at(6))
  },

  async 'GET of a note that is not there, and of one of another user: 404 (7)' ({ user, api }) {
    isError(await api().get('never'), 404, 'NOT_FOUND')
    await api(`${user}-other`).post(makeNote({ id: 'theirs' }))
    isError(await api().get('theirs'), 404, 'NOT_FOUND')
    isError(await api().remove('theirs'), 404, 'NOT_FOUND')
    isError(await api().restore('theirs'), 404, 'NOT_FOUND')
  },

  async 'DELETE: the answer, the others, a second time 404; GET then says when it was deleted (7)' ({ user, join, api }) {
    const a = await join()
    const note = makeNote()
    await api().post(note)
    const { status, json } = await api().remove(note.id)
    assert.equal(status, 200)
    const { deletedAt, ...rest } = json
    assert.deepEqual(rest, { success: true, message: 'Note deleted successfully' })
    assert.match(deletedAt, wireTime)
    assert.ok(Math.abs(Date.parse(deletedAt) - Date.now()) < 60_000)
    assert.deepEqual(await a.deleted(note.id), { noteId: note.id, userId: user })
    isError(await api().remove(note.id), 404, 'NOT_FOUND')
    isError(await api().remove('never'), 404, 'NOT_FOUND')
    const got = await api().get(note.id)
    assert.deepEqual([got.status, got.json.deletedAt, got.json.content], [200, deletedAt, note.content])
    const { notes, deleted } = await api().changes()
    assert.deepEqual([notes, deleted], [[], [{ noteId: note.id, deletedAt }]])
  },

  async 'restore brings the last content back with the time of now, and all are told; 404 when there is nothing (7)' ({ user, join, api }) {
    const a = await join()
    const note = makeNote({ extra: 1 })
    await api().post(note)
    a.remove(note.id)
    await a.barrier()
    const { status, json } = await api().restore(note.id)
    assert.equal(status, 200)
    const { note: back, ...rest } = json
    assert.deepEqual(rest, { success: true, message: 'Note restored successfully' })
    const { updatedAt, remoteVersion, ...kept } = back
    const { updatedAt: _, ...before } = note
    assert.deepEqual(kept, { ...before, deletedAt: null })
    assert.ok(Math.abs(Date.parse(updatedAt) - Date.now()) < 60_000 && wireTime.test(updatedAt), updatedAt)
    assert.ok(remoteVersion > 1)
    const told = await a.updated(note.id, ({ updatedAt: time }) => time === updatedAt)
    assert.equal(told.userId, user)
    assert.deepEqual((await api().get(note.id)).json, back)
    isError(await api().restore('never'), 404, 'NOT_FOUND')
    const late = await join()
    assert.deepEqual([[...late.notes.keys()], late.of('note_deleted')], [[note.id], []])
  },

  async 'a list in pages: total, page, limit, totalPages, hasMore; sorted by updatedAt from the newest (7)' ({ api }) {
    for (let i = 0; i < 25; i++) await api().post(makeNote({ id: `p-${i}`, title: `title ${String((i * 7) % 25).padStart(2, '0')}`, updatedAt: at(i), createdAt: at(-i) }))
    const first = await api().list()
    const { data, ...rest } = first
    assert.deepEqual(rest, { total: 25, page: 1, limit: 20, totalPages: 2, hasMore: true })
    assert.deepEqual(ids(first), Array.from({ length: 20 }, (_, i) => `p-${24 - i}`))
    assert.deepEqual(data[0], { ...(await api().get('p-24')).json })
    const { data: last, ...more } = await api().list({ page: 2 })
    assert.deepEqual([last.length, more], [5, { total: 25, page: 2, limit: 20, totalPages: 2, hasMore: false }])
    const { data: none, ...beyond } = await api().list({ page: 9, limit: 100 })
    assert.deepEqual([none, beyond.total, beyond.totalPages, beyond.hasMore], [[], 25, 1, false])
    assert.deepEqual(ids(await api().list({ limit: 3, page: 2, sortOrder: 'asc' })), ['p-3', 'p-4', 'p-5'])
    assert.deepEqual(ids(await api().list({ limit: 1, sortBy: 'createdAt' })), ['p-0'])
    assert.deepEqual((await api().list({ limit: 100, sortBy: 'title', sortOrder: 'asc' })).data.map(({ title }) => title), Array.from({ length: 25 }, (_, i) => `title ${String(i).padStart(2, '0')}`))
  },

  async 'deleted notes are in a list only when asked for, with their time (7)' ({ api }) {
    for (const id of ['live', 'gone']) await api().post(makeNote({ id }))
    const { deletedAt } = (await api().remove('gone')).json
    assert.deepEqual(ids(await api().list()), ['live'])
    const all = await api().list({ includeDeleted: 'true' })
    assert.deepEqual([all.total, all.data.map(({ id, deletedAt }) => [id, deletedAt]).sort()], [2, [['gone', deletedAt], ['live', null]]])
    assert.equal((await api().list({ includeDeleted: 'false' })).total, 1)
  },

  async 'an empty list has no page (7)' ({ api }) {
    const { data, total, hasMore, page, limit } = await api().list()
    assert.deepEqual({ data, total, hasMore, page, limit }, { data: [], total: 0, hasMore: false, page: 1, limit: 20 })
  },

  ...Object.fromEntries(
    badQueries.map(query => [
      `GET /api/notes?${query}: 400 (7)`,
      async ({ api }) => {
        const answer = await api().call('GET', `/api/notes?${query}`)
        assert.equal(answer.status, 400, answer.text)
        assert.equal(answer.json.error.field, query.split('=')[0])
      }
    ])
  ),

  async 'GET /api/sync/notes/{since}: what the server accepted after that time; a since that is no time is 400 (7)' ({ api }) {
    await api().post(makeNote({ id: 'before', updatedAt: at(1_000) }))
    const { serverTime } = await api().changes()
    assert.match(serverTime, wireTime)
    let after
    do { // the clock of the server must have gone on, or both would be at that time
      after = (await api().changes()).serverTime
    } while (Date.parse(after) <= Date.parse(serverTime) + 1)
    await api().post(makeNote({ id: 'after', updatedAt: at(-1_000) }))
    const { notes, deleted } = await api().changes(serverTime)
    assert.deepEqual([notes.map(({ id }) => id), deleted], [['after'], []])
    assert.equal((await api().call('GET', '/api/sync/notes/yesterday')).status, 400)
  },

  ...forEach(
    badBodies,
    what => `POST with ${what}: 400 INVALID_NOTE, and nothing is stored (7)`,
    async ({ api }, [body, field]) => {
      const answer = await api().call('POST', '/api/notes', { body: typeof body === 'string' ? body : JSON.stringify(body) })
      const { error } = isError(answer, 400, 'INVALID_NOTE')
      assert.equal(error.field, field)
      assert.equal((await api().list()).total, 0)
    }
  ),

  ...Object.fromEntries(
    Object.entries(calls).flatMap(([call, act]) =>
      Object.entries(badTokens).map(([what, who]) => [
        `${call} with ${what}: 401 (7)`,
        async ({ server, user }) => {
          const answer = await act(new NotesApi(server, who(user)))
          isError(answer, 401, 'INVALID_TOKEN')
        }
      ])
    )
  ),

  ...forEach(
    calls,
    call => `${call} with the cookie from a page of this host or a listed one; from another: 403 (7)`,
    async ({ server, connect, api }, act) => {
      const { cookies } = await connect()
      const { name, value } = parseCookie(cookies[0])
      const cookie = `${name}=${value}`
      for (const origin of [originOf(server), page]) {
        await api().post(makeNote({ id: 'one' }))
        const { status, text } = await act(new NotesApi(server, { cookie, origin }))
        assert.ok([200, 404].includes(status) || text.includes('CONFLICT'), `${origin}: ${status} ${text.slice(0, 200)}`)
      }
      assert.equal((await act(new NotesApi(server, { cookie, origin: 'https://evil.example' }))).status, 403)
    }
  ),

  async 'a write by cookie without an Origin: 403; a page of the same host sends one (README 3)' ({ server, connect, api }) {
    const { cookies } = await connect()
    const byCookie = new NotesApi(server, { cookie: cookies[0].split(';')[0] })
    const note = makeNote({ id: 'one' })
    await api().post(note)
    for (const answer of [await byCookie.post(makeNote()), await byCookie.put({ ...note, updatedAt: at(1) }), await byCookie.remove('one'), await byCookie.restore('one')]) assert.equal(answer.status, 403)
    const { notes, deleted } = await api().changes()
    assert.deepEqual([notes.map(({ id, remoteVersion }) => [id, remoteVersion]), deleted], [[['one', 1]], []])
  },

  async 'a page of a listed origin may read the answers, with its cookie; another may not (README 3)' ({ server, token }) {
    const preflight = (origin, method) => ask(server, 'OPTIONS', '/api/notes/one', { headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization,content-type' } })
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      const { status, headers } = await preflight(page, method)
      assert.ok(status === 200 || status === 204, `OPTIONS: ${status}`)
      assert.equal(headers['access-control-allow-origin'], page)
      assert.equal(headers['access-control-allow-credentials'], 'true')
      assert.ok(headers['access-control-allow-methods'].includes(method), headers['access-control-allow-methods'])
      assert.match(headers['access-control-allow-headers'], /authorization/i)
    }
    const { status, headers } = await new NotesApi(server, { token, origin: page }).call('GET', '/api/notes')
    assert.deepEqual([status, headers['access-control-allow-origin']], [200, page])
  },

  async 'other methods and paths: 404 or 405, and nothing changes (7)' ({ server, token, api }) {
    await api().post(makeNote({ id: 'one' }))
    for (const [method, path] of [['PATCH', '/api/notes/one'], ['DELETE', '/api/notes'], ['PUT', '/api/notes'], ['GET', '/api/notes/one/two'], ['POST', '/api/notes/one/delete'], ['GET', '/api/sync'], ['POST', '/api/sync/notes/0']]) {
      const { status } = await ask(server, method, path, { headers: { authorization: `Bearer ${token}` } })
      assert.ok(status === 404 || status === 405, `${method} ${path}: ${status}`)
    }
    assert.equal((await api().list()).total, 1)
  }
}
