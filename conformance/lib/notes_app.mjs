// The notes app's client as its server sees it: one socket, its first connection with the token as the only subprotocol, all later ones with the address alone;
// pings, their time-out, pauses between attempts, and messages dropped without a word. Called by the scenario `notes` in Node and by the notes page in a browser, so
// it needs only a WebSocket class. Keeps no notes.

import { envelope, read } from './notes_messages.mjs'

/** In milliseconds, as the app has them. */
const times = { open: 10_000, ping: 30_000, pong: 5_000, firstPause: 1_000, longestPause: 30_000 }
const attemptsMax = 10

export class NotesApp {
  /** @param {{url: string, WebSocket: Function, pace?: number, pingMs?: number}} options `pace` makes the pauses between attempts shorter */
  constructor ({ url, WebSocket, pace = 1, pingMs = times.ping }) {
    Object.assign(this, { url, WebSocket, pace, pingMs })
    this.state = 'disconnected'
    this.states = [] // all that it has been in
    this.dropped = [] // why, of each message that was
    this.ends = [] // {code, reason} of each connection
    this.pongs = 0
    this.attempts = 0 // since it was last connected
    this.handlers = new Map()
    this.socket = null
    this.timers = new Map()
  }

  /** @param {'note_updated'|'note_deleted'|'sync_required'|'connection_state_changed'|'error'} event */
  on (event, handler) {
    this.handlers.set(event, [...(this.handlers.get(event) ?? []), handler])
    return this
  }

  /** @param {string} [token] shown with this connection and with no other */
  connect (token) {
    this.isWanted = true
    this.enter('connecting')
    this.dial(token === undefined ? undefined : `token-${token}`)
  }

  disconnect () {
    this.isWanted = false
    this.endTimers()
    this.socket?.close(1000, 'Client disconnect')
    this.socket = null
    this.enter('disconnected')
  }

  update (note) { this.send('note_update', { note }) }
  remove (noteId) { this.send('note_delete', { noteId }) }

  /** There is no queue: what cannot be sent now is the caller's to keep. */
  send (type, payload) {
    if (this.state !== 'connected') throw new Error(`${type} cannot be sent: the client is ${this.state}`)
    this.socket.send(JSON.stringify(envelope(type, payload)))
  }

  /** @param {string} [protocol] the one subprotocol; without one none is offered */
  dial (protocol) {
    const socket = protocol === undefined ? new this.WebSocket(this.url) : new this.WebSocket(this.url, protocol)
    this.socket = socket
    const ifCurrent = act => event => { if (socket === this.socket) act(event) }
    socket.addEventListener('open', ifCurrent(() => this.opened()))
    socket.addEventListener('message', ifCurrent(({ data }) => this.receive(data)))
    socket.addEventListener('error', () => {}) // the close that follows says the rest
    socket.addEventListener('close', ifCurrent(({ code, reason }) => this.closed(code, reason)))
    this.after('open', times.open, () => {
      this.emit('error', { code: 'TIMEOUT', message: 'the connection did not open' })
      socket.close()
    })
  }

  opened () {
    this.cancel('open')
    this.attempts = 0
    this.enter('connected')
    this.pingLater()
  }

  pingLater () {
    this.after('ping', this.pingMs, () => {
      this.send('ping', { timestamp: Date.now() })
      if (!this.timers.has('pong')) this.after('pong', times.pong, () => this.lapse())
      this.pingLater()
    })
  }

  lapse () { this.socket.close(1000, 'Heartbeat timeout') }

  receive (text) {
    const { message, dropped } = read(text)
    if (dropped !== undefined) return void this.dropped.push(`${dropped}: ${String(text).slice(0, 200)}`)
    if (message.type === 'pong') {
      this.cancel('pong')
      this.pongs++
    } else {
      this.emit(message.type, message.payload, message)
    }
  }

  closed (code, reason) {
    this.endTimers()
    this.ends.push({ code, reason: String(reason) })
    this.socket = null
    if (!this.isWanted) return this.enter('disconnected')
    if (this.attempts >= attemptsMax) return this.enter('error')
    this.enter('reconnecting')
    const pause = Math.min(times.firstPause * 2 ** this.attempts++, times.longestPause) * this.pace
    this.after('pause', pause, () => this.dial())
  }

  enter (state) {
    this.state = state
    this.states.push(state)
    this.emit('connection_state_changed', state)
  }

  emit (event, ...what) { for (const handler of this.handlers.get(event) ?? []) handler(...what) }

  after (name, ms, act) {
    this.cancel(name)
    this.timers.set(name, setTimeout(act, ms))
  }

  cancel (name) {
    clearTimeout(this.timers.get(name))
    this.timers.delete(name)
  }

  endTimers () { for (const name of [...this.timers.keys()]) this.cancel(name) }
}

/** The same client on a socket that reconnects by itself, as npm has several: it pauses and comes back, the client only pings and listens. */
export class CarriedApp extends NotesApp {
  /** @param {(url: string, protocol?: string) => object} transport makes the socket, once */
  constructor ({ transport, ...options }) {
    super({ ...options, WebSocket: null })
    this.transport = transport
  }

  /** For such a socket a close is the end. */
  lapse () { this.socket.reconnect(1000, 'Heartbeat timeout') }

  dial (protocol) {
    const socket = this.transport(this.url, protocol)
    this.socket = socket
    socket.addEventListener('open', () => this.opened())
    socket.addEventListener('message', ({ data }) => this.receive(data))
    socket.addEventListener('error', () => {})
    socket.addEventListener('close', ({ code, reason }) => {
      this.endTimers()
      this.ends.push({ code, reason: String(reason) })
      if (this.isWanted && this.state !== 'reconnecting') this.enter('reconnecting')
    })
  }
}
