// A client of the json-yjs dialect as a page writes it: a plain WebSocket, JSON, and a Yjs document. `JsonYjsClient` does nothing by itself,
// `JsonYjsEditor` is an editor. Called by the scenarios.

import WebSocket from 'ws'
import * as Y from 'yjs'
import { makeToken } from './access.mjs'
import { until } from './until.mjs'

export const resyncNeeded = '(resync needed)'

/** A token with what this dialect demands. */
export const firmToken = (user, firm = 'firm-1', claims = {}, options) =>
  makeToken({ userId: user, firmId: firm, role: 'attorney', email: `${user}@firm.example`, ...claims }, options)

export const draftUrl = (server, draft, token) => `${server.url}/ws?token=${encodeURIComponent(token)}&draftId=${encodeURIComponent(draft)}`

export class JsonYjsClient {
  /** @param {import('ws').ClientOptions} options */
  constructor (url, options = {}) {
    this.messages = [] // as parsed, with `raw` and `isBinary`
    this.closed = null // {code, reason} once closed
    this.refused = null // the HTTP status when the upgrade was refused
    this.pings = 0
    this.onmessage = () => {}
    this.socket = new WebSocket(url, { perMessageDeflate: false, ...options })
    this.socket.on('message', (data, isBinary) => {
      const raw = data.toString()
      const message = Object.defineProperties(parse(raw), { raw: { value: raw }, isBinary: { value: isBinary } })
      this.messages.push(message)
      this.onmessage(message)
    })
    this.socket.on('ping', () => this.pings++)
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

  /** A client that is in: its first message has come. */
  static async open (server, draft, token = firmToken('ann'), options) {
    const client = new JsonYjsClient(draftUrl(server, draft, token), options)
    await until(
      () => `a first message; closed ${JSON.stringify(client.closed)}, HTTP status ${client.refused}`,
      () => client.messages.length > 0
    )
    if (client.messages[0].type !== 'yjs-state-response')
      throw new Error(`the first message is ${client.messages[0].raw}; closed ${JSON.stringify(client.closed)}`)
    return client
  }

  get isOpen () {
    return this.socket.readyState === WebSocket.OPEN
  }
  get errors () {
    return this.messages.filter(message => message.type === 'error').map(message => message.error)
  }
  get updates () {
    return this.messages.filter(message => message.type === 'yjs-update').map(message => Uint8Array.from(message.data))
  }
  /** The document of all that was received. */
  get doc () {
    return docOf(this.messages)
  }
  get text () {
    return this.doc.getText('t').toString()
  }

  /** @param {object | string | Uint8Array} message an object becomes JSON, a string is sent as it is, bytes as a binary frame */
  send (message) {
    this.socket.send(typeof message === 'string' || message instanceof Uint8Array ? message : JSON.stringify(message))
  }
  sendUpdate (update) {
    this.send({ type: 'yjs-update', data: [...update] })
  }

  async message (what, is, { from = 0, ms = 10_000 } = {}) {
    return await until(
      () =>
        `${what}; received ${
          this.messages
            .slice(from)
            .map(message => message.raw.slice(0, 100))
            .join(', ') || 'nothing'
        }; closed ${JSON.stringify(this.closed)}`,
      () => this.messages.slice(from).find(is),
      { ms }
    )
  }

  update (options) {
    return this.message('an update', message => message.type === 'yjs-update', options)
  }

  /** Waits until the server has dealt with all that was sent on this connection. */
  async barrier () {
    const from = this.messages.length
    this.send({ type: 'ping' })
    await this.message('the pong', message => message.type === 'pong', { from })
  }

  async whenClosed (ms = 10_000) {
    return await until('the server to close the connection', () => this.closed, { ms })
  }

  close () {
    this.socket.close()
  }
  terminate () {
    this.socket.terminate()
  }
}

function parse (raw) {
  try {
    return Object(JSON.parse(raw))
  } catch {
    return { type: 'unreadable' }
  }
}

export function docOf (messages) {
  const doc = new Y.Doc()
  for (const { type, data } of messages) if (type === 'yjs-update' || type === 'yjs-state-response') Y.applyUpdate(doc, Uint8Array.from(data))
  return doc
}

/**
 * One editor: on each connection it reads the state, and then sends what the server lacks. Before that it sends nothing, because an edit may depend on those
 * that were made offline.
 */
export class JsonYjsEditor {
  /** @param {() => string} makeToken a fresh token for each connection */
  constructor (server, draft, makeToken, { doc = new Y.Doc() } = {}) {
    this.url = () => draftUrl(server, draft, makeToken())
    this.doc = doc
    this.client = null
    this.isSynced = false
    this.ends = []
    this.errors = []
    doc.on('update', (update, origin) => {
      if (origin !== this && this.isSynced && this.client?.isOpen) this.client.sendUpdate(update)
    })
    this.connect()
  }

  connect () {
    const client = new JsonYjsClient(this.url())
    this.client = client
    client.onmessage = ({ type, data, error }) => {
      client.messages.length = 0
      if (client !== this.client) return
      if (type === 'error') this.refused(error)
      if (type !== 'yjs-state-response' && type !== 'yjs-update') return
      const update = Uint8Array.from(data)
      Y.applyUpdate(this.doc, update, this)
      if (type === 'yjs-update') return
      const missing = missingIn(this.doc, update)
      if (missing !== null) client.sendUpdate(missing)
      this.isSynced = true
    }
    client.socket.on('close', (code, reason) => {
      if (client !== this.client) return
      this.ends.push({ code, reason: reason.toString(), expected: this.isLeaving })
      this.isSynced = false
      this.client = null
    })
    this.isLeaving = false
  }

  refused (error) {
    this.errors.push(error)
    if (error.endsWith(resyncNeeded)) this.client.sendUpdate(Y.encodeStateAsUpdate(this.doc))
  }

  async leave ({ word = true } = {}) {
    const { client } = this
    if (client === null) return
    this.isLeaving = true
    if (word) client.close()
    else client.terminate()
    await until('the end of the connection', () => client.closed)
  }

  terminate () {
    this.isLeaving = true
    this.client?.terminate()
    this.doc.destroy()
  }
}

/** What the document has and the state has not, or null. */
export function missingIn (doc, state) {
  const other = new Y.Doc({ gc: false })
  Y.applyUpdate(other, state)
  let missing = null
  other.once('update', () => {
    missing = Y.encodeStateAsUpdate(doc, Y.encodeStateVectorFromUpdate(state))
  })
  Y.applyUpdate(other, Y.encodeStateAsUpdate(doc))
  other.destroy()
  return missing
}
