// The server is killed at random moments under load, 30 times. After each, a joining client gets everything that another member had
// received or whose echo its author had seen.

import * as Y from 'yjs'
import { Random } from '../lib/random.mjs'
import { RawClient } from '../lib/raw_client.mjs'
import { breathe, until } from '../lib/until.mjs'
import { Witness } from '../lib/witness.mjs'

export const name = 'kill-9'
export const seconds = 120
export const needsBinary = true

const rounds = 30
const rooms = ['kill-9/a', 'kill-9/b', 'kill-9/c']
const writersPerRoom = 3
const unansweredMax = 40

export async function run ({ server: startServer, seed, log }) {
  const random = new Random(seed)
  const server = await startServer()
  const witnesses = rooms.map(() => new Witness())
  let shown = 0
  for (let round = 0; round < rounds; round++) {
    const clients = []
    let running = true
    const work = rooms.map(async (room, i) => {
      const join = async () => {
        const client = await RawClient.open(`${server.url}/${room}`)
        witnesses[i].watch(client)
        clients.push(client)
        return client
      }
      await join()
      const writers = await Promise.all(Array.from({ length: writersPerRoom }, join))
      await Promise.all(writers.map(client => write(client, new Random(random.word()), () => running)))
    })
    const count = () => witnesses.reduce((sum, witness) => sum + witness.shown, 0)
    const target = count() + random.between(1, 2000)
    // A connection that the kill interrupts is part of the test; whoever fails before it is not.
    const failed = Promise.all(work).then(() => null, error => running ? error : null)
    await Promise.race([until('the clients to be shown content', () => count() >= target, { everyMs: 1 }), failed.then(error => { if (error) throw error })])
    running = false
    await server.kill9()
    await failed
    await Promise.all(clients.map(client => client.whenClosed()))
    shown = count()
    await server.start()
    await Promise.all(rooms.map((room, i) => witnesses[i].check(`${server.url}/${room}`, `round ${round}, ${room}`)))
  }
  log(`${rounds} kills, ${shown} content frames shown to clients, none lost`)
}

/** Loads the room, then types and deletes until told to stop. */
async function write (client, random, running) {
  const doc = new Y.Doc()
  doc.clientID = random.word()
  Y.applyUpdate(doc, await client.barrier())
  const text = doc.getText('t')
  const map = doc.getMap('m')
  const unanswered = new Set()
  doc.on('update', (update, origin) => {
    if (origin === client || !client.isOpen) return
    unanswered.add(Buffer.from(update).toString('hex'))
    client.sendUpdate(update)
  })
  const next = client.onframe
  client.onframe = frame => {
    next(frame)
    if (!frame.isUpdate) return
    if (!unanswered.delete(Buffer.from(frame.payload).toString('hex'))) Y.applyUpdate(doc, frame.payload, client)
  }
  while (running() && client.isOpen) {
    if (unanswered.size < unansweredMax) {
      const at = random.below(text.length + 1)
      if (random.chance(0.2) && at < text.length) text.delete(at, 1)
      else if (random.chance(0.1)) map.set(String(doc.clientID), random.word())
      else text.insert(at, random.chance(0.02) ? 'x'.repeat(5000) : random.pick(['a', 'bc', ' ']))
    }
    await breathe()
  }
}
