// Statements about the end of the server: what was echoed is saved. Each has a server of its own. Run by scenarios/y_sweet.mjs.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { Random } from '../lib/random.mjs'
import { breathe, until } from '../lib/until.mjs'
import { openRaw, syncStatus, syncStatusType } from '../lib/y_sweet.mjs'
import { untilText } from './modes.mjs'

const kills = 8
const writers = 3
const aheadMax = 20

export const inEachOwn = {
  async 'what a sync status has acknowledged survives a kill (8.11)' ({ mode, id, seed, log }) {
    const another = await mode.startAnother()
    const { server } = another
    const random = new Random(seed)
    const saved = new Y.Doc() // of all that was acknowledged
    let acknowledged = 0
    for (let round = 0; round < kills; round++) {
      const token = await another.token(id)
      let running = true
      const clients = await Promise.all(Array.from({ length: writers }, () => openRaw(server, id, token)))
      const goal = acknowledged + random.between(5, 300)
      const work = Promise.all(
        clients.map(async (client, i) => {
          const sent = [] // updates by version
          let echoed = 0
          client.onframe = frame => {
            if (frame.type !== syncStatusType || !running) return
            const version = versionOf(frame.payload)
            while (echoed < version) Y.applyUpdate(saved, sent[echoed++])
            acknowledged++
          }
          client.sendStep2(Uint8Array.of(0, 0))
          const doc = new Y.Doc()
          doc.clientID = 1 + round * writers + i
          doc.on('update', update => {
            sent.push(update)
            client.sendUpdate(update)
            client.send(syncStatus(hexOfVersion(sent.length)))
          })
          while (running && client.isOpen) {
            if (sent.length - echoed < aheadMax) doc.getArray(`a${doc.clientID}`).push([random.word()])
            await breathe()
          }
        })
      )
      await until('sync status to be echoed', () => acknowledged >= goal, { everyMs: 1 })
      running = false
      await server.kill9()
      await work
      for (const client of clients) client.terminate()
      await server.start()
      const kept = new Y.Doc()
      Y.applyUpdate(kept, await another.manager.getDocAsUpdate(id))
      let lost = null
      kept.once('update', update => {
        lost = update
      })
      Y.applyUpdate(kept, Y.encodeStateAsUpdate(saved))
      assert.equal(lost, null, `kill ${round}, seed ${seed}: something is gone that had been acknowledged, after ${acknowledged} acknowledgements`)
    }
    log(`${kills} kills, ${acknowledged} acknowledgements, nothing lost`)
  },

  async 'the client comes back after a kill, and what it wrote meanwhile with it' ({ mode, id, keep }) {
    const another = await mode.startAnother()
    const [a, b] = [await keep(another.edit(id)).connected(), await keep(another.edit(id)).connected()]
    a.type('before')
    await a.saved()
    await another.server.kill9()
    await until('the client to notice', () => a.ends.length > 0)
    a.type(', meanwhile')
    await another.server.start()
    for (const editor of [a, b]) editor.comeBack()
    await a.saved(20_000)
    await untilText(b, 'before, meanwhile')
  },

  async 'at a shutdown clients get 1001, and the end is clean' ({ mode, id, keep }) {
    const another = await mode.startAnother()
    const client = keep(await openRaw(another.server, id, await another.token(id)))
    await client.barrier()
    const ended = another.server.terminate()
    assert.equal((await client.whenClosed()).code, 1001)
    assert.equal((await ended).code, 0)
  }
}

function hexOfVersion (version) {
  let hex = ''
  for (; version > 127; version = Math.floor(version / 128)) hex += ((version % 128) + 128).toString(16)
  return hex + version.toString(16).padStart(2, '0')
}

const versionOf = bytes => bytes.reduceRight((version, byte) => version * 128 + (byte % 128), 0)
