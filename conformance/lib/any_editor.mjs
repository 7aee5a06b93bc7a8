// One editor of any of the five document dialects: the same few verbs, whatever is on the wire. Called by the scenarios cross and mixed.
// Presence is a name and a place, so that it can be compared: `Ann@7` is in the state of a Yjs client as {user: {name}, place}, and in that of a session as
// {user: {name}, state: {place}}.

import { HocuspocusProvider as Hocuspocus3, HocuspocusProviderWebsocket as Socket3 } from 'hocuspocus-3'
import { HocuspocusProvider as Hocuspocus4, HocuspocusProviderWebsocket as Socket4 } from 'hocuspocus-4'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { makeToken, secret } from './access.mjs'
import { JsonYjsEditor, firmToken } from './json_yjs.mjs'
import { Editor } from './provider.mjs'
import { SessionsEditor } from './sessions.mjs'
import { until } from './until.mjs'
import { YSweetEditor, managerOf, serverToken, signedMode } from './y_sweet.mjs'

/** The environment of a server on which all five dialects are open to who has a token. */
export const allDialects = { ...signedMode, CONCORD_AUTH_SECRET: secret }

/** kind -> its dialect. */
export const kinds = {
  'y-websocket 3.1.0': 'y-websocket',
  'y-websocket 2.1.0': 'y-websocket',
  'hocuspocus 4.8.0': 'hocuspocus',
  'hocuspocus 3.4.4': 'hocuspocus',
  'y-sweet 0.9.1': 'y-sweet',
  'json-yjs': 'json-yjs',
  sessions: 'sessions'
}

/**
 * A document that exists, and belongs to nobody: a json-yjs client that comes first would register it for its firm, of which Y-Sweet clients are none.
 */
export const makeDocument = (server, id) => managerOf(server, serverToken).createDoc(id)

/** @param {string} kind one of `kinds` @param {string} name who it is, also towards the server */
export function openEditor (kind, server, id, name) {
  const dialect = kinds[kind]
  return new { 'y-websocket': YWebsocket, hocuspocus: Hocuspocus, 'y-sweet': YSweet, 'json-yjs': JsonYjs, sessions: Sessions }[dialect]({
    kind,
    dialect,
    server,
    id,
    name
  })
}

class AnyEditor {
  constructor ({ kind, dialect, name, doc }) {
    this.kind = kind
    this.dialect = dialect
    this.name = name
    this.doc = doc
    this.isOnline = true
    this.place = null
  }

  get words () {
    return `${this.name} (${this.kind})`
  }
  get content () {
    return this.doc.getText('t')
  }
  get text () {
    return this.content.toString()
  }
  get id () {
    return this.doc.clientID
  }
  insert (at, text) {
    this.content.insert(at, text)
  }
  delete (at, length) {
    this.content.delete(at, length)
  }
  type (text) {
    this.insert(this.content.length, text)
  }
  get hasPresence () {
    return true
  }

  async synced (ms) {
    await until(
      () => `${this.words} to be synced; its connections ended ${JSON.stringify(this.ends)}`,
      () => this.isSynced,
      { ms }
    )
    return this
  }

  /** Says who it is, and where. */
  present (place) {
    this.place = place
    this.tell({ user: { name: this.name }, place })
  }

  /** Who is there, itself included: [client id, 'name@place'], by id. */
  get presence () {
    return [...this.seen()].map(([id, { name, place }]) => [id, `${name}@${place}`]).sort(([a], [b]) => a - b)
  }
  /** The state of one client as this one is told it: {name, place}, or undefined. */
  sees (id) {
    return new Map(this.seen()).get(id)
  }

  /** Connections that the server ended although nobody had asked for it. */
  get surprises () {
    return this.ends.filter(({ expected }) => !expected).map(({ code, reason }) => `${this.words} was closed with ${code} ${reason}`)
  }

  async goOffline () {
    this.isOnline = false
    await this.leave()
  }

  comeBack () {
    this.isOnline = true
    this.join()
  }

  terminate () {
    this.end()
  }
}

/** Presence as Yjs clients have it. */
class YjsEditor extends AnyEditor {
  tell (state) {
    this.awareness.setLocalState(state)
  }
  seen () {
    return [...this.awareness.getStates()]
      .filter(([, state]) => state?.user?.name !== undefined)
      .map(([id, state]) => [id, { name: state.user.name, place: state.place }])
  }
}

class YWebsocket extends YjsEditor {
  constructor (options) {
    const editor = new Editor(options.kind.split(' ')[1], options.server.url, options.id, {
      params: { token: makeToken({ userId: options.name }) },
      maxBackoffTime: 300
    })
    super({ ...options, doc: editor.doc })
    this.editor = editor
    this.provider = editor.provider
    this.ends = []
    this.provider.on('connection-close', event => {
      if (event !== null) this.ends.push({ code: event.code, reason: event.reason, expected: !this.isOnline })
    })
  }

  get awareness () {
    return this.provider.awareness
  }
  get isSynced () {
    return this.provider.synced
  }
  async leave () {
    this.provider.disconnect()
  }
  join () {
    this.provider.connect()
  }
  end () {
    this.isOnline = false
    this.editor.destroy()
  }
}

class Hocuspocus extends YjsEditor {
  constructor (options) {
    super({ ...options, doc: new Y.Doc() })
    const [Provider, Socket] = options.kind.endsWith('3.4.4') ? [Hocuspocus3, Socket3] : [Hocuspocus4, Socket4]
    this.ends = []
    this.denials = []
    this.socket = new Socket({ url: `${options.server.url}/`, WebSocketPolyfill: WebSocket, delay: 100, maxDelay: 500, minDelay: 50 })
    this.socket.on('close', ({ event }) => this.ends.push({ code: event.code, reason: event.reason, expected: !this.isOnline }))
    this.provider = new Provider({
      websocketProvider: this.socket,
      name: options.id,
      document: this.doc,
      token: makeToken({ userId: options.name }),
      onAuthenticationFailed: ({ reason }) => this.denials.push(reason)
    })
    this.provider.attach()
  }

  get awareness () {
    return this.provider.awareness
  }
  get isSynced () {
    return this.provider.isSynced && !this.provider.hasUnsyncedChanges
  }
  // While the old connection is not closed yet, `connect` would do nothing.
  async leave () {
    this.socket.disconnect()
    await until('the end of the connection', () => this.socket.status === 'disconnected')
  }

  join () {
    this.socket.connect()
  }
  end () {
    this.isOnline = false
    this.provider.destroy()
    this.socket.destroy()
    this.doc.destroy()
  }
}

class YSweet extends YjsEditor {
  constructor (options) {
    const manager = managerOf(options.server, serverToken)
    const editor = new YSweetEditor(options.id, () => manager.getClientToken(options.id, { userId: options.name }))
    super({ ...options, doc: editor.doc })
    this.editor = editor
    this.provider = editor.provider
  }

  get ends () {
    return this.editor.ends
  }
  get awareness () {
    return this.provider.awareness
  }
  get isSynced () {
    return this.editor.isConnected && !this.provider.hasLocalChanges
  }
  async leave () {
    this.editor.goOffline()
  }
  join () {
    this.editor.comeBack()
  }
  end () {
    this.editor.terminate()
  }
}

class JsonYjs extends AnyEditor {
  constructor (options) {
    super({ ...options, doc: new Y.Doc() })
    this.editor = new JsonYjsEditor(options.server, options.id, () => firmToken(options.name), { doc: this.doc })
  }

  get hasPresence () {
    return false
  }
  seen () {
    return []
  }
  tell () {}
  get ends () {
    return this.editor.ends
  }
  get errors () {
    return this.editor.errors
  }
  get isSynced () {
    return this.editor.isSynced
  }
  async leave () {
    await this.editor.leave()
  }
  join () {
    this.editor.connect()
  }
  end () {
    this.editor.terminate()
  }
}

class Sessions extends AnyEditor {
  constructor (options) {
    super({ ...options, doc: new Y.Doc() })
    this.editor = new SessionsEditor(options.server, options.id, () => ({ token: makeToken({ userId: options.name, name: options.name }) }), { doc: this.doc })
  }

  tell ({ user, place }) {
    this.editor.present({ user, cursor: { line: 0, column: place }, state: { place } })
  }
  seen () {
    const own = this.place === null ? [] : [[this.id, { name: this.name, place: this.place }]]
    return [
      ...own,
      ...[...this.editor.presence]
        .filter(([, state]) => state.user?.name !== undefined)
        .map(([id, state]) => [id, { name: state.user.name, place: state.state?.place }])
    ]
  }

  get ends () {
    return this.editor.ends
  }
  get errors () {
    return this.editor.errors
  }
  get isSynced () {
    return this.editor.isSynced
  }
  async leave () {
    await this.editor.leave()
  }
  join () {
    this.editor.connect()
  }
  end () {
    this.editor.terminate()
  }
}
