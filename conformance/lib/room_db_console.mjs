// What the console's client does with a room database: it connects through a reconnecting wrapper, which also keeps what is sent meanwhile, pings, says anew
// what it wants to hear whenever the server says `reset`, asks who is there every 5 s, keeps rows by change events, and settles promises by the id of their request. The wrapper is
// the unmodified package of npm. Called by the statements about consoles and restarts.

import WebSocket from 'ws'
import ReconnectingWebSocket from 'reconnecting-websocket'
import { WebSocket as PartySocket } from 'partysocket'
import { databaseUrl } from './room_db.mjs'
import { until } from './until.mjs'

/** The wrappers, with what makes them wait: a console tries five times, three seconds apart, with ten to open. */
export const wrappers = { 'reconnecting-websocket': ReconnectingWebSocket, partysocket: PartySocket }

const pingEveryMs = 30_000
const pongMs = 5_000
const presenceEveryMs = 5_000
const requestMs = 10_000
const longRequestMs = 60_000
const longRequests = ['batchInsert', 'createTable']

export class Console {
  /**
   * @param {{parameters: object, socketOptions: object}} who
   * @param {{wrapper: keyof typeof wrappers, reconnectMs?: number, tries?: number}} options `reconnectMs`: 3 s in a browser
   */
  constructor (server, room, who, { wrapper, reconnectMs = 100, tries = 200 }) {
    /** With the cookies of a page; every attempt counts. */
    const attempts = this.attempts = []
    class Socket extends WebSocket {
      constructor (url, protocols) {
        super(url, protocols, { perMessageDeflate: false, ...who.socketOptions })
        attempts.push(this)
        this.on('error', () => {}) // told as a close as well
      }
    }
    this.tables = new Set()
    this.queries = new Map() // query id -> the message that subscribes to it
    this.cursor = null
    this.presence = null
    this.others = { cursors: new Map(), presence: new Map() }
    this.schema = null
    this.usage = null
    /** Rows by table and id, as far as they were seen to change. */
    this.rows = new Map()
    this.messages = []
    this.resets = 0
    this.pongs = 0
    this.ends = []
    this.pending = new Map() // request id -> {resolve, reject, timer}
    this.requests = 0
    const options = { WebSocket: Socket, minReconnectionDelay: reconnectMs, maxReconnectionDelay: reconnectMs, reconnectionDelayGrowFactor: 1, connectionTimeout: 10_000, maxRetries: tries, minUptime: 1 }
    this.socket = new wrappers[wrapper](databaseUrl(server, room, who.parameters), [], options)
    this.socket.addEventListener('open', () => this.opened())
    this.socket.addEventListener('message', ({ data }) => this.receive(JSON.parse(data)))
    this.socket.addEventListener('close', ({ code, reason }) => this.closed(code, reason))
    this.socket.addEventListener('error', () => {})
  }

  get isConnected () { return this.socket.readyState === WebSocket.OPEN }

  async connected () {
    await until(() => `a console to be connected; its connections ended ${JSON.stringify(this.ends)}`, () => this.isConnected && this.schema !== null && this.usage !== null)
    return this
  }

  opened () {
    this.ping()
    this.pingTimer = setInterval(() => this.ping(), pingEveryMs)
    this.presenceTimer = setInterval(() => this.send({ action: 'rpc', method: 'getPresence' }), presenceEveryMs)
  }

  closed (code, reason) {
    this.ends.push({ code, reason: String(reason) })
    clearInterval(this.pingTimer)
    clearInterval(this.presenceTimer)
    clearTimeout(this.pongTimer)
    this.schema = this.usage = null
  }

  ping () {
    this.send({ action: 'ping' })
    clearTimeout(this.pongTimer)
    this.pongTimer = setTimeout(() => this.socket.reconnect(), pongMs)
  }

  /** The wrapper keeps it while there is no connection. */
  send (message) { this.socket.send(JSON.stringify(message)) }

  receive (message) {
    this.messages.push(message)
    const { type, event, requestId } = message
    if (type === 'reset') this.announce()
    else if (type === 'pong') {
      this.pongs++
      clearTimeout(this.pongTimer)
    } else if (type === 'schema_update') this.schema = message.schema
    else if (type === 'query_result' && message.originalSql === 'getUsage') this.usage = message.data
    else if (type === 'query_result' && message.originalSql === 'getPresence') this.others.presence = new Map(message.data.map(one => [one.userId, one]))
    else if (event === 'memory_update') this.others[type].set(message.data.userId, message.data)
    else if (event === 'update') this.change(message)
    if (requestId !== undefined) this.settle(requestId, message)
  }

  announce () {
    this.resets++
    if (this.cursor !== null) this.send({ action: 'setCursor', payload: this.cursor })
    if (this.presence !== null) this.send({ action: 'setPresence', payload: this.presence })
    for (const table of this.tables) this.send({ action: 'subscribe', table })
    for (const query of this.queries.values()) this.send(query)
    for (const method of ['getSchema', 'getUsage']) this.send({ action: 'rpc', method })
  }

  change ({ table, action, row }) {
    const rows = this.rows.get(table) ?? new Map()
    this.rows.set(table, rows)
    if (action === 'deleted') rows.delete(row.id)
    else rows.set(row.id, row)
  }

  settle (requestId, message) {
    const pending = this.pending.get(requestId)
    if (pending === undefined) return
    this.pending.delete(requestId)
    clearTimeout(pending.timer)
    if (['error', 'rpc_error', 'mutation_error'].includes(message.type)) pending.reject(new Error(message.error))
    else pending.resolve(message)
  }

  /** @returns {Promise<object>} the whole message */
  rpc (method, payload, more = {}) {
    const requestId = `console-${this.requests++}`
    return new Promise((resolve, reject) => {
      const ms = longRequests.includes(method) ? longRequestMs : requestMs
      const timer = setTimeout(() => {
        this.pending.delete(requestId)
        reject(new Error(`${method}: no answer within ${ms / 1000} s`))
      }, ms)
      this.pending.set(requestId, { resolve, reject, timer })
      this.send({ action: 'rpc', method, payload, requestId, ...more })
    })
  }

  subscribe (table) {
    this.tables.add(table)
    if (this.isConnected) this.send({ action: 'subscribe', table })
  }

  /** @param {string} sql asked now, and again after each change of `table` */
  watch (sql, table) {
    const query = { action: 'subscribe_query', sql, table }
    this.queries.set(sql, query)
    if (this.isConnected) this.send(query)
  }

  /** What the watched query has given last. */
  result (sql) { return this.messages.findLast(message => message.type === 'query_result' && message.originalSql === sql)?.data }

  show (presence, cursor) {
    this.presence = presence
    this.cursor = cursor
    if (!this.isConnected) return
    this.send({ action: 'setPresence', payload: presence })
    this.send({ action: 'setCursor', payload: cursor })
  }

  terminate () {
    clearInterval(this.pingTimer)
    clearInterval(this.presenceTimer)
    clearTimeout(this.pongTimer)
    for (const { timer } of this.pending.values()) clearTimeout(timer)
    this.socket.close()
    for (const socket of this.attempts) socket.terminate()
  }
}
