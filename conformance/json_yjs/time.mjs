// Statements about silence, the end of the server, and what is kept. Each has a server of its own. Run by scenarios/json_yjs.mjs.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { makeToken } from '../lib/access.mjs'
import { JsonYjsClient, firmToken } from '../lib/json_yjs.mjs'
import { Random } from '../lib/random.mjs'
import { breathe, until } from '../lib/until.mjs'
import { edit } from './rights.mjs'

const pingMs = 500
const silenceMs = 1_500
const short = { CONCORD_JSON_YJS_PING_MS: String(pingMs), CONCORD_JSON_YJS_SILENCE_MS: String(silenceMs) }
const kills = 6

const open = async (server, draft, user, options) => await JsonYjsClient.open(server, draft, firmToken(user), options)

export const inEachOwn = {
  async 'who answers no ping is dropped without a close, who answers stays (5, 10.10)' ({ startServer, id, keep }) {
    const server = await startServer(short)
    const began = performance.now()
    const [alive, dead] = [keep(await open(server, id, 'ann')), keep(await open(server, id, 'ben', { autoPong: false }))]
    await until('the silent one to be dropped', () => dead.closed, { ms: silenceMs + 4_000 })
    const afterMs = performance.now() - began
    assert.equal(dead.closed.code, 1006)
    assert.ok(afterMs >= silenceMs - 100, `dropped after ${afterMs} ms`)
    await until('as much silence again, four times', () => alive.pings >= (4 * silenceMs) / pingMs || alive.closed, { ms: 20_000 })
    assert.equal(alive.closed, null)
    assert.equal(alive.messages.length, 1, 'a silent client is sent nothing')
  },

  async 'any message is a sign of life, without pongs too (5)' ({ startServer, id, keep }) {
    const server = await startServer(short)
    const client = keep(await open(server, id, 'ann', { autoPong: false }))
    const began = performance.now()
    await until(
      'three times the silence',
      async () => {
        client.send({ type: 'ping' })
        if (client.closed) throw new Error(`closed ${JSON.stringify(client.closed)}`)
        return performance.now() - began > 3 * silenceMs
      },
      { everyMs: silenceMs / 5 }
    )
    assert.equal(client.closed, null)
    await until('the drop, once it is silent', () => client.closed, { ms: silenceMs + 4_000 })
  },

  async 'a WebSocket ping is answered with a pong (5)' ({ startServer, id, keep }) {
    const client = keep(await open(await startServer(), id, 'ann'))
    let answer = null
    client.socket.on('pong', data => {
      answer = data.toString()
    })
    client.socket.ping('are you there')
    await until('the pong', () => answer === 'are you there')
  },

  async 'on shutdown: 1001 Server shutting down, and what was sent is stored (8, 10.15)' ({ startServer, id, keep }) {
    const server = await startServer()
    const [a, b] = [keep(await open(server, id, 'ann')), keep(await open(server, id, 'ben'))]
    a.sendUpdate(edit('kept'))
    await b.update()
    const ended = server.terminate()
    for (const client of [a, b]) assert.deepEqual(await client.whenClosed(), { code: 1001, reason: 'Server shutting down' })
    assert.equal((await ended).code, 0)
    await server.start()
    assert.equal(keep(await open(server, id, 'ann')).text, 'kept')
  },

  async 'a draft is there after the last one has left and the room was unloaded (10.7)' ({ startServer, id, keep }) {
    const server = await startServer({ CONCORD_UNLOAD_AFTER_MS: '100' })
    const a = await open(server, id, 'ann')
    a.sendUpdate(edit('kept'))
    await a.barrier()
    a.close()
    await until('the room to be unloaded', async () => (await server.health()).rooms === 0)
    assert.equal(keep(await open(server, id, 'ben')).text, 'kept')
  },

  async 'a registration survives a kill' ({ startServer, adminOf, id, keep }) {
    const server = await startServer({ CONCORD_ADMIN_LISTEN: '127.0.0.1:0' })
    await (await adminOf(server)).do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-2', ownerId: 'eve' })
    const first = keep(await open(server, `${id}-first`, 'ann'))
    await first.barrier()
    await server.kill9()
    await server.start()
    for (const [draft, firm] of [
      [id, 'firm-1'],
      [`${id}-first`, 'firm-2']
    ]) {
      await assert.rejects(JsonYjsClient.open(server, draft, firmToken('ann', firm)), /Access denied/, `${draft} for ${firm}`)
    }
    keep(await JsonYjsClient.open(server, id, firmToken('eve', 'firm-2')))
  },

  async 'what another client has received survives a kill (10.7)' ({ startServer, id, seed, log }) {
    const server = await startServer()
    const random = new Random(seed)
    const shown = new Y.Doc({ gc: false })
    let count = 0
    for (let round = 0; round < kills; round++) {
      const [reader, ...writers] = await Promise.all(['ann', 'ben', 'cid'].map(user => open(server, id, user)))
      reader.onmessage = message => {
        if (message.type !== 'yjs-update') return
        Y.applyUpdate(shown, Uint8Array.from(message.data))
        count++
      }
      const goal = count + random.between(5, 300)
      let running = true
      const work = Promise.all(
        writers.map(async client => {
          const doc = new Y.Doc()
          doc.clientID = random.word()
          doc.on('update', update => client.sendUpdate(update))
          while (running && client.isOpen) {
            doc.getArray(`a${doc.clientID}`).push([random.word()])
            await breathe()
          }
        })
      )
      await until('updates to be shown', () => count >= goal, { everyMs: 1 })
      running = false
      await server.kill9()
      await work
      for (const client of [reader, ...writers]) client.terminate()
      await server.start()
      const late = await open(server, id, 'dan')
      const { doc } = late
      let lost = null
      doc.once('update', update => {
        lost = update
      })
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(shown))
      assert.equal(lost, null, `kill ${round}, seed ${seed}: something is gone that had been shown, after ${count} updates`)
      late.terminate()
    }
    log(`${kills} kills, ${count} updates shown, none lost`)
  }
}

export const together = {
  async 'a json-yjs client and a y-websocket client with rights to the draft edit together (10.16)' ({ server, id, edit: editor, keep }) {
    const a = keep(await open(server, id, 'ann'))
    const b = await editor('3.1.0', { room: id, token: makeToken({ userId: 'ben', firmId: 'firm-1' }) }).synced()
    b.type('from y-websocket')
    await until('the edit', () => a.text === 'from y-websocket')
    a.sendUpdate(edit('from json-yjs, '))
    await until('the answer', () => b.text.includes('from json-yjs, ') && b.text.includes('from y-websocket'))
    assert.deepEqual(new Set(a.messages.map(({ type }) => type)), new Set(['yjs-state-response', 'yjs-update']), 'presence of others is not shown here')
  }
}
