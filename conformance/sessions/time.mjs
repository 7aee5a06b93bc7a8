// Statements about silence, slow readers, the end of the server, and what is kept. Each has a server of its own. Run by scenarios/sessions.mjs.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { Random } from '../lib/random.mjs'
import { RawClient } from '../lib/raw_client.mjs'
import { SessionsClient } from '../lib/sessions.mjs'
import { breathe, until } from '../lib/until.mjs'
import { updateOf, vector } from '../wire/vectors.mjs'

const pingMs = 500
const silenceMs = 1_500
const short = { CONCORD_SESSIONS_PING_MS: String(pingMs), CONCORD_SESSIONS_SILENCE_MS: String(silenceMs) }
const inactiveMs = 1_000
const sweepMs = 30_000
const kills = 6
const perSecondMax = 100
const delayMsMax = 100
const slowMessages = 5_000
const slowBytes = 3_000

const open = async (server, id, user, options) => await SessionsClient.open(server, id, { user_id: user, user_name: user }, options)
const isType = type => message => message.type === type

export const inEachOwn = {
  async 'no frame of any kind for a while: dropped, and the others are told; who answers pings stays (6, 12.12)' ({ startServer, id, keep }) {
    const server = await startServer(short)
    const [alive, dead] = [keep(await open(server, id, 'alice')), keep(await open(server, id, 'bob', { autoPong: false }))]
    dead.send({ type: 'awareness', cursor: { line: 0, column: 0 } })
    await until('the silent one to be dropped', () => dead.closed, { ms: silenceMs + 4_000 })
    await alive.message('the leave', isType('leave'))
    assert.equal(alive.of('awareness').at(-1).awareness[dead.session.client_id], null)
    const before = alive.pings
    await until('four times the silence', () => alive.pings - before >= (4 * silenceMs) / pingMs || alive.closed, { ms: 20_000 })
    assert.equal(alive.closed, null)
    assert.equal(alive.of('leave').length, 1)
  },

  async 'a sweep ends sessions without activity: 1013 inactive, and the others are told (6)' ({ startServer, id, keep }) {
    const server = await startServer({ CONCORD_SESSIONS_INACTIVE_MS: String(inactiveMs), CONCORD_SESSIONS_PING_MS: '400' })
    const [alive, dead] = [keep(await open(server, id, 'alice')), keep(await open(server, id, 'bob', { autoPong: false }))]
    await until('the inactive one to be ended', () => dead.closed, { ms: inactiveMs + sweepMs + 10_000 })
    assert.deepEqual(dead.closed, { code: 1013, reason: 'inactive' })
    await alive.message('the leave', isType('leave'))
    assert.equal(alive.closed, null, 'sitting in front of an open document is no reason')
  },

  async 'who stops reading is ended with 1013 slow consumer, told to the others, who notice no delay (7, 12.11)' ({ startServer, id, keep, log }) {
    const server = await startServer()
    const [slow, fast] = [keep(await open(server, id, 'alice')), keep(await open(server, id, 'bob'))]
    // A session may send 100 messages a second; a Yjs client of the same room is not limited.
    const writer = keep(await RawClient.open(`${server.url}/${id}`))
    slow.socket.pause()
    const doc = new Y.Doc()
    const sentAt = []
    doc.on('update', update => {
      sentAt.push(performance.now())
      writer.sendUpdate(update)
    })
    for (let i = 0; i < slowMessages && fast.of('leave').length === 0; i++) {
      doc.getMap('m').set('k', `${i}`.padEnd(slowBytes, 'x'))
      if (i % 20 === 0) await until('the update at the other session', () => fast.updates.length > i, { everyMs: 1 })
    }
    await fast.message('the leave', isType('leave'), { ms: 20_000 })
    const received = fast.frames.filter(frame => frame.bytes !== undefined)
    const delays = received.map((frame, i) => frame.atMs - sentAt[i]).sort((a, b) => a - b)
    const middle = delays[delays.length >> 1]
    log(
      `ended while ${received.length} messages of ${slowBytes} bytes were sent; ` +
        `delay at the other session: ${middle.toFixed(1)} ms in the middle, ${delays.at(-1).toFixed(1)} ms at most`
    )
    assert.ok(middle <= delayMsMax, `half of the messages came after more than ${middle} ms`)
    assert.ok(delays.at(-1) <= 10 * delayMsMax, `one message came after ${delays.at(-1)} ms`)
    slow.socket.resume()
    assert.deepEqual(await slow.whenClosed(20_000), { code: 1013, reason: 'slow consumer' })
  },

  async 'on SIGTERM: 1001 server shutting down, nobody new, exit code 0, and what was sent is stored (8, 12.13)' ({ startServer, id, keep }) {
    const server = await startServer()
    const [alice, bob] = [keep(await open(server, id, 'alice')), keep(await open(server, id, 'bob'))]
    alice.send(vector('A1'))
    await bob.binary()
    const began = performance.now()
    const ended = server.terminate()
    for (const client of [alice, bob]) assert.deepEqual(await client.whenClosed(), { code: 1001, reason: 'server shutting down' })
    assert.equal((await ended).code, 0)
    assert.ok(performance.now() - began < 30_000)
    await server.start()
    const late = keep(await open(server, id, 'carol'))
    await late.binary()
    assert.equal(late.text, 'hi')
  },

  async 'the document is there after everybody left, presence and messages are not (12.5)' ({ startServer, id, keep }) {
    const server = await startServer({ CONCORD_UNLOAD_AFTER_MS: '100' })
    const alice = await open(server, id, 'alice')
    alice.send(vector('A1'))
    alice.send({ type: 'awareness', cursor: { line: 0, column: 0 } })
    alice.send({ type: 'test' })
    await alice.barrier()
    alice.close()
    await until('the room to be unloaded', async () => (await server.health()).rooms === 0)
    const late = keep(await open(server, id, 'bob'))
    await late.barrier()
    assert.deepEqual(
      late.frames.map(frame => frame.message?.type ?? 'binary'),
      ['initial_state', 'binary', 1]
    )
    assert.deepEqual([late.text, late.initial.users, late.initial.awareness], ['hi', [], {}])
  },

  async 'what was relayed survives a kill (12.5)' ({ startServer, id, seed, log }) {
    const server = await startServer()
    const random = new Random(seed)
    const shown = new Y.Doc({ gc: false })
    let count = 0
    for (let round = 0; round < kills; round++) {
      const [reader, ...writers] = await Promise.all(['alice', 'bob', 'carol'].map(user => open(server, id, user)))
      reader.onframe = ({ bytes }) => {
        if (bytes === undefined) return
        Y.applyUpdate(shown, bytes)
        count++
      }
      const goal = count + random.between(5, 150)
      let running = true
      const work = Promise.all(
        writers.map(async client => {
          const doc = new Y.Doc()
          doc.clientID = random.word()
          const began = performance.now()
          let sent = 0
          doc.on('update', update => client.send(update))
          while (running && client.isOpen) {
            if (sent < 100 + ((performance.now() - began) / 1000) * perSecondMax * 0.9) {
              doc.getArray(`a${doc.clientID}`).push([random.word()])
              sent++
            }
            await breathe()
          }
        })
      )
      await until('updates to be relayed', () => count >= goal, { everyMs: 1 })
      running = false
      await server.kill9()
      await work
      for (const client of [reader, ...writers]) client.terminate()
      await server.start()
      const late = await open(server, id, 'dan')
      await late.binary()
      const { doc } = late
      let lost = null
      doc.once('update', update => {
        lost = update
      })
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(shown))
      assert.equal(lost, null, `kill ${round}, seed ${seed}: something is gone that had been relayed, after ${count} updates`)
      late.terminate()
    }
    log(`${kills} kills, ${count} updates relayed, none lost`)
  }
}

export const together = {
  async 'a y-websocket client on the same room sees what is made here, and the reverse (12.14)' ({ server, id, edit, keep }) {
    const alice = keep(await open(server, id, 'alice'))
    const editor = await edit('3.1.0', { room: id }).synced()
    alice.send(updateOf(doc => doc.getText('t').insert(0, 'from a session')))
    await until('the edit', () => editor.text === 'from a session')
    editor.type(', from y-websocket')
    await alice.binary()
    const whole = new Y.Doc()
    Y.applyUpdate(whole, await alice.barrier())
    assert.equal(whole.getText('t').toString(), 'from a session, from y-websocket')
  }
}
