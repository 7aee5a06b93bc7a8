// Statements about what a socket may do before it has shown a token, and about time: the lobby, keep-alive messages. Run by scenarios/hocuspocus.mjs, those
// about time against a server that is in a hurry.

import assert from 'node:assert/strict'
import { each } from '../lib/hocuspocus.mjs'
import { RawHocuspocus, areExactly, auth, awareness, leave, list, refused, step1, update } from '../lib/hocuspocus_client.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { breathe, until } from '../lib/until.mjs'
import { updateOf } from '../wire/vectors.mjs'

const messagesMax = 1_000
const addressesMax = 100
const bytesMax = 5 << 20
const reset = { code: 4205, reason: 'Reset Connection' }

export const statements = {
  async '1,000 messages may wait for their acceptance, over all addresses; one more closes the socket with 4205 (13.11)' ({ enter, room }) {
    const member = await enter()
    const client = await enter(`${room}/in`)
    for (let i = 0; i < messagesMax; i++) client.send(step1(`${room}/${i % 10}`))
    await client.barrier(`${room}/in`)
    assert.equal(client.closed, null, `closed with ${messagesMax} messages that wait`)
    client.send(step1(`${room}/0`))
    assert.deepEqual(await client.whenClosed(), reset)
    await member.barrier(room)
  },

  async '5 MiB may wait, over all addresses; more closes the socket with 4205 (13.11)' ({ enter, room }) {
    const client = await enter(`${room}/in`)
    const part = new Uint8Array((1 << 20) - 1024)
    for (let i = 0; i < bytesMax >> 20; i++) client.send(update(`${room}/${i % 3}`, part))
    await client.barrier(`${room}/in`)
    assert.equal(client.closed, null, 'closed with less than 5 MiB')
    client.send(update(`${room}/1`, part.subarray(0, 8 << 10)))
    assert.deepEqual(await client.whenClosed(), reset)
  },

  async '100 addresses may wait; one more closes the socket with 4205 (13.11)' ({ enter, room }) {
    const client = await enter(`${room}/in`)
    for (let i = 0; i < addressesMax; i++) client.send(step1(i % 2 ? `${room}/${i}` : `${room}/same\0${i}`))
    await client.barrier(`${room}/in`)
    assert.equal(client.closed, null, `closed with ${addressesMax} addresses that wait`)
    client.send(step1(`${room}/${addressesMax}`))
    assert.deepEqual(await client.whenClosed(), reset)
  },

  async 'what is accepted no longer counts: 250 documents one after the other, and 3,000 messages to one of them' ({ open, room }) {
    const client = await open()
    const names = Array.from({ length: 250 }, (_, i) => `${room}/${i}`)
    for (const name of names) {
      for (let i = 0; i < 5; i++) client.send(step1(name))
      await client.enter(name)
    }
    for (let i = 0; i < 3 * messagesMax; i++) client.send(awareness(names[0], { id: 7, clock: i + 1, json: '{}' }))
    await client.barrier(names[0])
    await client.barrier(names.at(-1))
    assert.equal(client.closed, null)
  },

  async 'a large update in the queue is applied after the acceptance' ({ open, enter, room }) {
    const member = await enter()
    const large = updateOf(doc => doc.getText('t').insert(0, 'x'.repeat(4 << 20)))
    const client = await open()
    client.send(update(room, large))
    client.send(auth(room, ''))
    assert.equal((await member.message('the large update', one => one.isUpdate)).payload.length, large.length)
    await client.message('the status', one => one.isSaved)
  },

  async 'a socket that exceeds them takes no document of another with it' ({ enter, shared, editor, room }) {
    const socket = shared('4.8.0')
    const near = editor('4.8.0', { socket })
    const far = editor('3.4.4')
    await Promise.all([near, far].map(one => one.saved()))
    const bad = await enter()
    for (let i = 0; i <= addressesMax; i++) bad.send(step1(`${room}/${i}`))
    assert.deepEqual(await bad.whenClosed(), reset)
    near.type('hi')
    await far.reads('hi')
    assert.deepEqual([near.closings, far.closings, socket.connects, far.connects], [[], [], 1, 1])
  }
}

const lobbyMs = 1_500
export const hurry = { CONCORD_HOCUSPOCUS_LOBBY_MS: String(lobbyMs), CONCORD_KEEP_ALIVE_MS: '700' }
const timeout = { code: 4408, reason: 'Connection Timeout' }
const lobbyLateMs = 2_500

/** These need a server with the times of `hurry`. */
export const hurriedStatements = {
  async 'a socket that is accepted nowhere is closed with 4408 in time, whatever it sends (13.12); one that was accepted stays' ({ open, enter, editor, room }) {
    const stays = await Promise.all([editor('3.4.4').saved(), editor('4.8.0', { awareness: false }).saved(), enter()])
    const left = await enter(`${room}/left`)
    left.send(leave(`${room}/left`))
    const kinds = {
      'says nothing': () => {},
      'floods one address with step 1s': client => client.send(step1(`${room}/flood`)),
      'sends Pongs': client => client.send('0a'),
      'sends WebSocket pings': client => client.socket.ping(),
      'is refused again and again': client => client.send(auth('', ''))
    }
    await Promise.all(Object.entries(kinds).map(async ([kind, act]) => {
      const client = await open()
      const opened = performance.now()
      let sent = 0
      // Below all limits of section 9: they are not what ends it.
      await until(() => `a socket that ${kind} to be closed; it has been open for ${performance.now() - opened} ms`, () => {
        if (client.isOpen && sent < 900) {
          act(client)
          sent++
        }
        return client.closed
      }, { ms: lobbyMs + lobbyLateMs, everyMs: 5 })
      const after = performance.now() - opened
      assert.deepEqual(client.closed, timeout, `a socket that ${kind}`)
      assert.ok(after >= lobbyMs - 100, `a socket that ${kind} was closed after ${after} ms`)
      const expected = kind.startsWith('is refused') ? client.messages.map(() => refused('')) : []
      areExactly(client.messages, expected, `what a socket that ${kind} gets`)
    }))
    for (const one of stays) {
      if (one.told === undefined) await one.barrier(room)
      else assert.deepEqual([one.connects, one.closings], [1, []], one.told)
    }
    assert.equal(left.closed, null, 'a socket that has left its only document was closed')
    await left.enter(`${room}/left`)
  },

  async 'silence is ended by an empty awareness message for an accepted document, to a 4.x client perhaps by a Ping; never before acceptance' ({ open, enter, room }) {
    const other = `${room}/other`
    const silent = await open()
    const [three, four] = [await enter(room, { version: null }), await enter(room, { version: '4.8.0' })]
    await three.enter(other, { version: null })
    const isKeepAlive = (client, ping) => one => [awareness(room), awareness(other)].some(expected => one.hex === hexOf(expected)) || (ping && one.hex === '09')
    await Promise.all([[three, false], [four, true]].map(async ([client, ping]) => {
      await until(() => `three keep-alive messages; received ${list(client.messages)}`, () => client.messages.filter(isKeepAlive(client, ping)).length >= 3)
      const strange = client.messages.filter(one => !isKeepAlive(client, ping)(one) && !one.isAccepted)
      assert.equal(strange.length, 0, `in silence there came ${list(strange)}`)
    }))
    four.send('0a')
    await four.barrier(room)
    assert.equal(silent.messages.length, 0, `a socket without a document was sent ${list(silent.messages)}`)
  },

  async 'providers with and without presence stay connected through keep-alive messages, and a 3.x one raises no exception' ({ editor, room }) {
    const editors = (await each(version => Promise.all([true, false].map(awareness => editor(version, { name: `${room}/${version}/${awareness}`, awareness, messageReconnectTimeout: 2_000 }).saved())))).flat()
    const started = performance.now()
    await until('three times the silence after which they would reconnect', () => performance.now() - started > 6_000, { everyMs: 100 })
    for (const one of editors) assert.deepEqual([one.connects, one.closings], [1, []], one.told)
  }
}

const attackers = 40
const heldMax = 100 << 20

/** What a flood before the acceptance leaves behind; needs a server whose memory can be looked at, and nothing else going on there. */
export async function floodsLeaveNothing ({ server, log }) {
  const part = update('flood', new Uint8Array(1 << 20))
  const before = server.residentBytes()
  for (let i = 0; i < attackers; i += 5) {
    await Promise.all(Array.from({ length: 5 }, async () => {
      const client = await RawHocuspocus.open(`${server.url}/`)
      for (let sent = 0; sent < 6 && client.isOpen; sent++) {
        client.send(part)
        await breathe()
      }
      assert.deepEqual(await client.whenClosed(), reset)
    }))
  }
  const grown = server.residentBytes() - before
  log(`${attackers} floods of 6 MiB before authentication: resident memory grew by ${(grown / (1 << 20)).toFixed(1)} MiB`)
  assert.ok(grown < heldMax, `${attackers} closed sockets that had each sent 6 MiB left ${grown} bytes behind; less than ${heldMax} were expected`)
}
