// Statements about several documents on one socket: that they are independent, sessions of one document, leaving one of them. Run by scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { accepted, areExactly, auth, awareness, closed, leave, list, step1, update } from '../lib/hocuspocus_client.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { each } from '../lib/hocuspocus.mjs'
import { until } from '../lib/until.mjs'
import { read, vector } from '../wire/vectors.mjs'

const presence = (id, there) => one => one.isAwareness && one.awareness.some(entry => entry.id === id && (entry.state !== null) === there)
const state = (room, id, clock = 1) => awareness(room, { id, clock, json: `{"n":${id}}` })
const initiated = room => closed(room, 'provider_initiated')

export const statements = {
  async 'documents on one socket are independent, and closing one of them is answered byte by byte (section 7)' ({ open, enter, room }) {
    const [one, two] = [`${room}/one`, `${room}/two`]
    const [client, witness] = [await open(), await enter(one)]
    await witness.enter(two)
    for (const name of [one, two]) {
      await client.enter(name)
      client.send(state(name, 7))
      await witness.next(name, 'the presence', presence(7, true), { from: 0 })
    }
    const from = client.messages.length
    client.send(leave(one))
    await client.message('the answer to the Close', message => message.isClose)
    await witness.next(one, 'the end of its presence', presence(7, false), { from: 0 })
    client.send(update(two, vector('A1')))
    await witness.next(two, 'an update of the document that stays', message => message.isUpdate, { from: 0 })
    await client.next(two, 'its status', message => message.isSaved, { from })
    areExactly(client.to(one, from).filter(message => !message.isAwareness), [initiated(one)], 'the answer to the Close')
    assert.ok(!witness.to(two).some(presence(7, false)), 'the presence in the other document ended too')
    witness.send(update(one, vector('A1')))
    await witness.next(one, 'its status', message => message.isSaved, { from: 0 })
    client.send(leave(two))
    await client.next(two, 'the answer to the Close', message => message.hex === hexOf(initiated(two)), { from })
    assert.ok(!client.to(one, from).some(message => message.isUpdate), 'a document that was left is still told')
    await client.enter(one)
    assert.equal(read([await client.barrier(one)]).text, 'hi', 'after leaving all documents the socket can enter one again')
  },

  async 'leaving with a null state first, as providers do, ends the presence once' ({ enter, room }) {
    const [client, witness] = [await enter(), await enter()]
    client.send(state(room, 2))
    await witness.message('the presence', presence(2, true))
    client.send(awareness(room, { id: 2, clock: 1, json: 'null' }))
    client.send(leave(room))
    await client.message('the answer to the Close', one => one.hex === hexOf(initiated(room)))
    await witness.message('the end of its presence', presence(2, false))
    await witness.barrier(room)
    areExactly(witness.messages.filter(presence(2, false)), [awareness(room, { id: 2, clock: 1, json: 'null' })], 'the end of the presence')
  },

  async 'a socket that closes leaves all its documents: its presence ends in each at once' ({ open, room }) {
    const names = [`${room}/one`, `${room}/two`, `${room}/two\0session`]
    const [client, witness] = [await open(), await open()]
    for (const name of names) {
      await client.enter(name)
      client.send(state(name, names.indexOf(name) + 7))
    }
    for (const name of names.slice(0, 2)) await witness.enter(name)
    const all = there => until(() => `the presence to be ${there ? 'there' : 'gone'} in each; received ${list(witness.messages)}`,
      () => witness.to(names[0]).some(presence(7, there)) && witness.to(names[1]).some(presence(8, there)) && witness.to(names[1]).some(presence(9, there)), { ms: 2000 })
    await all(true)
    client.close()
    await all(false)
  },

  async 'two sessions of one document on one socket: each has its own address, presence, and end (13.5, rule 9)' ({ enter, open, room }) {
    const [one, two] = [`${room}\0sess1`, `${room}\0sess2`]
    const [client, witness] = [await open(), await enter()]
    areExactly([await client.enter(one)], [accepted(one)], 'the acceptance')
    areExactly([await client.enter(two)], [accepted(two)], 'the acceptance')
    client.send(state(one, 11))
    client.send(state(two, 12))
    for (const id of [11, 12]) await witness.message(`the presence of ${id}`, presence(id, true))
    client.send(update(one, vector('A1')))
    await client.next(two, 'the update of the other session', message => message.isUpdate, { from: 0 })
    await client.next(one, 'its echo', message => message.isUpdate, { from: 0 })
    await witness.next(room, 'the update', message => message.isUpdate, { from: 0 })
    assert.equal(client.to(room).length, 0, `the plain name was answered with ${list(client.to(room))}`)
    client.send(leave(one))
    await client.next(one, 'the answer to the Close', message => message.hex === hexOf(initiated(one)), { from: 0 })
    await witness.message('the end of the presence of 11', presence(11, false))
    client.send(update(two, vector('A2')))
    await client.next(two, 'the status of the session that stays', message => message.isSaved, { from: 0 })
    await witness.barrier(room)
    assert.ok(!witness.messages.some(presence(12, false)), 'the presence of the other session ended too')
  },

  async 'a session never uses the connection of the plain name, nor the other way round' ({ enter, open, room }) {
    const [client, witness] = [await enter(), await enter()]
    const session = `${room}\0sess1`
    const from = client.messages.length
    client.send(update(session, vector('A1')))
    client.send(step1(session))
    await client.barrier(room)
    assert.equal(read([await witness.barrier(room)]).text, '', 'an update of an address that was never accepted was applied')
    assert.equal(client.to(session, from).length, 0, `an address that was never accepted was answered with ${list(client.to(session, from))}`)
    const other = await open()
    await other.enter(session)
    other.send(update(room, vector('A1')))
    await other.barrier(session)
    assert.equal(read([await witness.barrier(room)]).text, '', 'an update of the plain name was applied')
    assert.equal(other.to(room).length, 0)
  },

  async 'what is left before it was accepted can be entered afterwards: a component that is mounted, thrown away, and mounted again' ({ enter, open, room }) {
    const member = await enter()
    member.send(update(room, vector('A1')))
    const client = await open()
    for (const one of [auth(room, ''), step1(room), state(room, 5), awareness(room, { id: 5, clock: 1, json: 'null' }), leave(room), auth(room, ''), step1(room), state(room, 6)]) client.send(one)
    await member.message('the presence of the second', presence(6, true))
    await client.barrier(room)
    client.send(update(room, vector('A2')))
    await client.message('the status', one => one.isSaved)
    assert.equal(client.closed, null)
  },

  async 'a Close for an address that was never entered does not end a later connection' ({ open, room }) {
    const client = await open()
    client.send(leave(room))
    await client.enter(room)
    assert.equal(hexOf(await client.barrier(room)), '0000')
    client.send(update(room, vector('A1')))
    await client.message('the status', one => one.isSaved)
  },

  async 'the provider: thrown away and mounted again on a shared socket, it is synced in the end' ({ shared, editor, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      const socket = shared(version)
      const first = editor(version, { name, socket })
      await first.saved()
      first.type('hi')
      await first.saved()
      first.destroy()
      for (let i = 0; i < 3; i++) editor(version, { name, socket }).destroy()
      const last = editor(version, { name, socket })
      await last.saved()
      await last.reads('hi')
      assert.equal(socket.connects, 1)
    })
  },

  async 'destroying one provider leaves the socket and the others working; others see its presence end at once (13.7)' ({ shared, editor, room }) {
    await each(async version => {
      const socket = shared(version)
      const [one, two, far] = [editor(version, { name: `${room}/${version}/one`, socket }), editor(version, { name: `${room}/${version}/two`, socket }), editor(version, { name: `${room}/${version}/one` })]
      const other = editor(version, { name: `${room}/${version}/two` })
      await Promise.all([one, two, far, other].map(each => each.saved()))
      one.show('user', 'one')
      two.show('user', 'two')
      await until(() => `the presence; ${far.told}`, () => far.sees(one.doc.clientID)?.user === 'one' && other.sees(two.doc.clientID)?.user === 'two')
      one.destroy()
      await until('the presence to end', () => far.sees(one.doc.clientID) === undefined, { ms: 2000 })
      two.type('still here')
      await two.saved()
      await other.reads('still here')
      assert.equal(other.sees(two.doc.clientID)?.user, 'two')
      assert.ok(socket.isOpen)
      two.destroy()
      await until('the presence to end', () => other.sees(two.doc.clientID) === undefined, { ms: 2000 })
      assert.ok(socket.isOpen, 'the socket was closed with its last document')
      const back = editor(version, { name: `${room}/${version}/two`, socket })
      await back.saved()
      assert.equal(back.text, 'still here')
      assert.equal(socket.connects, 1)
    })
  },

  async 'two session-aware providers of one document on one socket own their presence apart (13.5)' ({ shared, editor, room }) {
    const socket = shared('4.8.0')
    const [one, two] = [editor('4.8.0', { socket, session: true }), editor('4.8.0', { socket, session: true })]
    const far = editor('3.4.4')
    await Promise.all([one, two, far].map(each => each.saved()))
    one.show('user', 'one')
    two.show('user', 'two')
    await until('all presence', () => far.sees(one.doc.clientID)?.user === 'one' && far.sees(two.doc.clientID)?.user === 'two' && two.sees(one.doc.clientID)?.user === 'one')
    one.type('from one')
    await Promise.all([two, far].map(each => each.reads('from one')))
    one.destroy()
    await until('the presence of one to end', () => far.sees(one.doc.clientID) === undefined && two.sees(one.doc.clientID) === undefined)
    far.type(', from far')
    await two.reads('from one, from far')
    two.type(', from two')
    await two.saved()
    await far.reads('from one, from far, from two')
    assert.equal(far.sees(two.doc.clientID)?.user, 'two', 'the presence of the other session ended too')
    assert.equal(socket.connects, 1)
  }
}
