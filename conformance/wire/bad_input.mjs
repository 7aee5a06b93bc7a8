// Statements about broken and hostile input: what the sender gets, and that the others in the room notice nothing (13.16). Run by
// scenarios/wire.mjs.

import assert from 'node:assert/strict'
import { awarenessMessage, bytesOf, syncMessage } from '../lib/raw_client.mjs'
import { read, updateOf, vector } from './vectors.mjs'

const frameBytesMax = 16 << 20
const malformedMax = 10

// Each is sent alone by a client of its own; it stays connected, gets no answer, and the document stays as it is.
const ignored = {
  'an empty frame': '',
  'an unknown message type, with a step 1 behind it': '09 01 02 00 00 01 00',
  'an unknown sync type, with a step 1 behind it': '00 07 00 00 00 01 00',
  'an auth message': '02 00 01 61',
  'an auth message that says nothing': '02',
  'the empty awareness message': '01 01 00'
}
const malformed = {
  'a truncated step 1': '00 00 05 01',
  'a truncated update': '00 02 0c 01 01 01 00 04',
  'a lone message type': '00',
  'an endless number': 'ff ff ff ff ff ff ff ff ff ff 01',
  'a length of 2^53 - 1': '00 02 ff ff ff ff ff ff ff 0f 00',
  'an update of junk': '00 02 03 ff ff ff',
  'an update that promises 2^32 clients': '00 02 06 ff ff ff ff 0f 00',
  'an update with trailing bytes': '00 02 0d 01 01 05 00 04 01 01 74 02 68 69 00 00',
  'an update with bad UTF-8': '00 02 0c 01 01 05 00 04 01 01 74 02 ff fe 00',
  'a step 2 of junk': '00 01 02 05 05',
  'a state vector that promises 2^32 entries': '00 00 06 ff ff ff ff 0f 01',
  'a truncated state vector': '00 00 02 05 01',
  'a truncated awareness update': '01 03 05 07 01',
  'an awareness update with invalid JSON': Buffer.from(awarenessMessage([{ id: 9, clock: 1, json: '{"a":1}' }, { id: 10, clock: 1, json: '{a' }])).toString('hex')
}

// content 11 in a struct that is otherwise right; 200 arrays inside each other
const refused = {
  'an unknown kind of content': '01 01 01 00 0b 01 01 74 00',
  'values nested too deeply': '01 01 01 00 08 01 01 6c 01 ' + '75 01 '.repeat(200) + '75 00 00'
}

export const statements = {
  ...Object.fromEntries(Object.entries({ ...ignored, ...malformed }).map(([what, hex]) => [
    `${what} is dropped without an answer, the connection stays, others notice nothing`,
    async ({ open }) => {
      const [member, bad] = [await open(), await open()]
      member.sendUpdate(vector('A1'))
      await bad.frame('the update', frame => frame.isUpdate)
      const from = bad.frames.length
      const seen = member.frames.length
      bad.send(bytesOf(hex))
      assert.equal(read([await bad.barrier()]).text, 'hi', 'the document changed')
      assert.equal(bad.frames.length - from, 1, `it was answered: ${bad.frames.slice(from).map(frame => frame.hex)}`)
      bad.sendUpdate(vector('A2'))
      await member.frame('a later update of the same client', frame => frame.isUpdate, { from: seen })
      assert.equal(member.frames.slice(seen).filter(frame => frame.isAwareness).length, 0, 'presence was announced')
    }
  ])),

  async 'a text frame is ignored, the connection stays' ({ open }) {
    const client = await open()
    for (let i = 0; i < 20; i++) client.socket.send('hello')
    await client.barrier()
    assert.ok(client.isOpen)
  },

  async 'after ten malformed messages the connection is closed with 4400' ({ open }) {
    const [member, bad] = [await open(), await open()]
    const messages = Object.values(malformed)
    for (let i = 0; i < malformedMax - 1; i++) bad.send(messages[i])
    await bad.barrier()
    assert.ok(bad.isOpen, 'closed too early')
    bad.send(messages[malformedMax - 1])
    assert.deepEqual(await bad.whenClosed(), { code: 4400, reason: 'malformed message' })
    await member.barrier()
  },

  async 'ignored messages do not count as malformed' ({ open }) {
    const client = await open()
    for (let i = 0; i < 5; i++) for (const hex of Object.values(ignored)) client.send(hex)
    await client.barrier()
    assert.ok(client.isOpen)
  },

  async 'a frame over 16 MiB is refused with words and 4413' ({ open }) {
    const [member, bad] = [await open(), await open()]
    bad.send(new Uint8Array(frameBytesMax + 1))
    await refusal(bad)
    await member.barrier()
  },

  async 'a message over 16 MiB in fragments is refused with words and 4413' ({ open }) {
    const bad = await open()
    const part = new Uint8Array(1 << 20)
    for (let i = 0; i < 18; i++) bad.socket.send(part, { fin: i === 17 })
    await refusal(bad)
  },

  async 'a large update below the limit is taken' ({ open }) {
    const [a, b] = [await open(), await open()]
    const large = updateOf(doc => doc.getText('t').insert(0, 'x'.repeat(8 << 20)))
    a.sendUpdate(large)
    assert.equal((await b.frame('the large update', frame => frame.isUpdate)).payload.length, large.length)
    await a.frame('its echo', frame => frame.isUpdate)
  },

  ...Object.fromEntries(Object.entries(refused).map(([what, hex]) => [
    `an update with ${what} is refused with words and 4413`,
    async ({ open }) => {
      const [member, bad] = [await open(), await open()]
      bad.send(syncMessage(2, bytesOf(hex)))
      await refusal(bad)
      assert.equal(Buffer.from(await member.barrier()).toString('hex'), '0000')
      assert.ok(!member.frames.some(frame => frame.isUpdate))
    }
  ]))
}

async function refusal (client) {
  const { reason } = await client.frame('the words', frame => frame.isDenied)
  const closed = await client.whenClosed()
  assert.deepEqual(closed, { code: 4413, reason })
  assert.ok(reason.length > 0)
}
