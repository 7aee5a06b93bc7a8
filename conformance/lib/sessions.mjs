// A client of the sessions dialect as a page writes it: a plain WebSocket, raw Yjs updates, and JSON. `SessionsClient` does nothing by itself,
// `SessionsEditor` is an editor. Called by the scenarios.

import WebSocket from 'ws'
import * as Y from 'yjs'
import { until } from './until.mjs'

/** @param {Record<string, string | number | undefined>} parameters `user_id`, `user_name`, `client_id`, `token` */
export function sessionUrl (server, id, parameters = {}) {
  const query = Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
    .join('&')
  return `${server.url}/ws/document/${encodeURIComponent(id)}${query === '' ? '' : `?${query}`}`
}

export class SessionsClient {
  /** @param {import('ws').ClientOptions} options */
  constructor (url, options = {}) {
    this.frames = [] // {bytes} of a binary frame, {text, message} of a text frame
    this.closed = null // {code, reason} once closed
    this.refused = null // the HTTP status when the upgrade was refused
    this.pings = 0
    this.onframe = () => {}
    this.socket = new WebSocket(url, { perMessageDeflate: false, ...options })
    this.socket.on('message', (data, isBinary) => {
      const frame = isBinary ? { bytes: new Uint8Array(data) } : { text: data.toString(), message: parse(data.toString()) }
      frame.atMs = performance.now()
      this.frames.push(frame)
      this.onframe(frame)
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

  /** A session that has begun: its initial state has come. */
  static async open (server, id, parameters, options) {
    const client = new SessionsClient(sessionUrl(server, id, parameters), options)
    await until(
      () => `an initial state; closed ${JSON.stringify(client.closed)}, HTTP status ${client.refused}`,
      () => client.frames.length > 0
    )
    if (client.initial?.type !== 'initial_state')
      throw new Error(`the first frame is ${client.frames[0].text ?? Buffer.from(client.frames[0].bytes).toString('hex')}`)
    return client
  }

  get isOpen () {
    return this.socket.readyState === WebSocket.OPEN
  }
  get initial () {
    return this.frames[0]?.message
  }
  get session () {
    return this.initial.session
  }
  get messages () {
    return this.frames.filter(frame => frame.message !== undefined).map(frame => frame.message)
  }
  get updates () {
    return this.frames.filter(frame => frame.bytes !== undefined).map(frame => frame.bytes)
  }
  get errors () {
    return this.of('error').map(message => message.error.code)
  }
  of (type) {
    return this.messages.filter(message => message.type === type)
  }
  /** The document of all that was received as binary frames. */
  get doc () {
    const doc = new Y.Doc()
    for (const update of this.updates) Y.applyUpdate(doc, update)
    return doc
  }

  get text () {
    return this.doc.getText('t').toString()
  }

  /** @param {object | string | Uint8Array} message an object becomes JSON, a string is sent as it is, bytes as a binary frame */
  send (message) {
    this.socket.send(typeof message === 'string' || message instanceof Uint8Array ? message : JSON.stringify(message))
  }

  async frame (what, is, { from = 0, ms = 10_000 } = {}) {
    const words = frame => (frame.text ?? Buffer.from(frame.bytes).toString('hex')).slice(0, 120)
    return await until(
      () => `${what}; received ${this.frames.slice(from).map(words).join(', ') || 'nothing'}; closed ${JSON.stringify(this.closed)}`,
      () => this.frames.slice(from).find(is),
      { ms }
    )
  }

  async message (what, is, options) {
    return (await this.frame(what, frame => frame.message !== undefined && is(frame.message), options)).message
  }
  async binary (options) {
    return (await this.frame('a binary frame', frame => frame.bytes !== undefined, options)).bytes
  }
  async error (code, options) {
    return (await this.message(`the error ${code}`, message => message.type === 'error' && message.error?.code === code, options)).error
  }

  /** Waits until the server has dealt with all that was sent on this connection. */
  async barrier () {
    const from = this.frames.length
    this.send({ type: 0, payload: 'AA==' })
    const { payload } = await this.message('the answer to a state vector', message => message.type === 1, { from })
    return new Uint8Array(Buffer.from(payload, 'base64'))
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

function parse (text) {
  try {
    return Object(JSON.parse(text))
  } catch {
    return { type: 'unreadable' }
  }
}

/** One editor: on each connection it says what it has, and reads what it lacks; it keeps who is there. */
export class SessionsEditor {
  /** @param {() => object} parameters fresh ones for each connection */
  constructor (server, id, parameters, { doc = new Y.Doc() } = {}) {
    this.url = () => sessionUrl(server, id, { client_id: doc.clientID, ...parameters() })
    this.doc = doc
    this.client = null
    this.hasBegun = false // what it has was said on this connection
    this.isSynced = false
    this.presence = new Map() // client id -> {user, cursor, state}, without its own
    this.own = null
    this.ends = []
    this.errors = []
    doc.on('update', (update, origin) => {
      if (origin !== this && this.hasBegun && this.client?.isOpen) this.client.send(update)
    })
    this.connect()
  }

  connect () {
    const client = new SessionsClient(this.url())
    this.client = client
    client.onframe = ({ bytes, message }) => {
      client.frames.length = 0
      if (client !== this.client) return
      if (bytes !== undefined) return Y.applyUpdate(this.doc, bytes, this)
      switch (message.type) {
        case 'initial_state':
          this.presence.clear()
          this.note(message.awareness)
          this.resync()
          if (this.own !== null) client.send(this.own)
          break
        case 1:
          Y.applyUpdate(this.doc, Buffer.from(message.payload, 'base64'), this)
          this.isSynced = true
          break
        case 'awareness':
          this.note(message.awareness)
          break
        case 'error':
          this.errors.push(message.error)
          if (message.error.resync) this.resync()
      }
    }
    client.socket.on('close', (code, reason) => {
      if (client !== this.client) return
      this.ends.push({ code, reason: reason.toString(), expected: this.isLeaving })
      this.hasBegun = false
      this.isSynced = false
      this.client = null
      this.presence.clear()
    })
    this.isLeaving = false
  }

  resync () {
    this.hasBegun = true
    this.client.send({ type: 0, payload: Buffer.from(Y.encodeStateVector(this.doc)).toString('base64') })
    const state = Y.encodeStateAsUpdate(this.doc)
    if (state.length > 2) this.client.send(state)
  }

  note (awareness) {
    for (const [id, state] of Object.entries(awareness)) {
      if (state === null) this.presence.delete(Number(id))
      else if (Number(id) !== this.doc.clientID) this.presence.set(Number(id), state)
    }
  }

  /** @param {object} state `user`, `cursor`, `state` */
  present (state) {
    this.own = { type: 'awareness', ...state }
    if (this.client?.isOpen) this.client.send(this.own)
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
