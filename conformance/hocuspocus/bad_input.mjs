// Statements about broken and hostile input: the exact answer, and that neither another document of the same socket nor another member notices anything.
// Run by scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { accepted, areExactly, auth, awareness, broken, closed, list, message, notSaved, saved, step1, step2, types, update } from '../lib/hocuspocus_client.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { read, vector } from '../wire/vectors.mjs'

const frameBytesMax = 16 << 20
const unauthorized = { code: 4401, reason: 'Unauthorized' }

const closesTheSocket = {
  'an empty frame': '',
  'an address that is cut off (05 61)': '05 61',
  'an address whose length runs past the end': 'ff ff 03 61',
  'an address whose length never ends': 'ff ff ff ff ff ff ff ff ff ff 01',
  'an address that is not UTF-8': '02 ff fe 00 00 01 00'
}

// Behind an accepted address, each on a connection of its own.
const ignored = {
  'a message of type 99': '63',
  'a message of type 99 with a body': '63 05 68 65 6c 6c 6f',
  'a message of type 11': '0b',
  'a message of type 300': 'ac 02 00',
  'an addressed Ping': '09',
  'an addressed Pong': '0a',
  'an auth message that says refused': '02 01 01 61',
  'an auth message that says accepted': '02 02 0a 72 65 61 64 2d 77 72 69 74 65',
  'a SyncStatus': '08 01',
  'a SyncStatus 0': '08 00',
  'an awareness message without entries': '01 01 00',
  'a copy of known presence that is not JSON': '01 05 01 07 01 01 7b'
}

const resetsTheDocument = {
  'an unknown sync type (00 09)': '00 09',
  'an unknown sync type with a payload': '00 07 01 00',
  'a sync message without a sync type': '00',
  'a step 1 that is cut off': '00 00 05 01',
  'an update that is cut off': '00 02 0c 01 01 01 00 04',
  'a SyncReply that is cut off': '04 02 0c 01 01',
  'an awareness message that is cut off': '01 08 01 09 01',
  'an awareness message with a count beyond its end': '01 02 05 09',
  'presence that is not JSON': '01 05 01 09 01 02 7b 61',
  'presence that is neither an object nor null': '01 04 01 09 01 01 37',
  'a BroadcastStateless (06 01 78)': '06 01 78',
  'an application message that is cut off': '05 09 61'
}

const notAnUpdate = {
  'an update that is not one (05 05)': '00 02 02 05 05',
  'an update of junk': '00 02 03 ff ff ff',
  'an update that promises 2^32 clients': '00 02 06 ff ff ff ff 0f 00',
  'an update with trailing bytes': '00 02 0d 01 01 05 00 04 01 01 74 02 68 69 00 00',
  'a step 2 that is not an update (05 05)': '00 01 02 05 05',
  'a step 2 of junk': '00 01 03 ff ff ff',
  'a SyncReply with an update that is not one': '04 02 02 05 05'
}

/** Two who see each other, a second document on the socket of the one that misbehaves, and what they have after it did. */
async function bystanders ({ enter, room }) {
  const other = `${room}/other`
  const [member, bad] = [await enter(), await enter()]
  await bad.enter(other)
  member.send(update(room, vector('A1')))
  member.send(awareness(room, { id: 7, clock: 1, json: '{"n":1}' }))
  await bad.next(room, 'the presence of the other member', one => one.isAwareness, { from: 0 })
  // Everybody is told of presence, also whose it is, and not all at the same moment.
  await member.next(room, 'its own presence', one => one.isAwareness, { from: 0 })
  await bad.next(room, 'the update of the other member', one => one.isUpdate, { from: 0 })
  const from = [member.messages.length, bad.messages.length]
  return {
    member,
    bad,
    other,
    from,
    async unharmed () {
      assert.equal(read([await member.barrier(room)]).text, 'hi', 'the document changed')
      // The first step 2 of a member is answered late, with its status.
      const told = member.messages.slice(from[0]).filter(one => !one.isSaved && !one.isUpdate && !one.isStep1 && !one.isStep2)
      assert.equal(told.length, 0, `the other member was told ${list(told)}`)
      assert.equal(member.closed, null)
      if (bad.closed !== null) return
      const seen = bad.messages.length
      bad.send(update(other, vector('A1')))
      await bad.next(other, 'the status of an update of the other document on the same socket', one => one.isSaved, { from: seen })
    }
  }
}

export const statements = {
  ...Object.fromEntries(Object.entries(closesTheSocket).map(([what, hex]) => [
    `${what} closes the socket with 4401; others notice nothing`,
    async tools => {
      const first = await tools.open()
      first.send(hex)
      assert.deepEqual(await first.whenClosed(), unauthorized, 'before anything else')
      assert.equal(first.messages.length, 0)
      const { bad, unharmed } = await bystanders(tools)
      bad.send(hex)
      assert.deepEqual(await bad.whenClosed(), unauthorized, 'after acceptance')
      await unharmed()
    }
  ])),

  async 'a text frame closes the socket with 1003; others notice nothing' (tools) {
    const first = await tools.open()
    first.socket.send('hello')
    assert.equal((await first.whenClosed()).code, 1003)
    const { bad, unharmed } = await bystanders(tools)
    bad.socket.send(`${String.fromCharCode(tools.room.length)}${tools.room}\0\0\u0001\0`)
    assert.equal((await bad.whenClosed()).code, 1003)
    await unharmed()
  },

  async 'a frame over 16 MiB closes the socket with 1009; others notice nothing' (tools) {
    const { bad, unharmed } = await bystanders(tools)
    bad.send(new Uint8Array(frameBytesMax + 1))
    assert.deepEqual(await bad.whenClosed(), { code: 1009, reason: 'Message Too Big' })
    await unharmed()
  },

  ...Object.fromEntries(Object.entries(ignored).map(([what, hex]) => [
    `${what} is ignored: no answer, nothing closes (13.13)`,
    async tools => {
      const { room, open } = tools
      const { bad, from, unharmed } = await bystanders(tools)
      bad.send(broken(room, hex))
      await bad.barrier(room)
      const came = bad.to(room, from[1]).filter(one => !one.isStep1 && !one.isStep2)
      assert.equal(came.length, 0, `it was answered with ${list(came)}`)
      await unharmed()
      const early = await open()
      early.send(broken(room, hex))
      early.send(auth(room, ''))
      await early.next(room, 'the acceptance', one => one.isAccepted, { from: 0 })
      await early.barrier(room)
      const answers = early.messages.filter(one => !one.isAccepted && !one.isAwareness && !one.isStep1 && !one.isStep2)
      assert.equal(answers.length, 0, `before the acceptance it was answered with ${list(answers)}`)
    }
  ])),

  ...Object.fromEntries(Object.entries(resetsTheDocument).map(([what, hex]) => [
    `${what} ends that document with "Reset Connection", and nothing else; it can be entered again`,
    async tools => {
      const { room } = tools
      const { bad, member, from, unharmed } = await bystanders(tools)
      bad.send(awareness(room, { id: 8, clock: 1, json: '{"n":8}' }))
      const presence = state => one => one.isAwareness && one.awareness.some(entry => entry.id === 8 && (entry.state !== null) === state)
      await member.next(room, 'the presence of the one that misbehaves', presence(true), { from: from[0] })
      const asked = bad.messages.length
      bad.send(broken(room, hex))
      const end = await bad.next(room, 'a Close with "Reset Connection"', one => one.isClose || one.isNotSaved, { from: asked })
      areExactly([end], [closed(room, 'Reset Connection')], 'the answer')
      await member.next(room, 'the end of its presence', presence(false), { from: from[0] })
      from[0] = member.messages.length
      bad.send(update(room, vector('A2')))
      await unharmed()
      await bad.enter(room)
      bad.send(step1(room))
      // What was sent between is queued, and processed now.
      await member.next(room, 'the update that was sent while the document was closed', one => one.isUpdate, { from: from[0] })
      assert.equal(read([await bad.barrier(room)]).text, 'hi!')
    }
  ])),

  ...Object.fromEntries(Object.entries(notAnUpdate).map(([what, hex]) => [
    `${what} is not applied: SyncStatus 0, and the document stays open`,
    async tools => {
      const { room } = tools
      const { bad, from, unharmed } = await bystanders(tools)
      bad.send(broken(room, hex))
      const answer = await bad.next(room, 'a SyncStatus', one => one.type === types.syncStatus || one.isClose, { from: from[1] })
      areExactly([answer], [notSaved(room)], 'the answer')
      await unharmed()
      const asked = bad.messages.length
      bad.send(step2(room))
      await bad.next(room, 'the status of a good step 2', one => one.hex === hexOf(saved(room)), { from: asked })
    }
  ])),

  async 'an auth message for a name that is none is refused only: 00 02 01 11 permission-denied' ({ open, room }) {
    const client = await open()
    client.send('00 02 00 00')
    await client.message('the refusal', one => one.hex === '000201117065726d697373696f6e2d64656e696564')
    await client.enter(room)
    await client.barrier(room)
    assert.equal(client.to('').length, 1, `the name was answered with ${list(client.to(''))}`)
  },

  async 'a query for presence is answered with all states, on that connection' ({ enter, room }) {
    const [a, b] = [await enter(), await enter()]
    a.send(awareness(room, { id: 7, clock: 1, json: '{"c":2}' }, { id: 300, clock: 1, json: '{"c":1}' }))
    for (const client of [a, b]) await client.message('the presence', one => one.isAwareness)
    const from = [a.messages.length, b.messages.length]
    b.send(message(room, types.queryAwareness))
    const answer = await b.next(room, 'the answer to the query', one => one.isAwareness, { from: from[1] })
    assert.deepEqual(answer.awareness.map(({ id }) => id).sort((x, y) => x - y), [7, 300])
    await a.barrier(room)
    assert.equal(a.to(room, from[0]).filter(one => one.isAwareness).length, 0, 'somebody else was answered')
  },

  async 'a lone Pong (0a) is ignored, before and after acceptance' ({ open, room }) {
    const client = await open()
    client.send('0a')
    await client.enter(room)
    client.send('0a')
    await client.barrier(room)
    areExactly(client.messages, [accepted(room), step1(room), step2(room)], 'what the client gets')
  },

  async 'a hundred kinds of nonsense on one socket leave the others in peace' (tools) {
    const { room } = tools
    const { bad, unharmed } = await bystanders(tools)
    for (const hex of [...Object.values(ignored), ...Object.values(notAnUpdate)]) for (let i = 0; i < 5; i++) bad.send(broken(room, hex))
    await unharmed()
    assert.equal(bad.closed, null)
  }
}
