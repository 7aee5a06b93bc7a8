// The unmodified npm providers in all versions under test, each with the Yjs it belongs to. Called by the scenarios.

import * as Y13 from 'yjs'
import * as Y14 from '@y/y'
import WebSocket from 'ws'
import { WebsocketProvider as Provider2 } from 'y-websocket-2'
import { WebsocketProvider as Provider3 } from 'y-websocket-3'
import { WebsocketProvider as Provider31 } from 'y-websocket-3.1'
import { WebsocketProvider as Provider4 } from '@y/websocket'
import { roots } from './description.mjs'
import { until } from './until.mjs'

const versions = {
  '2.1.0': { Y: Y13, Provider: Provider2 },
  '3.0.0': { Y: Y13, Provider: Provider3 },
  '3.1.0': { Y: Y13, Provider: Provider31 },
  '4.0.0-3': { Y: Y14, Provider: Provider4 }
}

export const versionNames = Object.keys(versions)

/** One editor: a document, and the provider that keeps it in a room. */
export class Editor {
  /**
   * @param {string} version one of versionNames
   * @param {{gc?: boolean, clientId?: number, awareness?: boolean}} options
   */
  constructor (version, url, room, { gc = true, clientId, awareness = true, ...providerOptions } = {}) {
    const { Y, Provider } = versions[version]
    this.version = version
    this.Y = Y
    this.modern = Y === Y14
    this.doc = new Y.Doc({ gc })
    if (clientId !== undefined) this.doc.clientID = clientId
    for (const [name, type] of Object.entries(roots)) this.modern ? this.doc.get(name) : this.doc.get(name, type)
    this.connects = 0
    // Without disableBc the editors of one process would meet through a BroadcastChannel, past the server.
    this.provider = new Provider(url, room, this.doc, { WebSocketPolyfill: WebSocket, disableBc: true, ...providerOptions })
    this.provider.on('status', ({ status }) => { if (status === 'connected') this.connects++ })
    if (!awareness) this.provider.awareness.setLocalState(null)
  }

  /** A shared root, by its name in lib/description.mjs. */
  get (name) { return this.doc.share.get(name) }

  async synced (ms) {
    await until(`provider ${this.version} to be synced`, () => this.provider.synced, { ms })
    return this
  }

  state () { return this.Y.encodeStateAsUpdate(this.doc) }
  stateVector () { return this.Y.encodeStateVector(this.doc) }

  /** Bytes handed to the socket and not yet taken by the network. */
  get unsent () { return this.provider.ws?.bufferedAmount ?? 0 }

  destroy () {
    this.provider.destroy()
    this.provider.awareness.destroy()
    this.doc.destroy()
  }
}
