// A connection to a room database, message by message. It does nothing by itself: lib/room_db_console.mjs is the client that does. Called by the scenario
// `room-db` and by bench/room_db.mjs.

import WebSocket from 'ws'
import { until } from './until.mjs'

const answerMs = 20_000 // with what else runs beside it; the limits of clients, 10 s and 60 s, are the console's

/** @param {Record<string, string | undefined>} parameters `key`, `api_key`, `session_token` */
export function databaseUrl (server, room, parameters = {}, path = '/websocket') {
  const query = new URLSearchParams({ room_id: room, ...Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined)) })
  return `${server.url}${path}?${query}`
}

let requests = 0

export class RoomDbClient {
  /** @param {import('ws').ClientOptions} options */
  constructor (url, options = {}) {
    this.messages = []
    this.closed = null // {code, reason} once closed
    this.refused = null // {status, text} when the upgrade was refused
    this.pings = 0
    this.onmessage = () => {}
    this.socket = new WebSocket(url, { perMessageDeflate: false, maxPayload: 64 * 2 ** 20, ...options })
    this.socket.on('message', (data, isBinary) => {
      const text = data.toString()
      const message = isBinary ? { type: 'binary', text } : parse(text)
      this.messages.push(message)
      this.onmessage(message, text)
    })
    this.socket.on('ping', () => this.pings++)
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() }
    })
    this.socket.on('unexpected-response', (request, response) => {
      let text = ''
      response.setEncoding('utf8').on('data', part => { text += part })
      response.once('end', () => {
        this.refused = { status: response.statusCode, text }
        request.destroy()
      })
    })
    this.socket.on('error', error => {
      this.error = error
    })
  }

  /**
   * A connection that the server has greeted. `who` is whatever has `socketOptions` and `parameters`: an account, a key.
   * @param {{parameters: object, socketOptions: object}} who
   */
  static async open (server, room, who, options = {}) {
    const client = new RoomDbClient(databaseUrl(server, room, who.parameters), { ...who.socketOptions, ...options })
    await until(
      () => `the greeting of ${room}; closed ${JSON.stringify(client.closed)}, refused ${JSON.stringify(client.refused)}, ${client.error?.message}`,
      () => client.messages.length > 0 || client.closed || client.refused,
      { ms: answerMs }
    )
    if (client.messages[0]?.type !== 'reset') {
      throw new Error(`the first message is ${JSON.stringify(client.messages[0])}; closed ${JSON.stringify(client.closed)}, refused ${JSON.stringify(client.refused)}`)
    }
    return client
  }

  get isOpen () { return this.socket.readyState === WebSocket.OPEN }
  of (type) { return this.messages.filter(message => message.type === type) }

  /** Change events, of one table or of all. */
  changes (table) { return this.messages.filter(message => message.event === 'update' && (table === undefined || message.table === table)) }

  /** @param {object | string | Uint8Array} message an object becomes JSON, a string is sent as it is, bytes as a binary frame */
  send (message) { this.socket.send(typeof message === 'string' || message instanceof Uint8Array ? message : JSON.stringify(message)) }

  /** The first message for which `is` holds. @param {{from?: number, ms?: number}} options `from`: how many messages are old */
  async message (what, is, { from = 0, ms = answerMs } = {}) {
    return await until(
      () => `${typeof what === 'function' ? what() : what}; received ${brief(this.messages.slice(from))}; closed ${JSON.stringify(this.closed)}`,
      () => this.messages.slice(from).find(is),
      { ms }
    )
  }

  /** Sends something and waits for the next message that is no event. */
  async ask (message, { ms } = {}) {
    const from = this.messages.length
    this.send(message)
    return await this.message(() => `an answer to ${brief([message])}`, ({ event, type }) => event === undefined && type !== 'schema_update', { from, ms })
  }

  /**
   * A method, and the first message with the id of the request.
   * @param {{updateId?: string, ms?: number}} options
   */
  async rpc (method, payload, { ms, ...more } = {}) {
    const requestId = `r${requests++}`
    const from = this.messages.length
    this.send({ action: 'rpc', method, payload, requestId, ...more })
    const answer = await this.message(() => `an answer to ${method} ${brief([payload])}`, message => message.requestId === requestId, { from, ms })
    const { requestId: _, ...rest } = answer
    return rest
  }

  /** As `rpc`, for what must succeed. */
  async call (method, payload, options) {
    const answer = await this.rpc(method, payload, options)
    if (!['mutation_success', 'query_result', 'rpc_result', 'success'].includes(answer.type)) throw new Error(`${method} ${brief([payload])} was answered with ${JSON.stringify(answer)}`)
    return answer
  }

  /** The rows of one statement. */
  async select (sql, params) { return (await this.call('executeSQL', params === undefined ? { sql } : { sql, params })).data }

  /** Waits until the server has dealt with what was sent on this connection, and with every change that anybody has been told of. */
  async barrier () { await this.rpc('getCursors') }

  async whenClosed (ms = answerMs) { return await until(() => `the server to close the connection; received ${brief(this.messages.slice(-3))}`, () => this.closed, { ms }) }
  terminate () { this.socket.terminate() }
}

function parse (text) {
  try {
    return Object(JSON.parse(text))
  } catch {
    return { type: 'unreadable', text }
  }
}

const briefCharacters = 600

function brief (messages) {
  const text = messages.map(message => typeof message === 'string' ? message : JSON.stringify(message) ?? 'nothing').join(', ')
  return text.length > briefCharacters ? `${text.slice(0, briefCharacters)}…` : text || 'nothing'
}
