// Statements about awareness: who sees whom, and that the departed stay away. Run by scenarios/wire.mjs.

import assert from 'node:assert/strict'
import { awarenessMessage, hexOf } from '../lib/raw_client.mjs'
import { vector } from './vectors.mjs'

const presence = client => client.frames.filter(frame => frame.isAwareness)
const settle = async (...clients) => { for (const client of [...clients, ...clients]) await client.barrier() }
const state = (id, clock, json) => awarenessMessage([{ id, clock, json }])

export const statements = {
  async 'a never seen client at clock 0 is not announced, its first change is, to the sender too (13.11)' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('W0'))
    await settle(a, b)
    assert.equal(presence(a).length + presence(b).length, 0)
    a.send(vector('W1'))
    for (const client of [a, b]) await client.frame('the presence', frame => frame.isAwareness)
    await settle(a, b)
    for (const client of [a, b]) assert.deepEqual(presence(client).map(frame => frame.hex), [hexOf(vector('W1'))])
  },

  async 'on a close frame the others get the null at once (13.9)' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('W1'))
    await b.frame('the presence', frame => frame.isAwareness)
    a.close()
    assert.equal((await b.frame('the null', () => presence(b).length === 2, { ms: 2000 })) && presence(b)[1].hex, hexOf(vector('W2')))
  },

  async 'on a broken connection the others get the null for all its ids' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('W4'))
    await b.frame('the presence', frame => frame.isAwareness)
    a.terminate()
    await b.frame('the null', () => presence(b).length === 2)
    assert.deepEqual(presence(b)[1].awareness.sort((x, y) => x.id - y.id), [{ id: 7, clock: 1, state: null }, { id: 300, clock: 1, state: null }])
  },

  async 'a copy that another client re-sends never brings a departed client back (13.10)' ({ open }) {
    const [a, b, c] = [await open(), await open(), await open()]
    a.send(vector('W1'))
    await b.frame('the presence', frame => frame.isAwareness)
    b.send(vector('W1'))
    a.close()
    await b.frame('the null', frame => frame.hex === hexOf(vector('W2')))
    b.send(vector('W1'))
    b.send(vector('W2'))
    await settle(b, c)
    assert.deepEqual(presence(c).map(frame => frame.hex), [hexOf(vector('W1')), hexOf(vector('W2'))])
    const late = await open()
    await late.barrier()
    assert.equal(presence(late).filter(frame => frame.awareness.some(entry => entry.state !== null)).length, 0)
  },

  async 'a client cannot remove another one' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('W1'))
    await b.frame('the presence', frame => frame.isAwareness)
    b.send(vector('W2'))
    await settle(b, a)
    assert.equal(presence(a).length, 1)
    a.send(state(7, 2, '{"user":1}'))
    await b.frame('a later change', () => presence(b).length === 2)
  },

  async 'a client may remove itself at an unchanged clock, and come back with a higher one' ({ open }) {
    const [a, b] = [await open(), await open()]
    const seen = () => presence(b).flatMap(frame => frame.awareness).map(({ clock, state }) => [clock, state])
    // One after the other: what changes within a few milliseconds may be told as what it has become.
    const steps = [[vector('W1'), [1, { user: { name: 'Ann' } }]], [vector('W2'), [1, null]], [state(7, 2, '{"back":1}'), [2, { back: 1 }]]]
    for (const [place, [message]] of steps.entries()) {
      a.send(message)
      await b.frame(`state ${place + 1}`, () => seen().length > place)
    }
    assert.deepEqual(seen(), steps.map(([, told]) => told))
  },

  async 'states are relayed as the bytes received' ({ open }) {
    const [a, b] = [await open(), await open()]
    const odd = state(7, 1, '{ "a" : 1.0, "a":2, "e":"\\u00e9" }')
    a.send(odd)
    assert.equal((await b.frame('the presence', frame => frame.isAwareness)).hex, hexOf(odd))
  },

  async 'a query is answered with all states, on that connection' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('W4'))
    await settle(a, b)
    const from = [a.frames.length, b.frames.length]
    a.send(vector('Q'))
    const { awareness } = await a.frame('the answer', frame => frame.isAwareness, { from: from[0] })
    assert.deepEqual(awareness.map(({ id }) => id).sort((x, y) => x - y), [7, 300])
    await settle(a, b)
    assert.equal(b.frames.slice(from[1]).filter(frame => frame.isAwareness).length, 0)
  },

  async 'known copies are never malformed, whatever their JSON says' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('W1'))
    await b.frame('the presence', frame => frame.isAwareness)
    for (let i = 0; i < 12; i++) b.send(state(7, 1, '{not json'))
    await settle(b, a)
    assert.equal(presence(a).length, 1)
    assert.ok(b.isOpen)
  },

  async 'a state of more than 64 KiB is left out, its neighbours are not' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(awarenessMessage([{ id: 20, clock: 1, json: JSON.stringify({ x: 'x'.repeat(65_600) }) }, { id: 21, clock: 1, json: '{"n":1}' }]))
    assert.deepEqual((await b.frame('the presence', frame => frame.isAwareness)).awareness, [{ id: 21, clock: 1, state: { n: 1 } }])
  },

  async 'one connection owns at most 16 ids' ({ open }) {
    const a = await open()
    for (let id = 1; id <= 20; id++) a.send(state(id, 1, '{}'))
    await a.barrier()
    const late = await open()
    await late.barrier()
    assert.ok(presence(late)[0].awareness.length <= 16, `there are ${presence(late)[0].awareness.length}`)
  }
}
