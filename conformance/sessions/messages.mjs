// Statements about messages: who is told what, in which order, and what bad input does. Run by scenarios/sessions.mjs.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { randomBytes } from 'node:crypto'
import * as Y from 'yjs'
import { askUpgrade } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { SessionsClient, sessionUrl } from '../lib/sessions.mjs'
import { pause, until } from '../lib/until.mjs'
import { read, updateOf, vector } from '../wire/vectors.mjs'

const textBytesMax = 1 << 20
const binaryBytesMax = 16 << 20
const applicationBytesMax = 64 << 10
const stateBytesMax = 16 << 10
const errorsMax = 20
const burst = 200
const sessionsMax = 1_000

let users = 0
/** A session of this user; without one, of a user of its own, because rates are counted by user. */
const join = async ({ server, id, keep }, user = `user-${users++}`, more = {}) =>
  keep(await SessionsClient.open(server, id, { user_id: user, user_name: user.toUpperCase(), ...more }))

const base64 = bytes => Buffer.from(bytes).toString('base64')
const types = client => client.frames.map(frame => frame.message?.type ?? 'binary')
const isType = type => message => message.type === type

const invalidAwareness = {
  'a number as user': { user: 7 },
  'a number as name': { user: { name: 7 } },
  'a list as user': { user: [] },
  'a text as cursor': { cursor: 'here' },
  'a negative line': { cursor: { line: -1, column: 0 } },
  'half a column': { cursor: { line: 0, column: 0.5 } },
  'a text as line': { cursor: { line: '1', column: 0 } },
  'a text as state': { state: 'x' }
}

/** @type {Record<string, [string | Uint8Array | object, string]>} */
const badInput = {
  'a binary frame that is no update': [Uint8Array.of(5, 5), 'INVALID_UPDATE'],
  'an empty binary frame': [new Uint8Array(0), 'INVALID_UPDATE'],
  'a frame of another dialect': [Uint8Array.of(0, 2, 12, ...vector('A1')), 'INVALID_UPDATE'],
  'JSON as a binary frame': [Buffer.from('{"type":"test"}'), 'INVALID_UPDATE'],
  'text that is no JSON': ['{"type":', 'INVALID_JSON'],
  'an empty text': ['', 'INVALID_JSON'],
  'a list': ['[]', 'INVALID_MESSAGE'],
  'a text as JSON': ['"x"', 'INVALID_MESSAGE'],
  null: ['null', 'INVALID_MESSAGE'],
  'no type': [{}, 'INVALID_MESSAGE'],
  'an object as type': [{ type: {} }, 'INVALID_MESSAGE'],
  'null as type': [{ type: null }, 'INVALID_MESSAGE'],
  'number 4': [{ type: 4 }, 'UNKNOWN_TYPE'],
  'number -1': [{ type: -1 }, 'UNKNOWN_TYPE'],
  'number 1.5': [{ type: 1.5 }, 'UNKNOWN_TYPE'],
  'number 100': [{ type: 100 }, 'UNKNOWN_TYPE'],
  'number 0 without a payload': [{ type: 0 }, 'INVALID_PAYLOAD'],
  'number 1 without a payload': [{ type: 1 }, 'INVALID_PAYLOAD'],
  'number 0 with a payload that is not base64': [{ type: 0, payload: '***' }, 'INVALID_PAYLOAD'],
  'number 1 with a payload that is not base64': [{ type: 1, payload: 'a-_b' }, 'INVALID_PAYLOAD'],
  'number 1 with a list as payload': [{ type: 1, payload: [1, 2] }, 'INVALID_PAYLOAD'],
  'number 0 with a broken state vector': [{ type: 0, payload: base64(Uint8Array.of(5, 1)) }, 'INVALID_PAYLOAD'],
  'number 1 with no update in it': [{ type: 1, payload: base64(Uint8Array.of(5, 5)) }, 'INVALID_UPDATE'],
  ...Object.fromEntries(
    ['join', 'leave', 'initial_state', 'error', 10, 11].map(type => [`type ${type}`, [{ type, user: { id: 'eve', name: 'Eve' } }, 'RESERVED_TYPE']])
  ),
  ...Object.fromEntries(
    Object.entries(invalidAwareness).map(([what, state]) => [`awareness with ${what}`, [{ type: 'awareness', ...state }, 'INVALID_AWARENESS']])
  ),
  'number 2 with wrong kinds': [{ type: 2, payload: { cursor: 7 } }, 'INVALID_AWARENESS'],
  'a state of more than 16 KiB': [{ type: 'awareness', state: { x: 'x'.repeat(stateBytesMax) } }, 'STATE_TOO_LARGE']
}

export const inDevelopment = {
  async 'Bob joins: Alice is told, Bob sees Alice only, and is not told about himself (12.2)' (tools) {
    const alice = await join(tools, 'alice')
    const bob = await join(tools, 'bob')
    assert.deepEqual(await alice.message('the join', isType('join')), { type: 'join', type_code: 10, user: { id: 'bob', name: 'BOB' } })
    assert.deepEqual(bob.initial.users, [{ id: 'alice', name: 'ALICE' }])
    await bob.barrier()
    assert.deepEqual(types(bob), ['initial_state', 1])
  },

  async 'users are named once, in order of arrival; oneself only with another session (3)' (tools) {
    for (const user of ['carol', 'alice', 'carol', 'bob', 'alice']) await join(tools, user)
    assert.deepEqual(
      (await join(tools, 'dan')).initial.users.map(({ id }) => id),
      ['carol', 'alice', 'bob']
    )
    assert.deepEqual(
      (await join(tools, 'bob')).initial.users.map(({ id }) => id),
      ['carol', 'alice', 'bob', 'dan']
    )
  },

  async 'each session is a join and a leave of its own (3)' (tools) {
    const witness = await join(tools, 'witness')
    const [first, second] = [await join(tools, 'alice'), await join(tools, 'alice')]
    assert.notEqual(first.session.id, second.session.id)
    await until('both to have joined', () => witness.of('join').length === 2)
    first.close()
    assert.deepEqual(await witness.message('the leave', isType('leave')), { type: 'leave', type_code: 11, user: { id: 'alice', name: 'ALICE' } })
    await second.barrier()
    assert.equal(second.of('leave').length, 1, 'the other session of the user is told too')
    assert.deepEqual(
      (await join(tools, 'late')).initial.users.map(({ id }) => id),
      ['witness', 'alice']
    )
  },

  async 'a binary update reaches the others with the same bytes, and not its sender (12.3)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    bob.send(vector('A1'))
    assert.deepEqual(await alice.binary(), vector('A1'))
    await bob.barrier()
    assert.equal(bob.updates.length, 0)
  },

  async 'a third one, later, gets the document in one binary frame right after the initial state (12.4)' (tools) {
    const alice = await join(tools)
    for (const part of ['A1', 'A2', 'A3']) alice.send(vector(part))
    await alice.barrier()
    const late = await join(tools)
    await late.barrier()
    assert.deepEqual(types(late), ['initial_state', 'binary', 1])
    assert.equal(late.text, 'i!')
  },

  async 'a duplicate is not sent on; an empty update neither (4)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    for (const update of [vector('A1'), vector('A1'), Uint8Array.of(0, 0), vector('A2')]) bob.send(update)
    await until('the second change', () => alice.updates.length >= 2)
    await bob.barrier()
    assert.deepEqual(alice.updates, [vector('A1'), vector('A2')])
    assert.deepEqual(bob.errors, [])
  },

  async 'what came too early is kept, and reaches others when it can be applied (4)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    bob.send(vector('A2'))
    await bob.barrier()
    assert.equal(alice.updates.length, 0)
    bob.send(vector('A1'))
    await until('both parts', () => alice.text === 'hi!')
    assert.equal(bob.closed, null)
    assert.equal((await join(tools)).closed, null)
  },

  async 'number 0: what the sender lacks, as number 1; an empty vector gets the whole document (12.8)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    assert.equal(Buffer.from(await alice.barrier()).toString('hex'), '0000')
    alice.send(vector('A1'))
    alice.send(vector('A2'))
    await until('both', () => bob.text === 'hi!')
    const answerTo = async payload => {
      const from = bob.frames.length
      bob.send({ type: 0, payload })
      const answer = await bob.message('the answer', isType(1), { from })
      assert.deepEqual(Object.keys(answer), ['type', 'payload'])
      return Buffer.from(answer.payload, 'base64')
    }
    assert.equal(read([await answerTo('AA==')]).text, 'hi!')
    assert.equal(read([await answerTo('AA')]).text, 'hi!', 'padding is optional')
    const rest = await answerTo(base64(vector('VA')))
    assert.equal(read([vector('A1'), rest]).text, 'hi!')
    assert.equal(read([rest]).text, '', 'only what the vector lacks')
    await alice.barrier()
    assert.deepEqual(types(alice), ['initial_state', 'join', 1, 1], 'nobody else hears of it')
  },

  async 'number 1 is an update, exactly as a binary frame (4)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    bob.send({ type: 1, payload: base64(vector('A1')) })
    assert.deepEqual(await alice.binary(), vector('A1'))
    bob.send({ type: 1, payload: base64(vector('A2')).replace(/=+$/, '') })
    await until('the second', () => alice.text === 'hi!')
    await bob.barrier()
    assert.deepEqual([bob.updates.length, bob.errors], [0, []])
  },

  async 'number 2 is awareness, number 3 and query_awareness ask for all of it, number 99 does nothing (4)' (tools) {
    const [alice, bob] = [await join(tools, 'alice', { client_id: 17 }), await join(tools)]
    alice.send({ type: 2, payload: { cursor: { line: 1, column: 2 } } })
    const state = { client_id: 17, user: { id: 'alice', name: 'ALICE' }, cursor: { line: 1, column: 2 } }
    assert.deepEqual(await bob.message('the presence', isType('awareness')), { type: 'awareness', type_code: 2, awareness: { 17: state } })
    for (const question of [{ type: 3 }, { type: 'query_awareness' }]) {
      const from = bob.frames.length
      bob.send(question)
      assert.deepEqual((await bob.message('the answer', isType('awareness'), { from })).awareness, { 17: state })
    }
    bob.send({ type: 99, error: { code: 'X' } })
    await bob.barrier()
    assert.deepEqual(bob.errors, [])
    await alice.barrier()
    assert.deepEqual(types(alice), ['initial_state', 'join', 1])
  },

  async "a cursor is seen under the session's client id and the user's id, whatever was written there (12.9)" (tools) {
    const [alice, bob] = [await join(tools, 'alice', { client_id: 17 }), await join(tools, 'bob', { client_id: 18 })]
    alice.send({
      type: 'awareness',
      client_id: 18,
      user: { id: 'bob', name: 'Al', color: '#ff6b6b' },
      cursor: { line: 42, column: 15 },
      state: { tool: 'pen' }
    })
    const { awareness } = await bob.message('the presence', isType('awareness'))
    assert.deepEqual(awareness, {
      17: { client_id: 17, user: { id: 'alice', name: 'Al', color: '#ff6b6b' }, cursor: { line: 42, column: 15 }, state: { tool: 'pen' } }
    })
    const carol = await join(tools, 'carol')
    assert.deepEqual(carol.initial.awareness, awareness)
    await alice.barrier()
    assert.equal(alice.of('awareness').length, 0, 'the sender is not told')
  },

  async 'a message replaces the whole state; nested under awareness it is the same; null clears it (4)' (tools) {
    const [alice, bob] = [await join(tools, 'alice', { client_id: 17 }), await join(tools)]
    const told = async message => {
      const from = bob.frames.length
      alice.send({ type: 'awareness', ...message })
      return (await bob.message('the presence', isType('awareness'), { from })).awareness
    }
    const user = { id: 'alice', name: 'ALICE' }
    assert.deepEqual(await told({ cursor: { line: 1, column: 1 }, state: { a: 1 } }), {
      17: { client_id: 17, user, cursor: { line: 1, column: 1 }, state: { a: 1 } }
    })
    assert.deepEqual(await told({ awareness: { state: { b: 2 } } }), { 17: { client_id: 17, user, state: { b: 2 } } })
    assert.deepEqual(await told({ awareness: null }), { 17: null })
    assert.deepEqual((await join(tools)).initial.awareness, {})
    assert.deepEqual(await told({ cursor: { line: 0, column: 0 } }), { 17: { client_id: 17, user, cursor: { line: 0, column: 0 } } })
  },

  ...forEach(
    {
      'closing normally': client => client.close(),
      'losing the connection': client => client.terminate(),
      'being ended': client => {
        for (let i = 0; i <= errorsMax; i++) client.send('{}')
      }
    },
    what => `${what}: one leave to each, after the end of the state (12.6)`,
    async (tools, end) => {
      const [alice, bob, carol] = [await join(tools, 'alice', { client_id: 17 }), await join(tools), await join(tools)]
      alice.send({ type: 'awareness', cursor: { line: 1, column: 1 } })
      for (const client of [bob, carol]) await client.message('the presence', isType('awareness'))
      const from = [bob, carol].map(client => client.frames.length)
      end(alice)
      await Promise.all(
        [bob, carol].map(async (client, i) => {
          await client.message('the leave', isType('leave'), { from: from[i] })
          await client.barrier()
          assert.deepEqual(
            client.messages.slice(-3).map(({ type, awareness, user }) => awareness ?? user ?? type),
            [{ 17: null }, { id: 'alice', name: 'ALICE' }, 1]
          )
          assert.deepEqual([client.of('leave').length, client.of('awareness').length], [1, 2])
        })
      )
      assert.deepEqual((await join(tools)).initial.awareness, {})
    }
  ),

  async 'without a state there is only the leave (4)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    alice.close()
    await bob.message('the leave', isType('leave'))
    assert.deepEqual(types(bob), ['initial_state', 'leave'])
  },

  async 'an application message reaches the others as text, unchanged, and no later joiner (12.7)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    const texts = ['{"type":"test","content":"hello"}', '{ "content": 1.0,  "type":"test", "type_code": 10 }', `{"type":"test","x":"${'é'.repeat(1000)}"}`]
    for (const text of texts) alice.send(text)
    await until('all of them', () => bob.of('test').length === texts.length)
    assert.deepEqual(
      bob.frames.filter(frame => frame.message?.type === 'test').map(frame => frame.text),
      texts
    )
    await alice.barrier()
    assert.deepEqual(types(alice), ['initial_state', 'join', 1])
    const late = await join(tools)
    await late.barrier()
    assert.deepEqual(types(late), ['initial_state', 1])
  },

  async 'an application message has at most 64 KiB (4)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    const text = length => `{"type":"test","x":"${'x'.repeat(length - 22)}"}`
    alice.send(text(applicationBytesMax))
    await bob.message('the largest one', isType('test'))
    alice.send(text(applicationBytesMax + 1))
    await until('an error', () => alice.errors.length === 1)
    await alice.barrier()
    assert.equal(bob.of('test').length, 1)
  },

  async 'one frame is one message, JSON is text (2)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    for (let i = 0; i < 50; i++) alice.send({ type: 'test', i })
    await until('all of them', () => bob.of('test').length === 50)
    assert.ok(!types(bob).includes('unreadable') && !types(bob).includes('binary'))
  },

  ...forEach(
    badInput,
    what => `${what}: an error to the sender, the session stays usable, nobody else notices (11, 12.15)`,
    async (tools, [input, code]) => {
      const [alice, bob] = [await join(tools), await join(tools)]
      alice.send(input)
      const { type, type_code: number, error } = await alice.message('an error', isType('error'))
      assert.deepEqual([type, number, error.code, typeof error.message], ['error', 99, code, 'string'])
      alice.send(vector('A1'))
      assert.deepEqual(await bob.binary(), vector('A1'))
      await alice.barrier()
      assert.deepEqual(
        [types(alice), types(bob)],
        [
          ['initial_state', 'join', 'error', 1],
          ['initial_state', 'binary']
        ]
      )
      const late = await join(tools)
      await late.barrier()
      assert.deepEqual(types(late), ['initial_state', 'binary', 1])
      assert.deepEqual([late.text, late.initial.awareness], ['hi', {}])
    }
  ),

  async 'more than 20 errors in a minute: 1008 (11)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    for (let i = 0; i < errorsMax; i++) alice.send('{}')
    await alice.barrier()
    assert.deepEqual([alice.errors.length, alice.closed], [errorsMax, null])
    alice.send('{}')
    assert.equal((await alice.whenClosed()).code, 1008)
    await bob.message('the leave', isType('leave'))
  },

  async 'a binary frame over 16 MiB: 1009 (9)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    alice.send(new Uint8Array(binaryBytesMax + 1))
    assert.equal((await alice.whenClosed()).code, 1009)
    await bob.barrier()
  },

  async 'a large binary frame below the limit is taken (9)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    const large = updateOf(doc => doc.getText('t').insert(0, 'x'.repeat(8 << 20)))
    alice.send(large)
    assert.equal((await bob.binary()).length, large.length)
  },

  async 'a text frame over 1 MiB: 1009 (9)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    alice.send(`{"type":99,"x":"${'x'.repeat(textBytesMax)}"}`)
    assert.equal((await alice.whenClosed()).code, 1009)
    await bob.barrier()
  },

  async 'over 100 messages a second (burst 200) by user: RATE_LIMITED, not processed, and told to sync again if it was a change (9)' (tools) {
    const user = `${tools.id}-alice`
    const [alice, tab, bob] = [await join(tools, user), await join(tools, user), await join(tools)]
    for (let i = 0; i < burst / 2; i++) {
      alice.send({ type: 'test', i })
      tab.send({ type: 'test', i })
    }
    await until('the burst', () => bob.of('test').length === burst)
    assert.deepEqual([alice.errors, tab.errors], [[], []])
    const doc = new Y.Doc()
    doc.on('update', update => alice.send(update))
    await until('a refusal', async () => {
      for (let i = 0; i < burst && alice.errors.length === 0 && alice.isOpen; i++) doc.getArray('a').push([i])
      await pause(5)
      return alice.errors.length > 0
    })
    const { resync } = await alice.error('RATE_LIMITED')
    assert.equal(resync, true)
    assert.equal((await alice.whenClosed()).code, 1008, 'after ten refusals')
    await bob.barrier()
  },

  async 'a refusal of something else does not ask for a resync, and after a while messages are taken again (9)' (tools) {
    const [alice, bob] = [await join(tools), await join(tools)]
    let sent = 0
    const send = count => {
      for (const end = sent + count; sent < end; sent++) alice.send({ type: 'test', i: sent })
    }
    send(burst - 10)
    await until(
      'a refusal',
      () => {
        if (alice.errors.length === 0 && bob.of('test').length === sent) send(5)
        return alice.errors.length > 0
      },
      { everyMs: 0 }
    )
    assert.notEqual((await alice.error('RATE_LIMITED')).resync, true)
    await until(
      'a message that is taken',
      () => {
        alice.send({ type: 'later' })
        return bob.of('later').length > 0
      },
      { everyMs: 200 }
    )
    assert.equal(alice.closed, null)
  },

  async 'the 1,001st session of a document: 503 (9)' ({ server, id }) {
    const sockets = []
    try {
      for (let batch = 0; batch < 10; batch++) {
        await Promise.all(
          Array.from({ length: sessionsMax / 10 }, async (_, i) =>
            sockets.push(await bareSession(server, sessionUrl({ url: '' }, id, { user_id: `u${batch}-${i}` })))
          )
        )
      }
      assert.equal((await askUpgrade(server, sessionUrl({ url: '' }, id))).status, 503)
      assert.equal((await askUpgrade(server, sessionUrl({ url: '' }, `${id}-other`))).status, 101)
    } finally {
      for (const socket of sockets) socket.destroy()
    }
  }
}

function bareSession ({ port }, path) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', reject)
    socket.once('data', bytes => {
      const status = bytes.toString('latin1').split('\r\n', 1)[0]
      if (!status.includes(' 101 ')) return reject(new Error(`a session was answered with ${status}`))
      socket.on('error', () => {})
      socket.resume()
      resolve(socket)
    })
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`
    )
  })
}
