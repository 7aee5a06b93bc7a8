// The unmodified Y-Sweet client and SDK, what an application puts around them, and the raw calls of the same API. Called by the scenarios.

import { YSweetProvider } from '@y-sweet/client'
import { DocumentManager } from '@y-sweet/sdk'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { secret } from './access.mjs'
import { ask, askUpgrade } from './any_editor_http.mjs'
import { RawClient, bytesOf } from './raw_client.mjs'
import { until } from './until.mjs'

export const serverToken = 'conformance-server-token-of-more-than-32-bytes'
export const signingKey = 'Q29uZm9ybWFuY2VTaWduaW5nS2V5T2ZNb3JlVGhhbjMyQnl0ZXM0'
/** The environment of a server that makes and checks tokens. */
export const signedMode = { CONCORD_AUTH_SECRET: secret, CONCORD_Y_SWEET_SERVER_TOKEN: serverToken, CONCORD_Y_SWEET_SIGNING_KEY: signingKey }

export const syncStatusType = 102

/** The SDK in an application's backend. @param {string} [token] the server token; none in open mode */
export const managerOf = (server, token) => new DocumentManager(`ys://${token === undefined ? '' : `${encodeURIComponent(token)}@`}127.0.0.1:${server.port}`)

/** One call of the HTTP API. @param {{token?: string, json?: any, headers?: object, body?: Uint8Array | string, waits?: boolean}} options */
export function call (server, method, path, { token, json, headers = {}, body, waits } = {}) {
  const auth = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return json === undefined
    ? ask(server, method, path, { headers: { ...auth, ...headers }, body, waits })
    : ask(server, method, path, { headers: { ...auth, 'content-type': 'application/json', ...headers }, body: JSON.stringify(json) })
}

export const socketPath = (id, token) => `/d/${id}/ws/${id}${token === undefined ? '' : `?token=${encodeURIComponent(token)}`}`
export const askSocket = (server, id, token, headers) => askUpgrade(server, socketPath(id, token), headers)

/** A client of the document that speaks frame by frame. */
export const openRaw = (server, id, token, options) => RawClient.open(server.url + socketPath(id, token), options)

/** The bytes of a sync status whose body is given in hex. */
export function syncStatus (hex) {
  const body = bytesOf(hex)
  return Uint8Array.of(syncStatusType, body.length, ...body)
}

/**
 * A client's way to the server, which can be cut: the client has no way to stay away, as 0.9.1 comes back by itself after `disconnect()` and even after
 * `destroy()`.
 */
export class Line {
  constructor () {
    this.isCut = false
    this.isOver = false
    this.current = null
    const line = this
    this.Socket = class extends WebSocket {
      constructor (url) {
        if (line.isOver) return { close() {}, readyState: WebSocket.CLOSED }
        super(line.isCut ? 'ws://127.0.0.1:9' : url, { perMessageDeflate: false })
        this.isDoomed = line.isCut
        line.current = this
      }
    }
  }
}

// The client warns each time that its close and its error handler both want to connect again, and when a reader edits.
const noise = /^(connect\(\) called while a connect loop is already running|Client with read-only authorization|Failed to get client token)/
const quietOnes = new WeakSet()

/** Keeps these warnings to itself, until somebody else takes `console.warn`. */
export function quiet () {
  const warn = console.warn
  if (quietOnes.has(warn)) return
  console.warn = (text, ...more) => {
    if (!noise.test(text)) warn(text, ...more)
  }
  quietOnes.add(console.warn)
}

/** One editor: a document, and the provider that keeps it equal. */
export class YSweetEditor {
  /**
   * @param {() => Promise<object>} authEndpoint makes a client token, as an application's backend does
   * @param {{doc?: Y.Doc}} options
   */
  constructor (id, authEndpoint, { doc = new Y.Doc() } = {}) {
    this.id = id
    this.doc = doc
    this.line = new Line()
    this.statuses = []
    this.localChanges = [] // {is, atMs}
    this.ends = []
    this.provider = new YSweetProvider(authEndpoint, id, doc, { WebSocketPolyfill: this.line.Socket, showDebuggerLink: false })
    this.provider.on('connection-status', status => this.statuses.push(status))
    this.provider.on('local-changes', is => this.localChanges.push({ is, atMs: performance.now() }))
    this.provider.on('connection-close', event =>
      this.ends.push({ code: event.code, reason: event.reason, expected: event.target.isDoomed || this.line.isOver })
    )
  }

  get text () {
    return this.doc.getText('t').toString()
  }
  type (text) {
    this.doc.getText('t').insert(this.doc.getText('t').length, text)
  }
  get isConnected () {
    return this.provider.status === 'connected'
  }
  /** How often it reached the document. */
  get connects () {
    return this.statuses.filter(status => status === 'connected').length
  }

  async connected (ms) {
    await until(
      () => `the Y-Sweet client to be connected; it was ${this.statuses.join(', ')}`,
      () => this.isConnected,
      { ms }
    )
    return this
  }

  /** All its changes are echoed, as the client itself counts them. */
  async saved (ms = 3_000) {
    await until(
      `local changes of the Y-Sweet client to be acknowledged: version ${this.provider.localVersion}, echoed ${this.provider.ackedVersion}`,
      () => !this.provider.hasLocalChanges,
      { ms }
    )
  }

  /** Cuts the line, by a normal close or without a word. */
  goOffline ({ word = true } = {}) {
    this.line.isCut = true
    if (this.line.current !== null) this.line.current.isDoomed = true
    if (word) this.line.current?.close()
    else this.line.current?.terminate()
  }

  comeBack () {
    this.line.isCut = false
    this.provider.online()
  }

  terminate () {
    this.line.isOver = true
    this.provider.destroy()
    this.provider.clearHeartbeat()
    this.provider.clearConnectionTimeout()
    this.provider.awareness.destroy()
    this.doc.destroy()
  }
}
