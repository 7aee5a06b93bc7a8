// Statements about who may do what: refusals, reading only. They need a server that asks for tokens, and
// its admin API. Run by scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { makeToken, now, secret } from '../lib/access.mjs'
import { each } from '../lib/hocuspocus.mjs'
import { accepted, areExactly, auth, awareness, closed, list, notSaved, refused, saved, stateless, step1, step2, types, update } from '../lib/hocuspocus_client.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { read, vector } from '../wire/vectors.mjs'

export const writeToken = (user, room = '*', more = {}) => makeToken({ userId: user, rooms: [{ name: room, permission: 'write' }], ...more })
export const readToken = (user, room = '*', more = {}) => makeToken({ userId: user, rooms: [{ name: room, permission: 'read' }], ...more })
export const foreignToken = () => makeToken({ userId: 'eve' }, { key: `${secret}!` })

const refusals = {
  'without a token': [() => '', 'unauthorized'],
  'with something that is no token': [() => 'tok', 'unauthorized'],
  'with a token of another key': [foreignToken, 'unauthorized'],
  'with a token that has run out': [() => makeToken({ userId: 'ann', exp: now() - 60 }), 'token-expired'],
  'with a token for another document': [room => writeToken('ann', `${room}/other`), 'permission-denied']
}

/** Something for those who are refused not to see, and somebody who keeps the document open. */
async function fill (enter, room) {
  const writer = await enter(room, { token: writeToken('filler') })
  writer.send(update(room, vector('A1')))
  writer.send(awareness(room, { id: 7, clock: 1, json: '{"n":1}' }))
  await writer.message('the status', one => one.isSaved)
  await writer.message('the presence', one => one.isAwareness)
  return writer
}

export const statements = {
  ...Object.fromEntries(Object.entries(refusals).map(([what, [token, reason]]) => [
    `${what}: refused with ${reason}, no byte of the document, and the socket stays`,
    async ({ enter, open, editor, room }) => {
      await fill(enter, room)
      const client = await open()
      for (const one of [auth(room, token(room)), step1(room), update(room, vector('B')), awareness(room, { id: 8, clock: 1, json: '{"n":2}' })]) client.send(one)
      await client.next(room, 'the refusal', one => one.isRefused || one.isAccepted, { from: 0 })
      // A document of its own on the same socket works.
      await client.enter(`${room}/own`, { token: writeToken('ann') })
      await client.barrier(`${room}/own`)
      areExactly(client.to(room), [refused(room, reason)], 'what somebody who is refused gets')
      await each(async version => {
        const visitor = editor(version, { token: token(room) })
        await until(() => `the refusal; ${visitor.told}`, () => visitor.refusals.length > 0)
        assert.deepEqual(visitor.refusals, [reason])
        assert.equal(visitor.connects, 1, 'the socket was closed')
        assert.deepEqual([visitor.isAuthenticated, visitor.provider.synced, visitor.text, visitor.closings.length], [false, false, '', 0], visitor.told)
      })
    }
  ])),

  async 'a document that an administrator has deleted: refused with document-not-found' ({ enter, open, admin, room }) {
    const writer = await fill(enter, room)
    writer.terminate()
    await admin.do('DELETE', `/api/admin/rooms/${encodeURIComponent(room)}`)
    const client = await open()
    client.send(auth(room, writeToken('ann')))
    await client.next(room, 'the refusal', one => one.isRefused || one.isAccepted, { from: 0 })
    areExactly(client.to(room), [refused(room, 'document-not-found')], 'what a visitor of a deleted document gets')
  },

  async 'the token of the URL counts when the auth message has none' ({ server, open, editor, room }) {
    const token = writeToken('ann')
    for (const name of ['token', 'auth', 'access_token']) {
      const client = await open({}, `/?${name}=${token}`)
      await client.enter(room)
    }
    await each(async version => { await editor(version, { url: `${server.url}/?token=${token}` }).saved() })
    const client = await open({}, `/?token=${token}`)
    client.send(auth(room, foreignToken()))
    await client.next(room, 'the refusal of a bad token, whatever the URL says', one => one.hex === hexOf(refused(room, 'unauthorized')), { from: 0 })
  },

  async 'of two documents on one socket one is refused: the other works, and a good token is taken on the same socket (13.4)' ({ shared, editor, enter, room }) {
    await each(async version => {
      const names = ['open', 'closed'].map(kind => `${room}/${version}/${kind}`)
      await fill(enter, names[1])
      const socket = shared(version)
      const good = editor(version, { name: names[0], socket, token: writeToken('ann') })
      const bad = editor(version, { name: names[1], socket, token: foreignToken() })
      await good.saved()
      await until(() => `the refusal; ${bad.told}`, () => bad.refusals.length > 0)
      good.type('works')
      await good.saved()
      await bad.authenticate(writeToken('ann'))
      await bad.synced()
      await bad.reads('hi')
      bad.type('!')
      await until(() => `all of it to be saved; ${bad.told}`, () => bad.unsynced === 0)
      good.type(' still')
      await good.saved()
      assert.equal(socket.connects, 1)
      assert.deepEqual([bad.refusals, bad.granted, good.granted], [['unauthorized'], ['read-write'], ['read-write']])
    })
  },

  async 'a refused provider that is destroyed, and a new one with a good token for the same document on the same socket' ({ shared, editor, enter, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      await fill(enter, name)
      const socket = shared(version)
      const bad = editor(version, { name, socket, token: foreignToken() })
      await until(() => `the refusal; ${bad.told}`, () => bad.refusals.length > 0)
      bad.destroy()
      const good = editor(version, { name, socket, token: writeToken('ann') })
      await good.saved()
      await good.reads('hi')
      good.type('!')
      await good.saved()
      assert.deepEqual(good.closings, [], 'what the destroyed one had sent closed the new one')
      assert.equal(socket.connects, 1)
    })
  },

  async 'what was sent before a refusal is thrown away: it neither has an effect later nor counts against the limits' ({ enter, open, room }) {
    const member = await fill(enter, room)
    const client = await open()
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 600; i++) client.send(update(room, vector('B')))
      client.send(auth(room, foreignToken()))
      await until(() => `refusal ${round + 1}; received ${list(client.messages)}; closed ${JSON.stringify(client.closed)}`, () => client.messages.filter(one => one.isRefused).length === round + 1)
    }
    await client.enter(room, { token: writeToken('ann') })
    await client.barrier(room)
    await member.barrier(room)
    assert.equal(member.messages.filter(one => one.isUpdate).length, 1, 'a queued update was applied after its refusal')
    assert.equal(client.closed, null)
  },

  async 'a token may be a function, and a promise' ({ editor, room }) {
    await each(async version => {
      const [a, b] = [editor(version, { name: `${room}/${version}`, token: () => writeToken('ann') }), editor(version, { name: `${room}/${version}`, token: async () => writeToken('ben') })]
      await Promise.all([a, b].map(one => one.saved()))
      a.type('hi')
      await b.reads('hi')
    })
  },

  async 'a reader is told readonly; it receives, it is present, and its edits reach nobody and stay unsynced (13.6)' ({ editor, enter, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      const witness = await enter(name, { token: writeToken('cid') })
      const [writer, reader] = [editor(version, { name, token: writeToken('ann') }), editor(version, { name, token: readToken('ben') })]
      await Promise.all([writer, reader].map(one => one.saved()))
      assert.deepEqual([writer.scope, reader.scope, writer.granted, reader.granted], ['read-write', 'readonly', ['read-write'], ['readonly']])
      writer.type('one')
      await reader.reads('one')
      reader.show('user', 'Ben')
      await until('the reader to be seen', () => writer.sees(reader.doc.clientID)?.user === 'Ben')
      reader.get('t').insert(0, 'x')
      reader.provider.sendStateless('from a reader')
      writer.type(', two')
      await reader.reads('xone, two')
      await witness.barrier(name)
      assert.equal(writer.text, 'one, two')
      assert.equal(witness.messages.filter(one => one.isUpdate).length, 2, `the witness received ${list(witness.messages)}`)
      assert.ok(!witness.messages.some(one => one.isStateless), 'an application message of a reader was relayed')
      assert.deepEqual(writer.stateless, [])
      assert.ok(reader.unsynced > 0, 'the reader believes that its edit is saved')
      reader.provider.forceSync()
      await until(() => `a forced sync to be answered; ${reader.told}`, () => reader.provider.synced)
      const late = editor(version, { name, token: readToken('dan') })
      await late.saved()
      assert.equal(late.text, 'one, two')
      assert.equal(reader.connects, 1)
    })
  },

  async 'a reader\'s messages and their statuses, byte by byte (section 5)' ({ enter, room }) {
    const writer = await enter(room, { token: writeToken('ann') })
    writer.send(update(room, vector('A1')))
    await writer.message('the status', one => one.isSaved)
    const reader = await enter(room, { token: readToken('ben') })
    areExactly(reader.messages.slice(0, 1), [accepted(room, 'readonly')], 'the acceptance of a reader')
    const cases = {
      'an empty step 2': [step2(room), saved],
      'a step 2 with nothing new': [step2(room, vector('A1')), saved],
      'a step 2 with deletes only': [step2(room, vector('A3')), saved],
      'a step 2 with a new struct': [step2(room, vector('AF')), notSaved],
      'an update with a new struct': [update(room, vector('A2')), notSaved],
      'an update of another client': [update(room, vector('B')), notSaved],
      'an update with deletes only': [update(room, vector('A3')), notSaved]
    }
    for (const [what, [sent, status]] of Object.entries(cases)) {
      const from = reader.messages.length
      reader.send(sent)
      const answer = await reader.next(room, `the status of ${what}`, one => one.type === types.syncStatus || one.isClose, { from })
      areExactly([answer], [status(room)], `the answer to ${what}`)
    }
    const from = writer.messages.length
    reader.send(awareness(room, { id: 9, clock: 1, json: '{"n":9}' }))
    reader.send(stateless(room, 'x'))
    await writer.message('the presence of the reader', one => one.isAwareness, { from })
    await reader.barrier(room)
    assert.deepEqual(read([await writer.barrier(room)]), { text: 'hi', waits: false, stateVector: '010102' })
    assert.equal(writer.messages.slice(from).filter(one => one.isUpdate || one.isStateless).length, 0, `the writer received ${list(writer.messages.slice(from))}`)
  },

  async 'a session has rights of its own: beside one that writes, one that reads' ({ shared, editor, enter, open, room }) {
    const client = await open()
    const [writes, reads] = [`${room}\0w`, `${room}\0r`]
    areExactly([await client.enter(writes, { token: writeToken('ann') })], [accepted(writes)], 'the acceptance of the session that writes')
    areExactly([await client.enter(reads, { token: readToken('ann') })], [accepted(reads, 'readonly')], 'the acceptance of the session that reads')
    client.send(update(reads, vector('A1')))
    await client.next(reads, 'the status of the reader', one => one.hex === hexOf(notSaved(reads)), { from: 0 })
    client.send(update(writes, vector('A1')))
    await client.next(writes, 'the status of the writer', one => one.hex === hexOf(saved(writes)), { from: 0 })
    const socket = shared('4.8.0')
    const reader = editor('4.8.0', { socket, session: true, token: readToken('ben') })
    const refusedOne = editor('4.8.0', { socket, session: true, token: foreignToken() })
    const writer = editor('4.8.0', { socket, session: true, token: writeToken('ben') })
    await Promise.all([reader, writer].map(one => one.saved()))
    await until(() => `the refusal; ${refusedOne.told}`, () => refusedOne.refusals.length > 0)
    writer.type('!')
    await reader.reads('hi!')
    assert.deepEqual([reader.scope, writer.scope, refusedOne.text], ['readonly', 'read-write', ''])
  }
}
