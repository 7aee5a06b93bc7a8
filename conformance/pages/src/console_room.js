// The page's connection to one room database: the browser's own WebSocket, with the cookie of the session, inside of the wrapper that reconnects and keeps what is
// sent meanwhile. Says anew what the page wants to hear whenever the server asks for it. Knows nothing of the page.

import ReconnectingWebSocket from 'reconnecting-websocket' // of the folder above, where the other clients have it from

const pingEveryMs = 30_000
const pongMs = 5_000
const requestMs = 10_000

export class Room {
  /** @param {{server: string, room: string, onState: (state: string) => void, onMessage: (message: object) => void}} options `server`: ws://… */
  constructor ({ server, room, onState, onMessage }) {
    this.onMessage = onMessage
    this.tables = new Set()
    this.query = null
    this.shown = {} // action -> payload
    this.pending = new Map()
    this.requests = 0
    const options = { minReconnectionDelay: 3_000, maxReconnectionDelay: 3_000, reconnectionDelayGrowFactor: 1, connectionTimeout: 10_000, maxRetries: 5 }
    this.socket = new ReconnectingWebSocket(`${server}/websocket?${new URLSearchParams({ room_id: room })}`, [], options)
    this.socket.onopen = () => {
      this.ping()
      this.pinging = setInterval(() => this.ping(), pingEveryMs)
    }
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      if (message.type === 'reset') {
        this.announce()
        onState('connected')
      } else this.receive(message)
    }
    this.socket.onclose = () => {
      clearInterval(this.pinging)
      clearTimeout(this.waiting)
      onState('connecting')
    }
    onState('connecting')
  }

  send (message) { this.socket.send(JSON.stringify(message)) }

  ping () {
    this.send({ action: 'ping' })
    clearTimeout(this.waiting)
    this.waiting = setTimeout(() => this.socket.reconnect(), pongMs)
  }

  announce () {
    for (const [action, payload] of Object.entries(this.shown)) this.send({ action, payload })
    for (const table of this.tables) this.send({ action: 'subscribe', table })
    if (this.query !== null) this.send(this.query)
    for (const method of ['getSchema', 'getUsage']) this.send({ action: 'rpc', method })
  }

  receive (message) {
    if (message.type === 'pong') clearTimeout(this.waiting)
    const pending = this.pending.get(message.requestId)
    if (pending !== undefined) {
      this.pending.delete(message.requestId)
      clearTimeout(pending.timer)
      if (['error', 'mutation_error', 'query_error'].includes(message.type)) pending.reject(new Error(message.error))
      else pending.resolve(message)
    }
    this.onMessage(message)
  }

  /** @returns {Promise<object>} */
  call (method, payload) {
    const requestId = `page-${this.requests++}`
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method} was not answered in ${requestMs / 1_000} s`)), requestMs)
      this.pending.set(requestId, { resolve, reject, timer })
      this.send({ action: 'rpc', method, payload, requestId })
    })
  }

  subscribe (table) {
    if (this.tables.has(table)) return
    this.tables.add(table)
    this.send({ action: 'subscribe', table })
  }

  watch (sql, table) {
    this.query = { action: 'subscribe_query', sql, table }
    this.send(this.query)
  }

  show (action, payload) {
    this.shown[action] = payload
    this.send({ action, payload })
  }
}
