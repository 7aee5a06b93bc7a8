// The server is killed under load, again and again: what another device was shown is there afterwards, the same or newer, and what was deleted stays deleted unless
// somebody brought it back. Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { makeToken } from '../lib/access.mjs'
import { NotesClient, makeNote } from '../lib/notes.mjs'
import { NotesApi } from '../lib/notes_http.mjs'
import { Random } from '../lib/random.mjs'
import { breathe, until } from '../lib/until.mjs'

const rounds = 50
const deviceCount = 3
const writesMax = 90 // of a device in a round: below its burst, so that nothing is refused
const ids = Array.from({ length: 40 }, (_, i) => `k${i}`)
const allMs = 40_000 // for all rounds; a slow machine does fewer, and says how many
const roundsMin = 20
const begin = Date.UTC(2025, 0, 1)

/** What the devices were shown and have sent. Times grow with each write, so that a later one is a newer one. */
class Shown {
  constructor () {
    this.clock = 0
    this.sent = new Map() // id -> [{ms, content}], a deletion without content
    this.views = [] // of each device: id -> the last that it was shown, {ms, content}
    this.count = 0
  }

  tick () {
    return begin + ++this.clock * 1_000
  }

  send (id, ms, content) {
    this.sent.set(id, [...(this.sent.get(id) ?? []), { ms, content }])
  }

  /** What one connection is shown comes in the order in which it happened. @returns {(message: object) => void} */
  view () {
    const view = new Map()
    this.views.push(view)
    return ({ type, payload }) => {
      if (type === 'note_updated') {
        const { id, updatedAt, content } = payload.note
        view.set(id, { ms: Date.parse(updatedAt), content })
        this.count++
      } else if (type === 'note_deleted' && ids.includes(payload.noteId)) {
        view.set(payload.noteId, { ms: view.get(payload.noteId)?.ms ?? begin }) // it says no time, but is no older than what came before it
        this.count++
      }
    }
  }

  /** @param {Map<string, object>} notes @param {Map<string, number>} marks what a device finds afterwards, and may rely on from then on */
  check (notes, marks, when) {
    const found = new Map([...[...marks].map(([id, ms]) => [id, { ms }]), ...[...notes].map(([id, { updatedAt, content }]) => [id, { ms: Date.parse(updatedAt), content }])])
    for (const view of this.views) {
      for (const [id, shown] of view) {
        const wrong = this.wrongIn(id, shown, found.get(id))
        if (wrong !== undefined) throw new Error(`${when}: ${id} ${wrong}: shown ${words(shown)}, found ${words(found.get(id))}`)
      }
    }
    this.views = [found]
  }

  wrongIn (id, shown, found) {
    if (found === undefined) return 'is neither there nor deleted'
    if (found.ms < shown.ms) return 'is older'
    const sent = this.sent.get(id)
    if (found.content === undefined) return sent.some(({ content }) => content === undefined) ? undefined : 'is deleted, and nobody did it'
    if (!sent.some(({ ms, content }) => ms === found.ms && content === found.content)) return 'is what nobody has sent'
    if (shown.content === undefined) return found.ms > shown.ms ? undefined : 'is back without a newer write'
    if (found.ms === shown.ms && found.content !== shown.content) return 'has other content'
  }
}

const words = state => JSON.stringify(state)?.slice(0, 100)

export const statements = {
  async 'killed at random moments while three devices write: nothing that was shown is lost (11.6, 11.9)' ({ startServer, user, keep, seed, log }) {
    const server = await startServer()
    const token = makeToken({ userId: user })
    const random = new Random(seed)
    const shown = new Shown()
    const began = performance.now()
    let round = 0
    while (round < rounds && performance.now() - began < allMs) {
      const devices = await Promise.all(Array.from({ length: deviceCount }, () => NotesClient.open(server, { token })))
      for (const device of devices) {
        keep(device)
        await device.barrier()
        device.onmessage = shown.view()
      }
      const goal = shown.count + random.between(1, 150)
      let running = true
      const work = Promise.all(devices.map(async device => {
        const lots = new Random(random.word())
        for (let writes = 0; running && device.isOpen && writes < writesMax; writes++) {
          const [id, ms] = [lots.pick(ids), shown.tick()]
          const content = lots.chance(0.2) ? undefined : `${ms}${lots.chance(0.05) ? 'x'.repeat(20_000) : ''}`
          shown.send(id, ms, content)
          const time = new Date(ms).toISOString()
          if (content === undefined) device.remove(id, time)
          else device.update(makeNote({ id, content, updatedAt: time }))
          await breathe()
        }
      }))
      await until('the devices to be shown what others write', () => shown.count >= goal || devices.some(({ closed }) => closed !== null), { everyMs: 1 })
      for (const device of devices) assert.deepEqual([device.closed, device.errors, device.problems], [null, [], []])
      running = false
      await server.kill9()
      await work
      await Promise.all(devices.map(device => device.whenClosed()))
      await server.start()
      const late = await keep(await NotesClient.open(server, { token })).barrier()
      const { notes, deleted } = await new NotesApi(server, { token }).changes()
      const marks = new Map(deleted.map(({ noteId, deletedAt }) => [noteId, Date.parse(deletedAt)]))
      const when = `kill ${++round}, seed ${seed}`
      assert.deepEqual([...late.notes.keys()].sort(), notes.map(({ id }) => id).sort(), when)
      shown.check(late.notes, marks, when)
      late.terminate()
    }
    const ms = performance.now() - began
    assert.ok(round >= roundsMin, `only ${round} kills in ${(ms / 1_000).toFixed(0)} s`)
    log(`${round} kills in ${(ms / 1_000).toFixed(0)} s, ${shown.clock} writes, ${shown.count} messages shown to other devices, none lost`)
  }
}
