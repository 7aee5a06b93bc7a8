// Several devices and writers over REST on one notebook, at random: one after the other against a model, with restarts and kills in between, and all at the same
// time. Run by scenarios/notes.mjs; a failure prints the seed.

import assert from 'node:assert/strict'
import { makeToken } from '../lib/access.mjs'
import { NotesClient, at, makeNote } from '../lib/notes.mjs'
import { NotesApi } from '../lib/notes_http.mjs'
import { NotebookModel } from '../lib/notes_model.mjs'
import { Random } from '../lib/random.mjs'
import { until } from '../lib/until.mjs'
import { isReplayOf } from './joining.mjs'

const steps = 600
const restartEvery = 200
const deviceCount = 6
const messagesMax = 90 // of a device, before it connects anew: below its burst
const ids = Array.from({ length: 12 }, (_, i) => `n${i}`)
const kinds = { update: 10, duplicate: 1, remove: 3, put: 4, delete: 1, restore: 1 }
const volleys = 12
const volley = 12 // writes of each device at once

/** A few times only, so that many are equal; some written in another time zone. */
function someTime (random, span) {
  const time = at(random.below(span))
  return random.chance(0.2) ? new Date(Date.parse(time) + 7_200_000).toISOString().replace('Z', '+02:00') : time
}

/** A time shortly before, at or after what the notebook has for this id: whoever comes next may win or lose. */
function timeNear (random, model, id) {
  const known = model.notes.has(id) ? Date.parse(model.notes.get(id).updatedAt) : model.marks.get(id) ?? Date.parse(at(0))
  const time = new Date(known + random.pick([-2, -1, 0, 0, 1, 2, 3]) * 60_000)
  return random.chance(0.2) ? new Date(time.getTime() + 7_200_000).toISOString().replace('Z', '+02:00') : time.toISOString()
}

class Devices {
  constructor ({ server, user, keep }) {
    Object.assign(this, { server, keep, token: makeToken({ userId: user }) })
    this.api = new NotesApi(server, { token: this.token })
    this.clients = []
    this.sent = []
    this.expected = [] // what each must be told on its connection, after the replay
  }

  async connect (i, model) {
    this.clients[i]?.terminate()
    const client = this.keep(new NotesClient(this.server, { token: this.token }))
    await client.some('a first message', () => true)
    await client.barrier()
    if (model !== undefined) isReplayOfModel(client, model)
    this.clients[i] = client
    this.sent[i] = 0
    this.expected[i] = client.events.map(said)
    return client
  }

  async connectAll (model) {
    for (let i = 0; i < deviceCount; i++) await this.connect(i, model)
  }

  /** All have been told exactly what they must be. */
  async check (when) {
    for (const [i, client] of this.clients.entries()) {
      await until(() => `${when}: message ${this.expected[i].length} at device ${i}, which was told ${client.events.length}`, () => client.events.length >= this.expected[i].length)
      const told = client.events.map(said)
      const at = told.findIndex((message, n) => message !== this.expected[i][n])
      assert.equal(told[at], this.expected[i][at], `${when}: message ${at} of device ${i} is ${told[at]} and not ${this.expected[i][at]}`)
      assert.deepEqual(client.problems, [])
    }
  }

  tell (message, except) {
    for (const i of this.clients.keys()) if (i !== except) this.expected[i].push(message)
  }
}

const said = ({ type, payload }) => payload.note === undefined ? JSON.stringify([type, payload.reason ?? payload.noteId]) : saidNote(payload.note)
const saidNote = note => JSON.stringify(['note_updated', Object.entries(note).sort()])
const saidDeletion = id => JSON.stringify(['note_deleted', id])

function isReplayOfModel (client, model) {
  const byTime = [...model.notes.values()].sort((x, y) => Date.parse(x.updatedAt) - Date.parse(y.updatedAt))
  const told = client.of('note_updated').map(({ payload }) => payload.note)
  assert.deepEqual(told.map(({ updatedAt }) => Date.parse(updatedAt)), byTime.map(({ updatedAt }) => Date.parse(updatedAt)), 'the order of the replay')
  assert.deepEqual(told.map(note => [note.id, note]).sort(), [...model.notes].sort(), 'the notes of the replay')
  assert.deepEqual(client.of('note_deleted').map(({ payload }) => payload.noteId).sort(), [...model.marks.keys()].sort(), 'the marks of the replay')
}

/** @param {NotebookModel} model */
async function isStateOf (api, model) {
  const { notes, deleted } = await api.changes()
  assert.deepEqual(notes.map(note => [note.id, note]).sort(), [...model.notes].map(([id, note]) => [id, { ...note, deletedAt: null }]).sort())
  assert.deepEqual(deleted.map(({ noteId, deletedAt }) => [noteId, Date.parse(deletedAt)]).sort(), [...model.marks].sort())
}

export const statements = {
  async 'devices and REST, one write after the other, are told what the model says, through restarts and kills (5, 7, 11.14)' ({ startServer, user, keep, seed, log }) {
    const server = await startServer()
    const random = new Random(seed)
    const model = new NotebookModel()
    const devices = new Devices({ server, user, keep })
    await devices.connectAll(model)
    const counts = { others: 0, sender: 0, nobody: 0 }
    try {
      for (let step = 0; step < steps; step++) {
        counts[await act(random.weighted(kinds), { random, model, devices, step })]++
        if (step % restartEvery === restartEvery - 1) {
          await devices.check(`step ${step}`)
          if (random.chance(0.5)) await server.kill9()
          else await server.terminate()
          await server.start()
          await isStateOf(devices.api, model)
          await devices.connectAll(model)
        }
      }
      await devices.check('the end')
      await isStateOf(devices.api, model)
      await isReplayOf(await devices.connect(0, model), devices.api)
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`
      throw error
    }
    log(`${steps} writes, ${steps / restartEvery} restarts: ${counts.others} accepted, ${counts.sender} refused, ${counts.nobody} without effect; seed ${seed}`)
  },

  async 'devices and REST at the same time: the newest wins everywhere, and all are equal (5, 11.14)' ({ startServer, user, keep, seed, log }) {
    const server = await startServer()
    const random = new Random(seed + 1)
    const devices = new Devices({ server, user, keep })
    const newest = new Map() // id -> the latest time that anybody sent
    let writes = 0
    try {
      await devices.connectAll()
      const own = devices.clients.map(() => new Map()) // what each device has: its own writes, and what it was told
      const take = (i, note) => {
        const have = own[i].get(note.id)
        if (have === undefined || Date.parse(note.updatedAt) >= Date.parse(have.updatedAt)) own[i].set(note.id, note)
      }
      const listen = i => {
        devices.clients[i].onmessage = ({ type, payload }) => { if (type === 'note_updated') take(i, payload.note) }
      }
      for (const i of devices.clients.keys()) listen(i)
      for (let round = 0; round < volleys; round++) {
        const calls = []
        for (let n = 0; n < volley; n++) {
          for (const [i, client] of devices.clients.entries()) {
            const note = makeNote({ id: random.pick(ids), updatedAt: someTime(random, 60), content: `${round}.${n} of ${i}` })
            newest.set(note.id, Math.max(newest.get(note.id) ?? 0, Date.parse(note.updatedAt)))
            writes++
            if (random.chance(0.2)) {
              calls.push(devices.api.put(note).then(({ status }) => assert.ok(status === 200 || status === 409, `PUT: ${status}`)))
            } else {
              take(i, note)
              client.update(note)
              devices.sent[i]++
            }
          }
        }
        await Promise.all(calls)
        for (const client of devices.clients) await client.barrier()
        const { notes } = await devices.api.changes()
        const truth = notes.map(({ id, content }) => [id, content]).sort()
        assert.deepEqual(notes.map(({ id, updatedAt }) => [id, Date.parse(updatedAt)]).sort(), [...newest].sort(), 'the newest has won')
        for (const [i, map] of own.entries()) {
          assert.deepEqual([...map.values()].map(({ id, content }) => [id, content]).sort(), truth, `round ${round}: what device ${i} has`)
          assert.deepEqual(devices.clients[i].errors, [])
          if (devices.sent[i] + 2 * volley < messagesMax) continue
          await devices.connect(i)
          own[i] = new Map(devices.clients[i].notes)
          listen(i)
        }
      }
      await isReplayOf(await devices.connect(0), devices.api)
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`
      throw error
    }
    log(`${writes} writes of ${deviceCount} devices at the same time: all equal; seed ${seed}`)
  },

  async 'deletions and edits at the same time: whatever came first, all are told the same afterwards (5, 11.9, 11.14)' ({ startServer, user, keep, seed }) {
    const server = await startServer()
    const random = new Random(seed + 2)
    const devices = new Devices({ server, user, keep })
    try {
      await devices.connectAll()
      for (let n = 0; n < 40; n++) {
        for (const client of devices.clients) {
          const id = random.pick(ids)
          if (random.chance(0.3)) client.remove(id, at(random.below(60)))
          else client.update(makeNote({ id, updatedAt: someTime(random, 60) }))
        }
      }
      for (const client of devices.clients) await client.barrier()
      const { notes, deleted } = await devices.api.changes()
      assert.equal(new Set([...notes.map(({ id }) => id), ...deleted.map(({ noteId }) => noteId)]).size, notes.length + deleted.length, 'a note is there or deleted')
      for (let i = 0; i < 2; i++) {
        const late = await devices.connect(i)
        await isReplayOf(late, devices.api)
      }
      for (const { noteId, deletedAt } of deleted) {
        const late = devices.clients[0]
        const from = late.received.length
        late.update(makeNote({ id: noteId, updatedAt: deletedAt }))
        await late.deleted(noteId, { from })
      }
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`
      throw error
    }
  }
}

/** One write at a random device or over REST, and what follows in the model. @returns {Promise<'others'|'sender'|'nobody'>} who was told */
async function act (kind, { random, model, devices, step }) {
  const { api, clients } = devices
  const i = random.below(deviceCount)
  if (devices.sent[i] + 3 > messagesMax) {
    await devices.check(`step ${step}`)
    await devices.connect(i, model)
  }
  const client = clients[i]
  const id = random.pick(ids)
  const fresh = () => makeNote({ id, updatedAt: timeNear(random, model, id), content: `step ${step}`, extra: random.below(3) })
  const from = client.received.length
  switch (kind) {
    case 'update':
    case 'duplicate': {
      const stored = model.notes.get(id)
      const note = kind === 'duplicate' && stored !== undefined ? stored : fresh()
      const outcome = model.update(note)
      devices.sent[i]++
      client.update(note)
      if (outcome.told === 'others') {
        devices.tell(saidNote(outcome.note), i)
      } else if (outcome.told === 'sender') {
        devices.expected[i].push(outcome.note === undefined ? saidDeletion(id) : saidNote(outcome.note))
        await client.some(`the truth about ${id}`, ({ payload }) => (payload.noteId ?? payload.note?.id) === id, { from })
        return 'sender'
      }
      await settle(devices, i)
      return outcome.told
    }
    case 'remove': {
      const time = timeNear(random, model, id)
      const isTold = model.remove(id, Date.parse(time))
      if (isTold) devices.tell(saidDeletion(id), i)
      devices.sent[i]++
      client.remove(id, time)
      await settle(devices, i)
      return isTold ? 'others' : 'nobody'
    }
    case 'put': {
      const note = fresh()
      const { told, note: stored } = model.update(note)
      const { status, json } = random.chance(0.5) ? await api.put(note) : await api.post(note)
      if (told === 'sender') {
        assert.equal(status, 409)
        if (stored !== undefined) assert.deepEqual(json.note, { ...stored, deletedAt: null })
      } else {
        assert.deepEqual([status, json], [200, { ...model.notes.get(id), deletedAt: null }])
        if (told === 'others') devices.tell(saidNote(stored))
      }
      return told
    }
    case 'delete': {
      const { status, json } = await api.remove(id)
      const isThere = model.notes.has(id)
      assert.equal(status, isThere ? 200 : 404)
      if (!isThere) return 'nobody'
      model.remove(id, Date.parse(json.deletedAt))
      assert.equal(model.marks.get(id), Date.parse(json.deletedAt))
      devices.tell(saidDeletion(id))
      return 'others'
    }
    case 'restore': {
      if (model.notes.has(id)) return 'nobody' // what a restore of a live note does is open
      const { status, json } = await api.restore(id)
      const back = model.restore(id, json.note?.updatedAt)
      assert.equal(status, back === null ? 404 : 200)
      if (back === null) return 'nobody'
      assert.deepEqual(json.note, { ...back, deletedAt: null })
      devices.tell(saidNote(back))
      return 'others'
    }
  }
}

/** The server has dealt with all that this device has sent, so the next writer comes after it. */
async function settle (devices, i) {
  devices.sent[i] += devices.clients[i].hasMark ? 1 : 2
  await devices.clients[i].barrier()
}
