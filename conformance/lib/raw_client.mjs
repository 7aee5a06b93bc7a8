// A client that speaks the y-websocket protocol frame by frame, for statements about single frames. Called by the scenarios.
// It does nothing by itself: what a frame means, and whether it is answered, the scenario decides.

import WebSocket from 'ws'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { until } from './until.mjs'

export const bytesOf = hex => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
export const hexOf = bytes => Buffer.from(bytes).toString('hex')

export class RawClient {
  /** @param {import('ws').ClientOptions & {protocols?: string[]}} options */
  constructor (url, { protocols = [], ...options } = {}) {
    this.frames = []
    this.closed = null // {code, reason} once closed
    this.refused = null // the HTTP status when the upgrade was refused
    this.refusal = null // and its headers
    this.onframe = () => {}
    this.socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options })
    this.socket.on('message', (data, isBinary) => {
      const frame = new Frame(data, isBinary)
      this.frames.push(frame)
      this.onframe(frame)
    })
    this.socket.on('close', (code, reason) => { this.closed = { code, reason: reason.toString() } })
    this.socket.on('unexpected-response', (request, response) => {
      this.refused = response.statusCode
      this.refusal = response.headers
      request.destroy()
    })
    this.socket.on('error', error => { this.error = error })
  }

  static async open (url, options) {
    const client = new RawClient(url, options)
    await until(() => `a connection to ${url}${client.error ? ` (${client.error.message})` : ''}`, () => {
      if (client.closed || client.refused) throw new Error(`closed ${JSON.stringify(client.closed)}, HTTP status ${client.refused}`)
      return client.isOpen
    })
    return client
  }

  get isOpen () { return this.socket.readyState === WebSocket.OPEN }

  /** @param {Uint8Array | string} message bytes, or hex */
  send (message) { this.socket.send(typeof message === 'string' ? bytesOf(message) : message) }
  sendStep1 (stateVector = Uint8Array.of(0)) { this.send(syncMessage(0, stateVector)) }
  sendStep2 (update) { this.send(syncMessage(1, update)) }
  sendUpdate (update) { this.send(syncMessage(2, update)) }

  /** The first frame from `from` on for which `is` holds, when it has come. */
  async frame (what, is, { from = 0, ms = 10_000 } = {}) {
    return await until(() => `${what}; received ${this.frames.slice(from).map(frame => frame.hex.slice(0, 80)).join(', ') || 'nothing'}; closed ${JSON.stringify(this.closed)}`,
      () => this.frames.slice(from).find(is), { ms })
  }

  /** Waits until the server has dealt with all that was sent on this connection. @returns {Promise<Uint8Array>} the step 2 */
  async barrier (stateVector) {
    const from = this.frames.length
    this.sendStep1(stateVector)
    return (await this.frame('a step 2', frame => frame.isStep2, { from })).payload
  }

  async whenClosed (ms = 10_000) { return await until('the server to close the connection', () => this.closed, { ms }) }

  close () { this.socket.close() }
  terminate () { this.socket.terminate() }
}

/** A received frame, decoded as far as it can be. */
export class Frame {
  constructor (data, isBinary) {
    this.bytes = new Uint8Array(data)
    this.isBinary = isBinary
    try {
      const decoder = decoding.createDecoder(this.bytes)
      this.type = decoding.readVarUint(decoder)
      if (this.type === 0) this.syncType = decoding.readVarUint(decoder)
      if (this.type === 2) {
        decoding.readVarUint(decoder)
        this.reason = decoding.readVarString(decoder)
      } else {
        this.payload = decoding.readVarUint8Array(decoder)
      }
      this.trailing = this.bytes.length - decoder.pos
    } catch {
      this.unreadable = true
    }
  }

  get hex () { return hexOf(this.bytes) }
  get isStep1 () { return this.type === 0 && this.syncType === 0 }
  get isStep2 () { return this.type === 0 && this.syncType === 1 }
  get isUpdate () { return this.type === 0 && this.syncType === 2 }
  get isAwareness () { return this.type === 1 }
  get isDenied () { return this.type === 2 }

  /** The entries of an awareness frame: [{id, clock, state}]. */
  get awareness () {
    const decoder = decoding.createDecoder(this.payload)
    return Array.from({ length: decoding.readVarUint(decoder) }, () => ({
      id: decoding.readVarUint(decoder), clock: decoding.readVarUint(decoder), state: JSON.parse(decoding.readVarString(decoder))
    }))
  }
}

export function syncMessage (syncType, payload) {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, 0)
  encoding.writeVarUint(encoder, syncType)
  encoding.writeVarUint8Array(encoder, payload)
  return encoding.toUint8Array(encoder)
}

/** @param {{id: number, clock: number, json: string}[]} entries the JSON may be invalid on purpose */
export function awarenessMessage (entries) {
  const update = encoding.createEncoder()
  encoding.writeVarUint(update, entries.length)
  for (const { id, clock, json } of entries) {
    encoding.writeVarUint(update, id)
    encoding.writeVarUint(update, clock)
    encoding.writeVarString(update, json)
  }
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, 1)
  encoding.writeVarUint8Array(encoder, encoding.toUint8Array(update))
  return encoding.toUint8Array(encoder)
}
