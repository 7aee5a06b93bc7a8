// Statements about silence, the end of the server, and what is kept; each has a server of its own. Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import PartySocket from 'partysocket/ws'
import ReconnectingWebSocket from 'reconnecting-websocket'
import { makeToken, secret } from '../lib/access.mjs'
import { askUpgrade } from '../lib/any_editor_http.mjs'
import { NotesClient, at, makeNote } from '../lib/notes.mjs'
import { CarriedApp, NotesApp } from '../lib/notes_app.mjs'
import { CookieJar, browserSocket } from '../lib/notes_cookies.mjs'
import { NotesApi } from '../lib/notes_http.mjs'
import { until } from '../lib/until.mjs'
import { page } from './entry.mjs'

const pingMs = 500
const silenceMs = 1_500
const short = { CONCORD_NOTES_PING_MS: String(pingMs), CONCORD_NOTES_SILENCE_MS: String(silenceMs) }
const pace = 0.02 // of the app's pauses: 20 ms, 40 ms, 80 ms ...
const appPingMs = 200
const restarts = 3

export const withTokens = { CONCORD_AUTH_SECRET: secret, CONCORD_ORIGINS_ALLOWED: `*,${page}` }

/** How each kind of client makes its socket: given what the app says the first time, and what it says when it comes back by itself. */
const transports = {
  'the app alone': ({ url, WebSocket }) => new NotesApp({ url, WebSocket, pace, pingMs: appPingMs }),
  'reconnecting-websocket, without the token when it comes back': ({ url, WebSocket }) =>
    carried(url, (address, protocol) => new ReconnectingWebSocket(address, undefined, { ...libraryOptions, WebSocket: onlyFirst(WebSocket, protocol) })),
  'reconnecting-websocket, with the token each time': ({ url, WebSocket }) =>
    carried(url, (address, protocol) => new ReconnectingWebSocket(address, protocol, { ...libraryOptions, WebSocket })),
  'partysocket, without the token when it comes back': ({ url, WebSocket }) => {
    let offers = 0
    return carried(url, (address, protocol) => new PartySocket(address, () => (offers++ === 0 ? protocol : null), { ...libraryOptions, WebSocket }))
  },
  'partysocket, with the token each time': ({ url, WebSocket }) => carried(url, (address, protocol) => new PartySocket(address, protocol, { ...libraryOptions, WebSocket }))
}

const libraryOptions = { minReconnectionDelay: 1_000 * pace, maxReconnectionDelay: 2_000 * pace }
const carried = (url, transport) => new CarriedApp({ url, transport, pace, pingMs: appPingMs })

/** The quirk on a library that has no way to say it: the protocol is offered once. */
function onlyFirst (WebSocket, protocol) {
  let offers = 0
  return class extends WebSocket {
    constructor (url) {
      super(url, offers++ === 0 ? protocol : undefined)
    }
  }
}

export const heartbeats = {
  async 'who answers no ping is dropped without a close, who answers stays (8)' ({ startServer, user, keep }) {
    const server = await startServer(short)
    const token = makeToken({ userId: user })
    const began = performance.now()
    const [alive, dead] = [keep(await NotesClient.open(server, { token })), keep(await NotesClient.open(server, { token, autoPong: false }))]
    await until('the silent one to be dropped', () => dead.closed, { ms: silenceMs + 5_000 })
    const afterMs = performance.now() - began
    assert.equal(dead.closed.code, 1006)
    assert.ok(afterMs >= silenceMs - 100, `dropped after ${afterMs} ms`)
    await until('four times the silence', () => alive.pings >= (4 * silenceMs) / pingMs || alive.closed)
    assert.equal(alive.closed, null)
    assert.deepEqual(alive.events.map(({ type }) => type), ['sync_required'], 'a silent client is told nothing')
  },

  async 'the app\'s own pings are signs of life, without pongs too (8)' ({ startServer, user, keep }) {
    const server = await startServer(short)
    const client = keep(await NotesClient.open(server, { token: makeToken({ userId: user }), autoPong: false }))
    const began = performance.now()
    await until('three times the silence', async () => {
      await client.pong()
      return performance.now() - began > 3 * silenceMs
    }, { everyMs: silenceMs / 5 })
    assert.equal(client.closed, null)
    await until('the drop, once it is silent', () => client.closed, { ms: silenceMs + 5_000 })
  },

  async 'a WebSocket ping is answered with a pong (8)' ({ startServer, user, keep }) {
    const client = keep(await NotesClient.open(await startServer(), { token: makeToken({ userId: user }) }))
    let answer = null
    client.socket.on('pong', data => {
      answer = data.toString()
    })
    client.socket.ping('are you there')
    await until('the pong', () => answer === 'are you there')
  },

  async 'shutdown: 1001, exit code 0, and what was sent is stored (8)' ({ startServer, user, keep }) {
    const server = await startServer()
    const token = makeToken({ userId: user })
    const [a, b] = [keep(await NotesClient.open(server, { token })), keep(await NotesClient.open(server, { token }))]
    const note = makeNote()
    a.update(note)
    await b.updated(note.id)
    const ended = server.terminate()
    for (const client of [a, b]) assert.equal((await client.whenClosed()).code, 1001)
    assert.equal((await ended).code, 0)
    await server.start()
    const late = keep(await NotesClient.open(server, { token }))
    assert.deepEqual((await late.updated(note.id)).note, { ...note, remoteVersion: 1 })
  },

  async 'notes and marks are there after the last one has left and the notebook was unloaded, and after restarts (11.6, 11.9)' ({ startServer, user, keep }) {
    const server = await startServer({ CONCORD_UNLOAD_AFTER_MS: '100' })
    const token = makeToken({ userId: user })
    const [kept, gone] = [makeNote({ extra: { a: [1] } }), makeNote()]
    const a = keep(await NotesClient.open(server, { token }))
    for (const note of [kept, gone]) a.update(note)
    a.remove(gone.id, at(5))
    await a.barrier()
    const losses = [
      async () => {
        a.close()
        await until('the notebook to be unloaded', async () => (await server.health()).rooms === 0)
      },
      async () => {
        await server.terminate()
        await server.start()
      },
      async () => {
        await server.kill9()
        await server.start()
      }
    ]
    for (const lose of losses) {
      await lose()
      const late = keep(await NotesClient.open(server, { token }))
      await late.barrier()
      assert.deepEqual([...late.notes.values()], [{ ...kept, remoteVersion: 1 }])
      assert.deepEqual(late.of('note_deleted').map(({ payload }) => payload), [{ noteId: gone.id, userId: user }])
      late.update({ ...gone, updatedAt: at(4) })
      await late.barrier()
      assert.equal(late.of('note_deleted').length, 2, 'an older time does not bring it back')
      late.close()
      await late.whenClosed()
    }
    const [b, c] = [keep(await NotesClient.open(server, { token })), keep(await NotesClient.open(server, { token }))]
    b.update({ ...gone, updatedAt: at(6) })
    await c.updated(gone.id)
    await b.barrier()
    assert.deepEqual([...b.notes.keys()], [kept.id], 'who revives is told nothing')
  },

  async 'the session of the cookie outlives the server, its end and its death (1, 11.13)' ({ startServer, user, keep }) {
    const server = await startServer()
    const client = keep(await NotesClient.open(server, { token: makeToken({ userId: user }) }))
    const cookie = client.cookies[0].split(';')[0]
    for (const end of ['terminate', 'kill9']) {
      await server[end]()
      await server.start()
      assert.equal((await askUpgrade(server, '/sync', { cookie, origin: page })).status, 101, `after ${end}`)
      assert.equal((await askUpgrade(server, '/sync', { cookie: `${cookie}x`, origin: page })).status, 401)
      assert.equal((await new NotesApi(server, { cookie, origin: page }).call('GET', '/api/notes')).status, 200)
    }
  },

  ...Object.fromEntries(
    Object.entries(transports).map(([what, make]) => [
      `two devices, through ${restarts} restarts of the server: ${what} (4)`,
      async ({ startServer, user, keep }) => {
        const server = await startServer()
        const token = makeToken({ userId: user })
        const devices = [1, 2].map(() => new Device({ server, make }))
        for (const device of devices) {
          keep(device)
          device.app.connect(token)
        }
        const [a, b] = devices
        const all = what => until(() => `${what}; ${devices.map(device => device.describe()).join('; ')}`, () => devices.every(({ app }) => app.state === 'connected'))
        await all('both to connect')
        for (let round = 0; round < restarts; round++) {
          await (round % 2 === 0 ? server.terminate() : server.kill9())
          await until('both to notice', () => devices.every(({ app }) => app.state === 'reconnecting'))
          assert.throws(() => a.app.update(makeNote()), /cannot be sent/)
          await server.start()
          await all(`both to be back after end ${round}`)
          const note = makeNote()
          a.save(note)
          await until('the note of one at the other', () => b.notes.has(note.id))
          b.remove(note.id)
          await until('its deletion at the first', () => !a.notes.has(note.id))
          const kept = makeNote()
          b.save(kept)
          await until('what stays', () => a.notes.has(kept.id))
        }
        assert.deepEqual([a.notes.size, b.notes.size], [restarts, restarts])
        for (const device of devices) {
          assert.deepEqual(device.app.dropped, [])
          assert.deepEqual(device.errors, [])
          const { opened } = device.sockets
          assert.deepEqual(opened[0].protocols, [`token-${token}`])
          assert.ok(device.app.ends.some(({ code }) => code === 1001), `ends: ${JSON.stringify(device.app.ends)}`)
          if (!what.includes('each time')) assert.ok(opened.slice(1).every(({ protocols, cookie }) => protocols.length === 0 && cookie.startsWith('notes_session=')))
          await until('a ping to be answered', () => device.app.pongs > 0)
        }
      }
    ])
  ),

  async 'the app gives up after ten attempts, and a server that is back too late is not asked again (4)' ({ startServer, user, keep }) {
    const server = await startServer()
    const device = keep(new Device({ server, make: ({ url, WebSocket }) => new NotesApp({ url, WebSocket, pace: 0.001 }) }))
    device.app.connect(makeToken({ userId: user }))
    await until('the app to connect', () => device.app.state === 'connected')
    await server.kill9()
    await until('it to give up', () => device.app.state === 'error')
    assert.equal(device.sockets.opened.length, 11)
    await server.start()
    device.app.connect()
    await until('the app to connect when the user says so', () => device.app.state === 'connected')
  },

  async 'a server that answers nothing for a while: the app ends the connection with 1000 Heartbeat timeout, and is back when the server is (4)' ({ startServer, user, keep }) {
    const server = await startServer()
    const device = keep(new Device({ server, make: transports['the app alone'] }))
    device.app.connect(makeToken({ userId: user }))
    await until('a pong', () => device.app.pongs > 0)
    const { socket } = device.app
    server.child.kill('SIGSTOP')
    try {
      await until('the app to give the connection up', () => socket.readyState === socket.CLOSING)
    } finally {
      server.child.kill('SIGCONT')
    }
    await until('the app to be back', () => device.app.states.filter(state => state === 'connected').length === 2)
    assert.deepEqual(device.app.ends.map(({ code }) => code), [1000])
  },

  async 'a wanted disconnect is 1000, and the app does not come back (4)' ({ startServer, user, keep }) {
    const server = await startServer()
    const device = keep(new Device({ server, make: ({ url, WebSocket }) => new NotesApp({ url, WebSocket, pace, pingMs: appPingMs }) }))
    device.app.connect(makeToken({ userId: user }))
    await until('the app to connect', () => device.app.state === 'connected')
    const { socket } = device.app
    const closed = new Promise(resolve => socket.once('close', resolve))
    device.app.disconnect()
    assert.equal(await closed, 1000, 'the server answers the close')
    await until('the server to have nobody', async () => (await server.health()).connections === 0)
    assert.deepEqual([device.app.state, device.sockets.opened.length], ['disconnected', 1])
  }
}

/** A browser with the app in it: its cookies, and the notes that it shows. */
export class Device {
  constructor ({ server, make, origin = page }) {
    this.sockets = browserSocket({ server, jar: new CookieJar(), origin })
    this.app = make({ url: `${server.url}/sync`, WebSocket: this.sockets })
    this.notes = new Map()
    this.errors = []
    this.app
      .on('note_updated', ({ note }) => this.notes.set(note.id, note))
      .on('note_deleted', ({ noteId }) => this.notes.delete(noteId))
      .on('error', error => this.errors.push(error))
  }

  save (note) {
    this.notes.set(note.id, note)
    this.app.update(note)
  }

  remove (id) {
    this.notes.delete(id)
    this.app.remove(id)
  }

  describe () {
    return `${this.app.state} after ${this.sockets.opened.length} attempts, ends ${JSON.stringify(this.app.ends.slice(-3))}`
  }

  terminate () {
    this.app.disconnect()
  }
}
