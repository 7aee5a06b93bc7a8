// Statements about what happens to an update: relayed once, as it came, to this room only; duplicates, parts, gaps. Run by
// scenarios/wire.mjs.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { hexOf } from '../lib/raw_client.mjs'
import { contentOf, read, vector } from './vectors.mjs'

const updates = client => client.frames.filter(frame => frame.isUpdate)

export const statements = {
  async 'each step 1 gets exactly one step 2 (13.5)' ({ open }) {
    const client = await open()
    for (let i = 0; i < 5; i++) client.sendStep1()
    client.sendUpdate(vector('A1'))
    await client.frame('the echo', frame => frame.isUpdate)
    client.sendStep1(vector('VA'))
    await client.frame('the sixth step 2', () => client.frames.filter(frame => frame.isStep2).length === 6)
    await client.barrier()
    const steps = client.frames.filter(frame => frame.isStep2).map(frame => frame.hex)
    assert.equal(steps.length, 7)
    assert.deepEqual(steps.slice(0, 6), Array(6).fill('0001020000'))
    assert.deepEqual(read([client.frames.filter(frame => frame.isStep2).at(-1).payload]), { text: 'hi', waits: false, stateVector: '010102' })
  },

  async 'an update reaches all others in the room once, as it came, and nobody else; the sender gets its echo (13.6)' ({ open, server, room }) {
    const [a, b, c] = [await open(), await open(), await open()]
    const stranger = await open(`${server.url}/${room}/other`)
    a.send(vector('F3'))
    await a.frame('the echo', frame => frame.isUpdate)
    for (const client of [a, b, c, stranger]) await client.barrier()
    for (const client of [a, b, c]) assert.deepEqual(updates(client).map(frame => frame.hex), [hexOf(vector('F3'))])
    assert.equal(updates(stranger).length, 0)
  },

  async 'the content of a step 2 is relayed as an update' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('F2'))
    assert.equal((await b.frame('the update', frame => frame.isUpdate)).hex, hexOf(vector('F3')))
    assert.equal((await a.frame('the echo', frame => frame.isUpdate)).hex, hexOf(vector('F3')))
  },

  async 'a duplicate causes no broadcast (13.7)' ({ open }) {
    const [a, b, c] = [await open(), await open(), await open()]
    a.send(vector('F3'))
    a.sendUpdate(vector('A3'))
    for (const client of [a, b, c]) await client.frame('the delete', () => updates(client).length === 2)
    for (const repeat of [vector('F3'), vector('F2')]) b.send(repeat)
    b.sendUpdate(vector('A3'))
    b.sendStep2(vector('U0'))
    a.send(vector('F3'))
    for (const client of [a, b, c]) await client.barrier()
    for (const client of [a, b, c]) await client.barrier()
    for (const client of [a, b, c]) assert.equal(updates(client).length, 2)
  },

  async 'of a partly known update only what is new is relayed' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('F3'))
    await b.frame('the first part', frame => frame.isUpdate)
    const from = b.frames.length
    a.sendStep2(vector('AF'))
    await a.barrier()
    await b.barrier()
    const relayed = b.frames.slice(from).filter(frame => frame.isUpdate).map(frame => frame.payload)
    assert.deepEqual(read([vector('A1'), ...relayed]), { text: 'i!', waits: false, stateVector: '010103' })
    for (const { id } of relayed.flatMap(update => Y.decodeUpdate(update).structs)) assert.ok(id.clock >= 2, `the known struct ${id.client}:${id.clock} was relayed`)
  },

  async 'an update that depends on a missing one waits for it; the sender is asked (13.8, vector P)' ({ open }) {
    const [a, b] = [await open(), await open()]
    await a.barrier()
    a.sendUpdate(vector('A2'))
    await a.frame('the question to the sender', () => a.frames.filter(frame => frame.isStep1).length === 2)
    await b.barrier()
    assert.equal(updates(b).length, 0, 'it was relayed although it cannot be applied')
    const c = await open()
    const waiting = await c.barrier()
    assert.equal(c.frames[0].hex, '00000100', 'the state vector counts what waits')
    assert.deepEqual(read([waiting]), { text: '', waits: true, stateVector: '00' })

    b.sendUpdate(vector('A1'))
    for (const client of [a, b, c]) {
      await client.frame('both parts', () => read(contentOf(client)).text === 'hi!')
      await client.barrier()
      const known = client === c ? [waiting] : []
      assert.deepEqual(read([...known, ...updates(client).map(frame => frame.payload)]), { text: 'hi!', waits: false, stateVector: '010103' })
    }
    // In the order in which they can be applied: nobody has to wait for anything. (The author of A1 has it already; its copy is an acknowledgement.)
    for (let i = 1; i <= updates(b).length; i++) assert.equal(read([vector('A1'), ...updates(b).slice(0, i).map(frame => frame.payload)]).waits, false)
  },

  async 'a delete may come before what it deletes' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.sendUpdate(vector('A3'))
    await a.barrier()
    b.sendUpdate(vector('A1'))
    await b.barrier()
    const c = await open()
    assert.equal(read([await c.barrier()]).text, 'i')
    for (const client of [a, b]) {
      await client.barrier()
      await client.frame('the same for members', () => read([vector('A3'), ...contentOf(client)]).text === 'i')
    }
  },

  async 'unusual client ids are kept exactly' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.sendUpdate(vector('C'))
    assert.equal(hexOf((await b.frame('the update', frame => frame.isUpdate)).payload), hexOf(vector('C')))
    const c = await open()
    assert.equal(hexOf(c.frames[0]?.payload ?? (await c.frame('the step 1', frame => frame.isStep1)).payload), hexOf(vector('CV')))
  }
}
