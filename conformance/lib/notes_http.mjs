// The HTTP calls of the notes dialect, by token or by cookie. Called by the statements in notes/.

import assert from 'node:assert/strict'
import { ask } from './any_editor_http.mjs'
import { isBarrier } from './notes.mjs'

const atOnce = 25 // calls, each with a connection of its own

export class NotesApi {
  /** @param {{token?: string, cookie?: string, origin?: string}} who */
  constructor (server, { token, cookie, origin } = {}) {
    this.server = server
    this.headers = {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(cookie === undefined ? {} : { cookie }),
      ...(origin === undefined ? {} : { origin })
    }
  }

  /** @param {{json?: any, body?: string}} content */
  call (method, path, { json, body = json === undefined ? undefined : JSON.stringify(json) } = {}) {
    const headers = body === undefined ? this.headers : { ...this.headers, 'content-type': 'application/json' }
    return ask(this.server, method, path, { headers, body })
  }

  /** As `call`, for what must succeed. @returns {Promise<any>} the answer's JSON */
  async do (...what) {
    const answer = await this.call(...what)
    assert.equal(answer.status, 200, `${what[0]} ${what[1]}: ${answer.text.slice(0, 300)}`)
    assert.match(answer.type, /^application\/json/)
    return answer.json
  }

  /** More than one connection may write. @param {object[]} notes */
  async putAll (notes) {
    for (let i = 0; i < notes.length; i += atOnce) await Promise.all(notes.slice(i, i + atOnce).map(note => this.do('PUT', pathOf(note.id), { json: note })))
  }

  get (id) {
    return this.call('GET', pathOf(id))
  }
  put (note, id = note.id) {
    return this.call('PUT', pathOf(id), { json: note })
  }
  post (note) {
    return this.call('POST', '/api/notes', { json: note })
  }
  remove (id) {
    return this.call('DELETE', pathOf(id))
  }
  restore (id) {
    return this.call('POST', `${pathOf(id)}/restore`)
  }
  list (query = {}) {
    return this.do('GET', `/api/notes?${new URLSearchParams(query)}`)
  }

  /** Everything since then, without what barriers have left. @returns {Promise<{notes: object[], deleted: object[], serverTime: string}>} */
  async changes (since = '0') {
    const { deleted, ...rest } = await this.do('GET', `/api/sync/notes/${encodeURIComponent(since)}`)
    return { ...rest, deleted: deleted.filter(({ noteId }) => !isBarrier(noteId)) }
  }
}

const pathOf = id => `/api/notes/${encodeURIComponent(id)}`

/** The answer is this error and nothing else. @returns {object} the answer's JSON */
export function isError (answer, status, code) {
  assert.equal(answer.status, status, answer.text.slice(0, 300))
  assert.match(answer.type, /^application\/json/)
  assert.equal(answer.json.error.code, code)
  assert.ok(typeof answer.json.error.message === 'string' && answer.json.error.message.length > 0, answer.text)
  return answer.json
}
