// Statements about the order of messages on one connection, byte by byte: acceptance, the two answers to a step 1, the status of what was sent, the echo.
// Run by scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { accepted, areExactly, auth, awareness, broken, closed, leave, list, message, notSaved, question, refused, saved, stateless, step1, step2, types, update } from '../lib/hocuspocus_client.mjs'
import { bytesOf, hexOf } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { read, vector } from '../wire/vectors.mjs'

// What the recordings say, and how the statements write the same.
const recorded = [
  ['03 64 6f 63 02 00 03 74 6f 6b 05 34 2e 38 2e 30', auth('doc', 'tok', '4.8.0')],
  ['03 64 6f 63 02 00 03 74 6f 6b', auth('doc', 'tok', null)],
  ['03 64 6f 63 00 00 01 00', step1('doc')],
  ['03 64 6f 63 01 06 01 01 00 02 7b 7d', awareness('doc', { id: 1, clock: 0, json: '{}' })],
  ['03 64 6f 63 02 02 0a 72 65 61 64 2d 77 72 69 74 65', accepted('doc')],
  ['03 64 6f 63 00 01 02 00 00', step2('doc')],
  ['03 64 6f 63 08 01', saved('doc')],
  ['04 64 6f 63 33 02 01 11 70 65 72 6d 69 73 73 69 6f 6e 2d 64 65 6e 69 65 64', refused('doc3')],
  ['04 64 6f 63 32 02 02 08 72 65 61 64 6f 6e 6c 79', accepted('doc2', 'readonly')],
  ['03 64 6f 63 02 00', question('doc')],
  ['04 64 6f 63 32 08 00', notSaved('doc2')],
  ['04 64 6f 63 32 01 08 01 02 01 04 6e 75 6c 6c', awareness('doc2', { id: 2, clock: 1, json: 'null' })],
  ['04 64 6f 63 32 07', leave('doc2')],
  ['04 64 6f 63 32 07 12 70 72 6f 76 69 64 65 72 5f 69 6e 69 74 69 61 74 65 64', closed('doc2', 'provider_initiated')],
  ['03 64 6f 63 07 10 52 65 73 65 74 20 43 6f 6e 6e 65 63 74 69 6f 6e', closed('doc', 'Reset Connection')],
  ['03 64 6f 63 00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00', update('doc', vector('A1'))],
  ['03 64 6f 63 00 00 03 01 01 02', step1('doc', vector('VA'))],
  ['03 64 6f 63 05 01 78', stateless('doc', 'x')],
  ['03 64 6f 63 01 01 00', awareness('doc')],
  ['09 64 6f 63 00 73 65 73 73 31 02 00 03 74 6f 6b 05 34 2e 38 2e 30', auth('doc\0sess1', 'tok', '4.8.0')],
  ['09 64 6f 63 00 73 65 73 73 31 02 02 0a 72 65 61 64 2d 77 72 69 74 65', accepted('doc\0sess1')],
  ['04 64 6f 63 32 02 00 02 72 6f 05 34 2e 38 2e 30', auth('doc2', 'ro', '4.8.0')],
  ['00 02 00 00', auth('', '', null)],
  ['01 61 06 01 78', message('a', types.broadcastStateless, 'x')],
  ['01 61 00 09', broken('a', '00 09')]
]

// What the server says to it, in each version.
const handshake = ['03 64 6f 63 02 02 0a 72 65 61 64 2d 77 72 69 74 65', '03 64 6f 63 00 00 01 00', '03 64 6f 63 00 01 02 00 00', '03 64 6f 63 08 01']

export const statements = {
  async 'the messages of these statements are byte by byte those that were recorded' () {
    for (const [hex, written] of recorded) assert.equal(hexOf(written), hex.replaceAll(' ', ''))
  },

  async 'the recorded exchange of each version gets the recorded answers, and then A1 and a forced sync theirs' ({ open }) {
    for (const authentication of ['03 64 6f 63 02 00 03 74 6f 6b 05 34 2e 38 2e 30', '03 64 6f 63 02 00 03 74 6f 6b']) {
      const client = await open()
      for (const hex of [authentication, '03 64 6f 63 00 00 01 00', '03 64 6f 63 01 06 01 01 00 02 7b 7d']) client.send(hex)
      await client.message('the step 2', one => one.isStep2)
      client.send('03 64 6f 63 00 01 02 00 00')
      await client.message('the status', one => one.isSaved)
      await client.barrier('doc')
      areExactly(client.messages.slice(0, 4), handshake, 'the recorded exchange')
      assert.equal(client.messages.length, 6, `the recorded exchange, then two answers to a step 1, but there came ${list(client.messages)}`)
      client.send('03 64 6f 63 07')
      await client.message('the end of the document', one => one.hex === hexOf(closed('doc', 'provider_initiated')))
    }
    const client = await open()
    await client.enter('doc')
    client.send('03 64 6f 63 00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00')
    await client.message('the echo', one => one.hex === '03646f6300020c010101000401017402686900')
    await client.message('the status', one => one.hex === '03646f630801')
    const from = client.messages.length
    client.send('03 64 6f 63 00 00 03 01 01 02')
    await client.message('the step 2 for {1:2}', one => one.isStep2, { from })
    areExactly(client.messages.slice(from), ['03646f63000003010102', '03646f630001020000'], 'the answers to a step 1 with {1:2}')
  },

  async 'nothing is said before an auth message, and for no address but the accepted one (13.10)' ({ enter, open, room }) {
    const member = await enter()
    member.send(update(room, vector('A1')))
    member.send(awareness(room, { id: 7, clock: 1, json: '{"n":1}' }))
    await member.message('the status', one => one.isSaved)
    const client = await open()
    for (const one of [step1(room), awareness(room, { id: 8, clock: 1, json: '{"n":2}' }), message(room, types.queryAwareness), step2(room), update(room, vector('B'))]) client.send(one)
    await client.enter(`${room}/other`)
    await client.barrier(`${room}/other`)
    member.send(update(room, vector('A2')))
    await member.message('the second status', () => member.messages.filter(one => one.isSaved).length === 2)
    await client.barrier(`${room}/other`)
    assert.equal(client.to(room).length, 0, `before its auth message an address was sent ${list(client.to(room))}`)
    assert.deepEqual(member.to(room).filter(one => one.isAwareness).flatMap(one => one.awareness).map(({ id }) => id), [7], 'what was queued had an effect')
  },

  async 'on acceptance: accepted, all presence in one message, and then what was queued, in order' ({ enter, open, room }) {
    const member = await enter()
    member.send(update(room, vector('A1')))
    member.send(awareness(room, { id: 7, clock: 1, json: '{"n":1}' }, { id: 300, clock: 1, json: '{"n":2}' }))
    await member.message('the presence', one => one.isAwareness)
    const client = await open()
    client.send(step1(room, vector('VA')))
    client.send(update(room, vector('A2')))
    client.send(step1(room, vector('VA')))
    client.send(auth(room, '', null))
    await client.message('the second step 2', () => client.messages.filter(one => one.isStep2).length === 2)
    const [first, second, ...others] = client.messages
    areExactly([first], [accepted(room)], 'the first message')
    assert.ok(second.isAwareness, `after the acceptance all presence was expected, and there came ${second}`)
    assert.deepEqual(second.awareness.sort((a, b) => a.id - b.id), [{ id: 7, clock: 1, state: { n: 1 } }, { id: 300, clock: 1, state: { n: 2 } }])
    const steps = others.filter(one => one.isStep1 || one.isStep2)
    assert.deepEqual(steps.map(one => one.isStep1 ? 1 : 2), [1, 2, 1, 2], `each step 1 gets two answers; there came ${list(others)}`)
    assert.equal(hexOf(steps[1].payload), '0000', 'the first step 2 was asked for before the queued update')
    assert.equal(read([vector('A1'), steps[3].payload]).text, 'hi!', 'the second step 2 was asked for after it')
    assert.equal(hexOf(steps[2].payload), '010103')
  },

  async 'without presence there is no awareness message on acceptance' ({ enter, room }) {
    const client = await enter()
    await client.barrier(room)
    areExactly(client.messages, [accepted(room), step1(room), step2(room)], 'what the client gets')
  },

  async 'each step 1 is answered with a step 1 and a step 2 (rule 4)' ({ enter, room }) {
    const client = await enter()
    for (let i = 0; i < 5; i++) client.send(step1(room))
    await client.message('five step 2s', () => client.messages.filter(one => one.isStep2).length === 5)
    await client.barrier(room)
    areExactly(client.messages.slice(1), Array(6).fill([step1(room), step2(room)]).flat(), 'the answers to six step 1s')
  },

  async 'a SyncReply with a step 1 gets a step 2 only; with an update it counts as one' ({ enter, room }) {
    const [client, witness] = [await enter(), await enter()]
    client.send(message(room, types.syncReply, 0, vector('V0')))
    await client.message('the step 2', one => one.isStep2)
    client.send(message(room, types.syncReply, 2, vector('A1')))
    await client.message('the status', one => one.isSaved)
    assert.equal(client.messages.filter(one => one.isStep1).length, 0, `a SyncReply was answered with a step 1: ${list(client.messages)}`)
    client.send(message(room, types.syncReply, 1, vector('U0')))
    await client.message('the second status', () => client.messages.filter(one => one.isSaved).length === 2)
    await witness.next(room, 'the update', one => one.hex === hexOf(update(room, vector('A1'))), { from: 0 })
  },

  async 'each update and step 2 gets one status, a repeated one and an empty one too (rule 5)' ({ enter, room }) {
    const client = await enter()
    const sent = [update(room, vector('A1')), update(room, vector('A1')), step2(room), step2(room, vector('A1')), step2(room, vector('A3')), update(room, vector('A2')), update(room, vector('U0'))]
    for (const one of sent) client.send(one)
    const statuses = () => client.messages.filter(one => one.type === types.syncStatus)
    await until(() => `${sent.length} statuses; received ${list(client.messages)}`, () => statuses().length === sent.length, { ms: 10_000 })
    await client.barrier(room)
    await client.barrier(room)
    areExactly(statuses(), sent.map(() => saved(room)), 'the statuses')
  },

  async 'an update reaches every connection of the document once, the sender too, and no other document (rule 6)' ({ enter, room }) {
    const [a, b] = [await enter(), await enter(room, { version: null })]
    const stranger = await enter(`${room}/other`)
    a.send(update(room, vector('A1')))
    b.send(step2(room, vector('B')))
    const updates = client => client.messages.filter(one => one.isUpdate).map(({ hex }) => hex).sort()
    const expected = [update(room, vector('A1')), update(room, vector('B'))].map(hexOf).sort()
    for (const client of [a, b]) await client.message('both updates', () => updates(client).length >= 2)
    await a.barrier(room)
    await b.barrier(room)
    await stranger.barrier(`${room}/other`)
    for (const client of [a, b]) assert.deepEqual(updates(client), expected)
    assert.equal(updates(stranger).length, 0)
  },

  async 'a repeated update is told to nobody' ({ enter, room }) {
    const [a, b] = [await enter(), await enter()]
    a.send(update(room, vector('A1')))
    await b.message('the update', one => one.isUpdate)
    for (const one of [update(room, vector('A1')), step2(room, vector('A1')), step2(room)]) b.send(one)
    await b.message('three statuses', () => b.messages.filter(one => one.isSaved).length === 3)
    for (const client of [a, b]) await client.barrier(room)
    for (const client of [a, b]) assert.equal(client.messages.filter(one => one.isUpdate).length, 1)
  },

  async 'what came too early waits, and is told when it can be applied' ({ enter, room }) {
    const [a, b] = [await enter(), await enter()]
    a.send(update(room, vector('A2')))
    await a.barrier(room)
    await b.barrier(room)
    assert.equal(b.messages.filter(one => one.isUpdate).length, 0, 'it was relayed although it cannot be applied')
    b.send(update(room, vector('A1')))
    const content = client => client.messages.filter(one => one.isUpdate || one.isStep2).map(({ payload }) => payload)
    for (const client of [a, b]) await client.message('both parts', () => read(content(client)).text === 'hi!')
  },

  async 'each message from the server is one binary frame with one message' ({ enter, room }) {
    const [a, b] = [await enter(), await enter()]
    a.send(update(room, vector('A1')))
    a.send(awareness(room, { id: 7, clock: 1, json: '{"n":1}' }))
    a.send(stateless(room, 'x'))
    a.send(message(room, types.queryAwareness))
    await a.message('the status', one => one.isSaved)
    await b.message('the application message', one => one.isStateless)
    await b.message('the presence', one => one.isAwareness)
    for (const one of [...a.messages, ...b.messages]) {
      assert.ok(one.isBinary, `a text frame: ${one}`)
      assert.ok(!one.unreadable && one.trailing === 0, `not exactly one message: ${one}`)
    }
  },

  async 'more bytes behind a complete message are ignored' ({ enter, room }) {
    const client = await enter()
    const more = one => Uint8Array.from([...one, ...bytesOf('63 00 00 ff 01 02')])
    client.send(more(step1(room)))
    await client.message('the step 2', one => one.isStep2)
    client.send(more(update(room, vector('A1'))))
    await client.message('the status', one => one.isSaved)
    client.send(more(awareness(room, { id: 7, clock: 1, json: '{"n":1}' })))
    await client.message('the presence', one => one.isAwareness)
    assert.equal(read([await client.barrier(room)]).text, 'hi')
  }
}
