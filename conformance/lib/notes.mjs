// One connection of the notes dialect, message by message: what was received, what of it breaks the rules, and a way to know that the server has dealt with all
// that was sent. Called by the statements in notes/. Does nothing by itself; what acts as the app does is lib/notes_app.mjs.

import WebSocket from 'ws'
import { envelope, read } from './notes_messages.mjs'
import { until } from './until.mjs'

/** As the server must write a time. */
export const wireTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

const begin = Date.UTC(2025, 0, 17, 14, 27, 39, 502)
let notes = 0
let barriers = 0

/** The time so many minutes after a fixed one, or before it. */
export const at = minutes => new Date(begin + minutes * 60_000).toISOString()

/** A time so far from now. */
export const fromNow = ms => new Date(Date.now() + ms).toISOString()

/** A note that no other call makes, and with `id` another version of one. */
export const makeNote = (more = {}) => ({ id: `note-${++notes}`, title: 'My Note', content: `text ${notes}`, tags: ['a', 'b'], createdAt: at(-30), updatedAt: at(0), ...more })

/** Marks of barriers are deletions like others; no statement is about them. */
export const isBarrier = id => id.startsWith('~barrier-')

export class NotesClient {
  /**
   * @param {{token?: string, offers?: string | string[], query?: string} & import('ws').ClientOptions} options `offers` replaces what the token makes
   */
  constructor (server, { token, offers = token === undefined ? [] : [`token-${token}`], query = '', ...options } = {}) {
    this.received = [] // {message, text, atMs}
    this.problems = [] // what the app would have dropped, or what a server must not say
    this.closed = null // {code, reason} once closed
    this.refused = null // the HTTP status when the upgrade was refused
    this.pings = 0 // of WebSocket
    this.cookies = [] // the Set-Cookie lines of the answer
    this.onmessage = () => {}
    this.barrierId = `~barrier-${process.pid}-${++barriers}`
    this.hasMark = false
    this.socket = new WebSocket(`${server.url}/sync${query}`, offers, { perMessageDeflate: false, ...options })
    this.socket.on('message', (data, isBinary) => this.take(data.toString(), isBinary))
    this.socket.on('ping', () => this.pings++)
    this.socket.on('upgrade', response => {
      this.cookies = response.headers['set-cookie'] ?? []
    })
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() }
    })
    this.socket.on('unexpected-response', (request, response) => {
      this.refused = response.statusCode
      request.destroy()
    })
    this.socket.on('error', error => {
      this.error = error
    })
  }

  /** A connection whose first message has come. */
  static async open (server, options) {
    const client = new NotesClient(server, options)
    await client.some('a first message', () => true)
    return client
  }

  take (text, isBinary) {
    const { message, dropped } = isBinary ? { dropped: 'a binary frame' } : read(text)
    const problem = dropped ?? wrongIn(message)
    if (problem !== undefined) this.problems.push(`${problem}: ${text.slice(0, 300)}`)
    if (message === undefined) return
    const received = { message, text, atMs: performance.now() }
    this.received.push(received)
    this.onmessage(message, received)
  }

  get isOpen () {
    return this.socket.readyState === WebSocket.OPEN
  }
  get messages () {
    return this.received.map(({ message }) => message)
  }
  /** All but pongs and what barriers cause. */
  get events () {
    return this.messages.filter(({ type, payload }) => type !== 'pong' && !(type === 'note_deleted' && isBarrier(payload.noteId)))
  }
  of (type) {
    return this.events.filter(message => message.type === type)
  }
  /** Codes of the errors, in order. */
  get errors () {
    return this.of('error').map(({ payload }) => payload.code)
  }
  get reasons () {
    return this.of('sync_required').map(({ payload }) => payload.reason)
  }
  /** What a client has that takes every message for the truth: live notes by id. */
  get notes () {
    const notes = new Map()
    for (const { type, payload } of this.events) {
      if (type === 'note_updated') notes.set(payload.note.id, payload.note)
      else if (type === 'note_deleted') notes.delete(payload.noteId)
    }
    return notes
  }
  /** The events from here on: `const later = client.mark(); …; later()`. */
  mark () {
    const from = this.events.length
    return () => this.events.slice(from)
  }

  /** @param {object | string | Uint8Array} message an object becomes JSON, a string is sent as it is, bytes as a binary frame */
  send (message) {
    this.socket.send(typeof message === 'string' || message instanceof Uint8Array ? message : JSON.stringify(message))
  }
  update (note, more = {}) {
    this.send(envelope('note_update', { note, ...more }))
  }
  /** @param {string} [timestamp] of the envelope: when it was deleted */
  remove (noteId, timestamp) {
    this.send(envelope('note_delete', { noteId }, timestamp))
  }
  ping (payload = { timestamp: Date.now() }) {
    this.send(envelope('ping', payload))
  }

  /** Waits for a message, from the `from`-th that was received on. */
  async some (what, is, { from = 0, ms = 20_000 } = {}) {
    const words = ({ text }) => text.slice(0, 160)
    const found = await until(
      () =>
        `${what}; received ${this.received.length} messages, the last ${this.received.slice(from).slice(-5).map(words).join(', ') || 'none'}; ` +
        `closed ${JSON.stringify(this.closed)}, HTTP status ${this.refused}`,
      () => {
        const found = this.received.slice(from).find(({ message }) => is(message))
        if (found === undefined && this.closed !== null) throw new Error('the connection is closed')
        return found
      },
      { ms }
    )
    return found.message
  }

  async updated (id, is = () => true, options) {
    return (await this.some(`note_updated of ${id}`, ({ type, payload }) => type === 'note_updated' && payload.note.id === id && is(payload.note), options)).payload
  }
  async deleted (id, options) {
    return (await this.some(`note_deleted of ${id}`, ({ type, payload }) => type === 'note_deleted' && payload.noteId === id, options)).payload
  }
  async error (code, options) {
    return (await this.some(`the error ${code}`, ({ type, payload }) => type === 'error' && payload.code === code, options)).payload
  }
  async pong (payload = { timestamp: Date.now() }) {
    const from = this.received.length
    this.ping(payload)
    return (await this.some('a pong', ({ type }) => type === 'pong', { from })).payload
  }

  /**
   * Waits until the server has dealt with all that was sent on this connection, and all that it was told before has come: a note that comes too late for a mark
   * of this connection's own is refused, and only this client is told.
   */
  async barrier ({ ms } = {}) {
    const isAnswer = ({ type, payload }) => type === 'note_deleted' && payload.noteId === this.barrierId
    const from = this.received.length
    if (!this.hasMark) this.remove(this.barrierId, at(0))
    this.hasMark = true
    this.update(makeNote({ id: this.barrierId, updatedAt: at(-1) }))
    await this.some('the answer to a note that is older than its mark', isAnswer, { from, ms })
    return this
  }

  async whenClosed (ms = 20_000) {
    return await until(
      () => `the server to close the connection; received ${this.received.length} messages`,
      () => this.closed,
      { ms }
    )
  }

  close () {
    this.socket.close()
  }
  terminate () {
    this.socket.terminate()
  }
}

const payloads = {
  note_updated: ({ note, userId }) => note === Object(note) && Number.isInteger(note.remoteVersion) && note.remoteVersion >= 1 && typeof userId === 'string',
  note_deleted: ({ userId }) => typeof userId === 'string' && userId.length > 0,
  sync_required: ({ reason }) => ['initial_sync', 'too_many_changes', 'server_update', 'missed_messages'].includes(reason),
  pong: ({ timestamp }) => typeof timestamp === 'number',
  error: ({ code, message, messageType, noteId }) =>
    /^[A-Z_]+$/.test(code) && typeof message === 'string' && message.length > 0 && [messageType, noteId].every(member => member === undefined || typeof member === 'string')
}

/** What a server must not say, although the app would take it. */
function wrongIn ({ type, payload, timestamp, ...more }) {
  if (!Object.hasOwn(payloads, type)) return `no message of a server: ${type}`
  if (!wireTime.test(timestamp) || Number.isNaN(Date.parse(timestamp))) return `timestamp ${timestamp}`
  if (!payloads[type](payload)) return `payload of ${type}`
  if (Object.keys(more).length > 0) return `more members than three: ${Object.keys(more)}`
}
