// The unmodified npm Hocuspocus providers in both versions under test, each with a socket of its own or several on a shared one. Called by the scenarios.
// Keeps what they report (refusals, closings, application messages); what that means, the scenario decides.

import WebSocket from 'ws'
import * as Y from 'yjs'
import * as hocuspocus3 from 'hocuspocus-3'
import * as hocuspocus4 from 'hocuspocus-4'
import { roots } from './description.mjs'
import { Message, types } from './hocuspocus_client.mjs'
import { until } from './until.mjs'

const packages = { '3.4.4': hocuspocus3, '4.8.0': hocuspocus4 }

export const versionNames = Object.keys(packages)

/** The same with each version of the provider, at the same time. */
export const each = act => Promise.all(versionNames.map(act))

/** Of what a server may say, 3.x raises an exception on these (9, 10), or has never got them (4, 6). */
const neverFor3 = [types.syncReply, types.broadcastStateless, types.ping, types.pong]

/**
 * A socket as in a browser: an exception in a listener does not end the page, nor does an error that nobody listens to any more (providers stop listening, and
 * close, while they still connect).
 */
const browserSocket = raised => class extends WebSocket {
  constructor (...args) {
    super(...args)
    this.on('error', () => {})
    this.wrapped = new Map()
  }

  addEventListener (type, listener) {
    const wrapped = event => { try { listener(event) } catch (error) { raised.push(`an exception of the provider: ${error.message}`) } }
    this.wrapped.set(listener, wrapped)
    super.addEventListener(type, wrapped)
  }

  removeEventListener (type, listener) { super.removeEventListener(type, this.wrapped.get(listener)) }
}

// Without these a provider waits a second and more before it comes back.
const soon = { delay: 100, minDelay: 100, maxDelay: 400 }

/** A socket for several providers of one version. */
export class SharedSocket {
  constructor (version, url, options = {}) {
    this.version = version
    /** Messages that must never come, and what they did. */
    this.forbidden = []
    this.websocket = new packages[version].HocuspocusProviderWebsocket({ url, WebSocketPolyfill: browserSocket(this.forbidden), ...soon, ...options })
    watch(this, this.websocket)
  }

  get isOpen () { return this.websocket.webSocket?.readyState === WebSocket.OPEN }
  terminate () { this.websocket.destroy() }
}

/** One editor: a document, and the provider that keeps it the same as the server's. */
export class HocuspocusEditor {
  /**
   * @param {string} version one of versionNames
   * @param {{socket?: SharedSocket, token?: string | (() => string | Promise<string>), awareness?: boolean, session?: boolean, clientId?: number, gc?: boolean, doc?: Y.Doc}} options
   *   `socket` is one to share; `session` puts a session id into the address (4.x only)
   */
  constructor (version, url, name, { socket, token = null, awareness = true, session = false, clientId, gc = true, doc = new Y.Doc({ gc }), ...providerOptions } = {}) {
    this.version = version
    this.name = name
    this.doc = doc
    if (clientId !== undefined) this.doc.clientID = clientId
    for (const [root, type] of Object.entries(roots)) this.doc.get(root, type)
    /** Scopes that were granted, and reasons of refusals, in the order in which they came. */
    this.granted = []
    this.refusals = []
    /** {code, reason}: code 1000 for a Close message, else the socket's own. */
    this.closings = []
    /** Payloads of application messages from others. */
    this.stateless = []
    /** Messages that must never come, and what they did; those of a shared socket are kept there. */
    this.forbidden = []
    const options = { name, document: this.doc, token, ...(awareness ? {} : { awareness: null }), ...(session ? { sessionAwareness: true } : {}), ...providerOptions }
    const transport = socket === undefined ? { url, WebSocketPolyfill: browserSocket(this.forbidden), ...soon } : { websocketProvider: socket.websocket }
    this.provider = new packages[version].HocuspocusProvider({ ...transport, ...options })
    this.provider.on('authenticated', ({ scope }) => this.granted.push(scope ?? this.provider.authorizedScope))
    this.provider.on('authenticationFailed', ({ reason }) => this.refusals.push(reason))
    this.provider.on('close', ({ event }) => this.closings.push({ code: event?.code, reason: event?.reason?.toString() }))
    this.provider.on('stateless', ({ payload }) => this.stateless.push(payload))
    if (socket === undefined) watch(this, this.websocket)
    else this.provider.attach()
  }

  get websocket () { return this.provider.configuration.websocketProvider }
  get status () { return this.websocket.status }
  get isAuthenticated () { return this.provider.isAuthenticated }
  get scope () { return this.provider.authorizedScope }
  /** Changes of which the provider does not know yet that they are saved. */
  get unsynced () { return this.provider.unsyncedChanges }
  /** The address of its messages. */
  get address () { return this.provider.effectiveName ?? this.name }

  /** A shared root, by its name in lib/description.mjs. */
  get (root) { return this.doc.share.get(root) }
  get text () { return this.get('t').toString() }
  type (text) { this.get('t').insert(this.get('t').length, text) }

  /** Everything that a caller can know about it, for the text of a failure. */
  get told () {
    return `provider ${this.version} of "${this.name}": ${this.status}, authenticated ${this.isAuthenticated}, synced ${this.provider.synced}, ${this.unsynced} unsynced, ` +
      `granted ${JSON.stringify(this.granted)}, refused ${JSON.stringify(this.refusals)}, closed ${JSON.stringify(this.closings)}, text ${JSON.stringify(this.text.slice(0, 80))}`
  }

  /** Authenticated and synced. */
  async synced (ms) {
    await until(() => `authenticated and synced; ${this.told}`, () => this.isAuthenticated && this.provider.synced, { ms })
    return this
  }

  /** Synced, and all that it has is saved. */
  async saved (ms) {
    await until(() => `authenticated, synced and everything saved; ${this.told}`, () => this.isAuthenticated && this.provider.synced && this.unsynced === 0, { ms })
    return this
  }

  async reads (text, ms) { await until(() => `the text ${JSON.stringify(text)}; ${this.told}`, () => this.text === text, { ms }) }

  /** Its own presence. */
  show (field, value) { this.provider.awareness.setLocalStateField(field, value) }
  /** The presence of a client by its id, or undefined. */
  sees (clientId) { return this.provider.awareness.getStates().get(clientId) }

  /** Asks the server again, with another token; `startSync` because what is sent before a refusal is thrown away by the server. */
  async authenticate (token, { sync = true } = {}) {
    this.provider.configuration.token = token
    await this.provider.sendToken()
    if (sync) this.provider.startSync()
  }

  /** Connected again after `provider.disconnect()`. While the old socket is still closing, providers forget a `connect()`. */
  async back () {
    await until(() => `the return; ${this.told}`, () => {
      if (!this.websocket.shouldConnect) this.provider.connect()
      return this.websocket.shouldConnect && this.status === 'connected' && this.isAuthenticated
    })
  }

  state () { return Y.encodeStateAsUpdate(this.doc) }
  stateVector () { return Y.encodeStateVector(this.doc) }

  destroy () {
    this.provider.destroy()
    this.doc.destroy()
  }

  terminate () { this.destroy() }
}

/** Counts a socket's connections, and keeps the messages that must never come. */
function watch (owner, websocket) {
  owner.connects = 0
  websocket.on('open', () => owner.connects++)
  websocket.on('message', ({ data }) => {
    const message = new Message(new Uint8Array(data))
    const isWrong = message.unreadable || message.type === undefined || (owner.version.startsWith('3.') && neverFor3.includes(message.type))
    if (isWrong && !(owner.version.startsWith('4.') && message.hex === '09')) owner.forbidden.push(message.hex.slice(0, 200))
  })
}
