// A client that speaks the Hocuspocus protocol frame by frame, for statements about single messages. Called by the scenarios. It does nothing by
// itself: it neither authenticates nor answers.

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { RawClient, awarenessMessage, bytesOf, hexOf } from './raw_client.mjs'
import { until } from './until.mjs'

export const types = { sync: 0, awareness: 1, auth: 2, queryAwareness: 3, syncReply: 4, stateless: 5, broadcastStateless: 6, close: 7, syncStatus: 8, ping: 9, pong: 10 }
const names = Object.fromEntries(Object.entries(types).map(([name, type]) => [type, name]))
const syncNames = ['step 1', 'step 2', 'update']
const authNames = ['question', 'refused', 'accepted']

export class RawHocuspocus extends RawClient {
  constructor (url, options) {
    super(url, options)
    this.messages = []
    this.onmessage = () => {}
    this.onframe = frame => {
      const message = new Message(frame.bytes, frame.isBinary)
      this.messages.push(message)
      this.onmessage(message)
    }
  }

  static async open (url, options) {
    const client = new RawHocuspocus(url, options)
    await until(() => `a connection to ${url}${client.error ? ` (${client.error.message})` : ''}`, () => {
      if (client.closed || client.refused) throw new Error(`closed ${JSON.stringify(client.closed)}, HTTP status ${client.refused}`)
      return client.isOpen
    })
    return client
  }

  /** The messages of one address. */
  to (address, from = 0) { return this.messages.slice(from).filter(message => message.address === address) }

  /** The first message from `from` on for which `is` holds, when it has come. */
  async message (what, is, { from = 0, ms = 10_000 } = {}) {
    return await until(() => `${what}; received ${list(this.messages.slice(from))}; closed ${JSON.stringify(this.closed)}`,
      () => this.messages.slice(from).find(is), { ms })
  }

  /** The next message of an address after the first `from` of all messages. */
  async next (address, what, is, { from = this.messages.length, ms } = {}) {
    return await this.message(`${what} for "${shown(address)}"`, message => message.address === address && is(message), { from, ms })
  }

  /** Sends the message, and waits for the answer whose bytes are known. */
  async ask (message, answer, what) {
    const from = this.messages.length
    this.send(message)
    return await this.message(`${what}: ${hexOf(bytes(answer))}`, ({ hex }) => hex === hexOf(bytes(answer)), { from })
  }

  /** Authenticates an address, as 4.x does when there is a version, else as 3.x. @returns {Promise<Message>} the acceptance */
  async enter (address, { token = '', version = '4.8.0' } = {}) {
    const from = this.messages.length
    this.send(auth(address, token, version))
    const answer = await this.next(address, 'an answer to the auth message', message => message.isAccepted || message.isRefused, { from })
    if (answer.isRefused) throw new Error(`"${shown(address)}" was refused: ${answer.text}`)
    return answer
  }

  /** Waits until the server has dealt with all that was sent for this accepted address. @returns {Promise<Uint8Array>} the step 2 */
  async barrier (address, stateVector) {
    const from = this.messages.length
    this.send(step1(address, stateVector))
    return (await this.next(address, 'the step 2 that answers a step 1', message => message.isStep2, { from })).payload
  }
}

/** A received message, decoded as far as it can be. */
export class Message {
  constructor (data, isBinary = true) {
    this.bytes = data
    this.isBinary = isBinary
    try {
      const decoder = decoding.createDecoder(this.bytes)
      if (this.bytes.length === 1) {
        this.type = this.bytes[0]
        this.trailing = 0
        return
      }
      this.address = decoding.readVarString(decoder)
      this.addressBytes = decoder.pos
      this.type = decoding.readVarUint(decoder)
      if (this.type === types.sync || this.type === types.syncReply) {
        this.subtype = decoding.readVarUint(decoder)
        this.payload = decoding.readVarUint8Array(decoder)
      } else if (this.type === types.awareness) {
        this.payload = decoding.readVarUint8Array(decoder)
      } else if (this.type === types.auth) {
        this.subtype = decoding.readVarUint(decoder)
        if (this.subtype > 0) this.text = decoding.readVarString(decoder)
      } else if (this.type === types.stateless || this.type === types.close) {
        this.text = decoding.readVarString(decoder)
      } else if (this.type === types.syncStatus) {
        this.status = decoding.readVarInt(decoder)
      }
      this.trailing = this.bytes.length - decoder.pos
    } catch {
      this.unreadable = true
    }
  }

  get hex () { return hexOf(this.bytes) }
  get isStep1 () { return this.type === types.sync && this.subtype === 0 }
  get isStep2 () { return this.type === types.sync && this.subtype === 1 }
  get isUpdate () { return this.type === types.sync && this.subtype === 2 }
  get isAwareness () { return this.type === types.awareness }
  get isQuestion () { return this.type === types.auth && this.subtype === 0 }
  get isRefused () { return this.type === types.auth && this.subtype === 1 }
  get isAccepted () { return this.type === types.auth && this.subtype === 2 }
  get isStateless () { return this.type === types.stateless }
  get isClose () { return this.type === types.close }
  get isSaved () { return this.type === types.syncStatus && this.status === 1 }
  get isNotSaved () { return this.type === types.syncStatus && this.status === 0 }

  /** The entries of an awareness message: [{id, clock, state}]. */
  get awareness () {
    const decoder = decoding.createDecoder(this.payload)
    return Array.from({ length: decoding.readVarUint(decoder) }, () => ({
      id: decoding.readVarUint(decoder), clock: decoding.readVarUint(decoder), state: JSON.parse(decoding.readVarString(decoder))
    }))
  }

  /** In a few words, then the bytes behind the address. */
  toString () {
    const known = this.type === types.sync ? syncNames[this.subtype] : this.type === types.auth ? authNames[this.subtype] : names[this.type]
    const said = this.text === undefined ? '' : ` "${this.text.slice(0, 60)}"`
    const status = this.status === undefined ? '' : ` ${this.status}`
    const hex = hexOf(this.bytes.subarray(this.addressBytes ?? 0)).slice(0, 80)
    return `${this.unreadable ? 'unreadable' : known ?? `type ${this.type}`}${said}${status} [${hex}]`
  }
}

/** Messages in words, for the text of a failure. */
export const list = messages => messages.length === 0 ? 'nothing' : messages.map(String).join(', ')

/** That messages are these, byte by byte; fails with both in words. @param {Message[]} came @param {(Uint8Array | string)[]} expected bytes, or hex */
export function areExactly (came, expected, what) {
  const wanted = expected.map(one => new Message(bytes(one)))
  if (came.length === wanted.length && came.every(({ hex }, i) => hex === wanted[i].hex)) return
  throw new Error(`${what}: expected ${list(wanted)}; there came ${list(came)}`)
}

const shown = address => address.slice(0, 60).replaceAll('\0', '␀')
const bytes = message => typeof message === 'string' ? bytesOf(message) : message

/** An address, a type and a body, where strings are written as varString, numbers as varUint, bytes as varBytes. */
export function message (address, type, ...body) {
  const encoder = encoding.createEncoder()
  encoding.writeVarString(encoder, address)
  for (const part of [type, ...body]) {
    if (typeof part === 'string') encoding.writeVarString(encoder, part)
    else if (typeof part === 'number') encoding.writeVarUint(encoder, part)
    else encoding.writeVarUint8Array(encoder, part)
  }
  return encoding.toUint8Array(encoder)
}

/** An address, and bytes behind it as they are. @param {string} hex */
export function broken (address, hex) {
  const encoder = encoding.createEncoder()
  encoding.writeVarString(encoder, address)
  encoding.writeUint8Array(encoder, bytesOf(hex))
  return encoding.toUint8Array(encoder)
}

/** Of 4.x with a version, of 3.x without (null). */
export const auth = (address, token, version = '4.8.0') => message(address, types.auth, 0, token, ...(version === null ? [] : [version]))
export const accepted = (address, scope = 'read-write') => message(address, types.auth, 2, scope)
export const refused = (address, reason = 'permission-denied') => message(address, types.auth, 1, reason)
export const question = address => message(address, types.auth, 0)
export const step1 = (address, stateVector = Uint8Array.of(0)) => message(address, types.sync, 0, stateVector)
export const step2 = (address, update = Uint8Array.of(0, 0)) => message(address, types.sync, 1, update)
export const update = (address, content) => message(address, types.sync, 2, content)
export const stateless = (address, payload) => message(address, types.stateless, payload)
export const saved = address => message(address, types.syncStatus, 1)
export const notSaved = address => message(address, types.syncStatus, 0)
export const leave = address => message(address, types.close)
export const closed = (address, reason) => message(address, types.close, reason)
/** @param {{id: number, clock: number, json: string}[]} entries the JSON may be invalid on purpose */
export const awareness = (address, ...entries) => broken(address, hexOf(awarenessMessage(entries)))
