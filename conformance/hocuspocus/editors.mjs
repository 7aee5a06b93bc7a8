// Statements about the unmodified providers, alone, together, and together with y-websocket providers: synced, saved, offline and back, presence. Run by
// scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { content, load, stateVector } from '../lib/description.mjs'
import { each, versionNames } from '../lib/hocuspocus.mjs'
import { awareness, list, step1, update } from '../lib/hocuspocus_client.mjs'
import { versionNames as roomVersions } from '../lib/provider.mjs'
import { Random } from '../lib/random.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { breathe, until } from '../lib/until.mjs'
import { vector } from '../wire/vectors.mjs'

const summary = editors => editors.map(one => `\n    ${one.told ?? `y-websocket provider ${one.version}: synced ${one.provider.synced}`}: ${stateVector(one.stateVector())}`).join('')

/** All have the same content, as Yjs 13 reads it. */
export async function equal (editors, ms) {
  await until(() => `all editors to be equal:${summary(editors)}`, () =>
    new Set(editors.map(one => stateVector(one.stateVector()))).size === 1 && new Set(editors.map(one => content(load([one.state()])))).size === 1, { ms, everyMs: 20 })
}

/** Whatever the generation: its own id, and what it knows of the presence of others. */
const idOf = editor => editor.doc.clientID
const states = editor => editor.provider.awareness.getStates()
const show = (editor, name) => editor.provider.awareness.setLocalStateField('user', { name })
const allSee = async (editors, named) => await until(() => `each to see ${named.map(({ name }) => name).join(', ')}; they see ${editors.map(one => JSON.stringify([...states(one).values()])).join(' ')}`,
  () => editors.every(one => named.every(({ id, name }) => states(one).get(id)?.user?.name === name)))

export const statements = {
  async 'each version: authenticated, synced, nothing unsynced, on an empty and on a filled document (13.1)' ({ editor, room }) {
    await each(async version => {
      for (const awareness of [true, false]) {
        const name = `${room}/${version}/${awareness}`
        const first = await editor(version, { name, awareness }).saved()
        assert.deepEqual([first.granted, first.refusals, first.scope, first.connects, first.provider.hasUnsyncedChanges], [['read-write'], [], 'read-write', 1, false], first.told)
        first.type('filled')
        await first.saved()
        for (const other of versionNames) {
          const second = await editor(other, { name, awareness }).saved()
          assert.equal(second.text, 'filled')
          assert.equal(second.connects, 1)
        }
      }
    })
  },

  async 'with what it has already: a provider that brings a document is saved' ({ editor, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      const first = editor(version, { name })
      first.type('written before it was connected')
      await first.saved()
      const second = await editor(version, { name }).saved()
      assert.equal(second.text, 'written before it was connected')
    })
  },

  async 'an edit makes changes unsynced and a round trip ends that; a forced sync too (13.2, rule 4)' ({ editor, room }) {
    await each(async version => {
      const one = await editor(version, { name: `${room}/${version}` }).saved()
      const counts = []
      one.provider.on('unsyncedChanges', event => counts.push(typeof event === 'number' ? event : event.number))
      one.type('a')
      assert.equal(one.provider.hasUnsyncedChanges, true)
      await one.saved()
      assert.deepEqual(counts, [1, 0])
      for (let i = 0; i < 3; i++) {
        one.provider.forceSync()
        assert.equal(one.provider.hasUnsyncedChanges, true)
        await one.saved()
      }
      for (let i = 0; i < 30; i++) one.type('b')
      assert.equal(one.unsynced, 30)
      await one.saved()
      assert.equal(one.provider.hasUnsyncedChanges, false)
    })
  },

  async 'forceSyncInterval: a provider that asks again all the time has nothing unsynced in the end' ({ editor, room }) {
    await each(async version => {
      const one = editor(version, { name: `${room}/${version}`, forceSyncInterval: 50 })
      const other = await editor(version, { name: `${room}/${version}` }).saved()
      let syncs = 0
      one.provider.on('outgoingMessage', () => syncs++)
      await until('many forced syncs', () => {
        if (one.text.length < 20) one.type('x')
        return syncs > 60
      })
      clearInterval(one.provider.intervals.forceSync)
      await one.saved()
      await other.reads(one.text)
    })
  },

  async 'batched updates (flushDelay of 4.x) are saved and told' ({ editor }) {
    const [one, other] = [editor('4.8.0', { flushDelay: 100 }), editor('3.4.4')]
    await Promise.all([one, other].map(each => each.saved()))
    for (let i = 0; i < 20; i++) one.type(`${i} `)
    one.show('user', 'batched')
    await one.saved()
    await other.reads(one.text)
    await until('its presence', () => other.sees(one.doc.clientID)?.user === 'batched')
  },

  async 'both versions and y-websocket providers edit one document together, and see each other (13.3)' ({ editor, edit, room }) {
    const documents = [...versionNames, ...versionNames].map(version => editor(version))
    const rooms = roomVersions.map(version => edit(version, {}))
    const editors = [...documents, ...rooms]
    await Promise.all(editors.map(one => one.synced()))
    for (const [i, one] of editors.entries()) one.type(`${one.version} (${i}) `)
    await equal(editors)
    for (const [i, one] of editors.entries()) assert.ok(documents[0].text.includes(`${one.version} (${i}) `), `what provider ${one.version} wrote is not in "${documents[0].text}"`)
    await Promise.all(documents.map(one => one.saved()))
    const named = editors.map((one, i) => ({ id: idOf(one), name: `editor ${i}` }))
    for (const [i, one] of editors.entries()) show(one, named[i].name)
    await allSee(editors, named)
    // One after the other leaves: a y-websocket provider, one of each version, each in its own manner.
    const leaving = [rooms[1], documents[0], documents[1]]
    for (const [i, one] of leaving.entries()) {
      const gone = idOf(one)
      one.destroy()
      const stay = editors.filter(other => !leaving.slice(0, i + 1).includes(other))
      await until(() => `the presence of provider ${one.version} to end`, () => stay.every(other => !states(other).has(gone)), { ms: 3000 })
      await allSee(stay, named.filter(({ id }) => stay.some(other => idOf(other) === id)))
    }
    const stay = editors.filter(one => !leaving.includes(one))
    stay.at(-1).type('after')
    await equal(stay)
    for (const one of stay) assert.equal(one.connects, 1)
  },

  async 'random edits in both versions and y-websocket, offline and back: all end equal, and all is saved' ({ editor, edit, seed, room }) {
    for (let round = 0; round < 3; round++) {
      const random = new Random(seed * 10 + round)
      try {
        const name = `${room}/${round}`
        const documents = [...versionNames, ...versionNames].map(version => editor(version, { name, clientId: random.word() }))
        const editors = [...documents, edit('3.1.0', { room: name, clientId: random.word(), maxBackoffTime: 200 }), edit('2.1.0', { room: name, clientId: random.word(), maxBackoffTime: 200 })]
        await Promise.all(editors.map(one => one.synced()))
        for (let step = 0; step < 150; step++) {
          const one = random.pick(editors)
          const text = one.get('t')
          switch (random.weighted({ insert: 50, delete: 15, map: 15, disconnect: 5, connect: 10 })) {
            case 'insert': text.insert(random.below(text.length + 1), random.pick(['a', 'bc', 'déf', '😀'])); break
            case 'delete': if (text.length > 0) text.delete(random.below(text.length), 1); break
            case 'map': one.get('m').set(random.pick(['k', 'l']), random.word()); break
            case 'disconnect': one.provider.disconnect(); break
            case 'connect': one.provider.connect()
          }
          if (random.chance(0.4)) await breathe()
        }
        for (const one of editors) one.provider.connect()
        await Promise.all(documents.map(one => one.back()))
        await equal(editors)
        await Promise.all(documents.map(one => one.saved()))
        for (const one of editors) one.provider.disconnect()
      } catch (error) {
        error.message = `round ${round} of seed ${seed} (alone: --seed ${seed}): ${error.message}`
        throw error
      }
    }
  },

  async 'edits made offline are saved and told on return, presence comes back' ({ editor, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      const [one, other] = [editor(version, { name }), editor('4.8.0', { name })]
      await Promise.all([one, other].map(each => each.saved()))
      one.show('user', 'Ann')
      other.show('user', 'Ben')
      await until('the presence', () => other.sees(one.doc.clientID)?.user === 'Ann' && one.sees(other.doc.clientID)?.user === 'Ben')
      one.provider.disconnect()
      await until('the presence to end', () => other.sees(one.doc.clientID) === undefined, { ms: 3000 })
      one.type('offline')
      other.type('online ')
      assert.ok(one.unsynced > 0)
      await one.back()
      await one.saved()
      await equal([one, other])
      assert.ok(one.text.includes('offline') && one.text.includes('online '), one.text)
      // Having forgotten the others, a client takes only what is newer than what it knew: their next change, or their renewal after 15 s.
      let times = 0
      await until(() => `both to see each other again; ${one.told}`, () => {
        for (const each of [one, other]) each.show('again', times++)
        return other.sees(one.doc.clientID)?.user === 'Ann' && one.sees(other.doc.clientID)?.user === 'Ben'
      }, { everyMs: 50 })
    })
  },

  async 'a connection that breaks without a word: its presence ends, and the provider returns with everything' ({ editor, enter, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      const one = await editor(version, { name }).saved()
      const witness = await enter(name)
      one.show('user', 'Ann')
      const shows = there => message => message.isAwareness && message.awareness.some(({ id, state }) => id === one.doc.clientID && (state !== null) === there)
      await witness.message('the presence', shows(true))
      one.websocket.webSocket.terminate()
      one.type('typed while it was broken')
      await witness.message('the end of its presence', shows(false))
      await until(() => `the return; ${one.told}`, () => one.connects === 2)
      await one.saved()
      const late = await editor(version, { name }).saved()
      assert.equal(late.text, 'typed while it was broken')
    })
  },

  async 'presence: clock 0 is not announced, a change is, to the sender too, in the bytes of the client; copies of others change nothing' ({ enter, room }) {
    const [a, b] = [await enter(), await enter()]
    const presence = client => client.messages.filter(one => one.isAwareness).map(({ hex }) => hex)
    const odd = awareness(room, { id: 7, clock: 1, json: '{ "a" : 1.0, "a":2, "e":"\\u00e9" }' })
    const gone = awareness(room, { id: 7, clock: 1, json: 'null' })
    a.send(awareness(room, { id: 7, clock: 0, json: '{}' }))
    for (const client of [a, b, a, b]) await client.barrier(room)
    assert.deepEqual([presence(a), presence(b)], [[], []])
    a.send(odd)
    for (const client of [a, b]) await client.message('the presence', one => one.isAwareness)
    for (const copy of [odd, gone, awareness(room, { id: 7, clock: 1, json: '{not json' })]) b.send(copy)
    for (const client of [a, b, a, b]) await client.barrier(room)
    assert.deepEqual([presence(a), presence(b)], [[hexOf(odd)], [hexOf(odd)]])
    a.terminate()
    await b.message('the end of the presence', one => one.hex === hexOf(gone))
    b.send(odd)
    await b.barrier(room)
    const late = await enter()
    await late.barrier(room)
    assert.ok(!late.messages.some(one => one.isAwareness && one.awareness.some(({ state }) => state !== null)), `the departed came back: ${list(late.messages)}`)
  },

  async 'the bytes of one dialect never reach a client of another' ({ enter, openRoom, room }) {
    const [client, member] = [await enter(), await openRoom()]
    client.send(update(room, vector('A1')))
    client.send(awareness(room, { id: 7, clock: 1, json: '{"n":1}' }))
    member.sendUpdate(vector('B'))
    member.send(vector('W1').map((byte, i) => i === 3 ? 8 : byte))
    await member.frame('the presence of both', () => member.frames.filter(frame => frame.isAwareness).flatMap(frame => frame.awareness).some(({ id }) => id === 7))
    await client.message('the presence of both', () => client.messages.filter(one => one.isAwareness).flatMap(one => one.awareness).some(({ id }) => id === 8))
    await client.message('the update of the other dialect', one => one.hex === hexOf(update(room, vector('B'))))
    await member.frame('the update of the other dialect', frame => frame.isUpdate && hexOf(frame.payload) === hexOf(vector('A1')))
    client.send(step1(room))
    assert.ok(member.frames.every(frame => !frame.unreadable && frame.trailing === 0 && frame.type <= 1), `${member.frames.map(frame => frame.hex)}`)
    assert.ok(client.messages.every(one => !one.unreadable && one.trailing === 0 && one.address === room), list(client.messages))
  },

  async 'clients of both dialects open a cold document at the same instant' ({ editor, edit, room }) {
    for (let i = 0; i < 20; i++) {
      const name = `${room}/${i}`
      const editors = [...versionNames.map(version => editor(version, { name })), edit('3.1.0', { room: name })]
      for (const one of editors) one.type(`${one.version} `)
      await Promise.all(editors.map(one => one.synced()))
      await equal(editors)
      for (const one of editors) one.destroy()
    }
  }
}
