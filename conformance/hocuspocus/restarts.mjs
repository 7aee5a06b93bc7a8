// Statements about the end of the server's process and its next life. Run by scenarios/hocuspocus.mjs, against a server of their own, one after the other.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { HocuspocusEditor, versionNames } from '../lib/hocuspocus.mjs'
import { RawHocuspocus, list, step2, update } from '../lib/hocuspocus_client.mjs'
import { Random } from '../lib/random.mjs'
import { breathe, until } from '../lib/until.mjs'
import { Witness } from '../lib/witness.mjs'
import { equal } from './editors.mjs'

const rounds = 6
const documents = ['hocuspocus-kill/a', 'hocuspocus-kill/b']
const unansweredMax = 40

export const statements = {
  async 'killed under load: everything that got SyncStatus 1, and everything that others had received, is there afterwards (13.14)' ({ server, seed, log }) {
    const random = new Random(seed)
    const witnesses = documents.map(() => new Witness())
    let acknowledged = 0
    for (let round = 0; round < rounds; round++) {
      const clients = []
      const editors = documents.flatMap(name => versionNames.map(version => new HocuspocusEditor(version, server.url, name, { clientId: random.word() })))
      let running = true
      const target = acknowledged + random.between(20, 300)
      const work = documents.flatMap((name, i) => [
        watch(server, name, witnesses[i], clients),
        ...[0, 1].map(() => write(server, name, new Random(random.word()), { clients, running: () => running, saved: content => { acknowledged++; Y.applyUpdate(witnesses[i].doc, content) } }))
      ])
      const typing = editors.map(one => type(one, new Random(random.word()), () => running))
      const failed = Promise.all([...work, ...typing]).then(() => null, error => running ? error : null)
      await Promise.race([until(() => `${target} acknowledgements; there are ${acknowledged}`, () => acknowledged >= target, { everyMs: 1 }), failed.then(error => { if (error) throw error })])
      running = false
      await server.kill9()
      await failed
      await Promise.all(clients.map(client => client.whenClosed()))
      // What a provider calls saved is. It must not come back to tell the server again.
      for (const one of editors) {
        if (one.provider.synced && one.unsynced === 0) Y.applyUpdate(witnesses[documents.indexOf(one.name)].doc, one.state())
        one.destroy()
      }
      await server.start()
      for (const [i, name] of documents.entries()) {
        const doc = await witnesses[i].check(`${server.url}/${name}`, `round ${round}, ${name}`)
        const late = new HocuspocusEditor(versionNames[round % 2], server.url, name)
        await late.saved()
        const lacks = Y.diffUpdate(Y.encodeStateAsUpdate(doc), late.stateVector())
        assert.equal(Y.decodeUpdate(lacks).structs.length, 0, `round ${round}, ${name}: a Hocuspocus provider gets less than a y-websocket client`)
        late.destroy()
      }
    }
    log(`${rounds} kills, ${acknowledged} updates with SyncStatus 1, none lost`)
  },

  async 'editors live on through a kill: they return, and all that they typed meanwhile is saved' ({ server, room }) {
    const editors = versionNames.flatMap(version => [new HocuspocusEditor(version, server.url, room), new HocuspocusEditor(version, server.url, room, { awareness: false })])
    try {
      await Promise.all(editors.map(one => one.saved()))
      for (const [i, one] of editors.entries()) one.type(`before ${i} `)
      await server.kill9()
      for (const [i, one] of editors.entries()) one.type(`between ${i} `)
      await server.start()
      await Promise.all(editors.map(one => until(() => `the return; ${one.told}`, () => one.connects >= 2)))
      await Promise.all(editors.map(one => one.saved()))
      await equal(editors)
      for (const i of editors.keys()) for (const when of ['before', 'between']) assert.ok(editors[0].text.includes(`${when} ${i} `), `"${when} ${i}" is not in ${editors[0].text}`)
    } finally {
      for (const one of editors) one.destroy()
    }
  },

  async 'SIGTERM closes every socket with 1001 "server shutting down" and ends with 0; everything accepted is there, presence is not' ({ server, room }) {
    const client = await RawHocuspocus.open(`${server.url}/`)
    const lobby = await RawHocuspocus.open(`${server.url}/`)
    const editors = versionNames.map(version => new HocuspocusEditor(version, server.url, room))
    try {
      await client.enter(room)
      await Promise.all(editors.map(one => one.saved()))
      editors[0].type('hi')
      editors[0].show('user', 'Ann')
      await client.message('the presence', one => one.isAwareness)
      await editors[1].reads('hi')
      for (const one of editors) one.websocket.shouldConnect = false
      const { code, signal } = await server.terminate()
      assert.deepEqual({ code, signal }, { code: 0, signal: null })
      for (const one of [client, lobby]) assert.deepEqual(await one.whenClosed(), { code: 1001, reason: 'server shutting down' })
      for (const one of editors) await until(() => `the end; ${one.told}`, () => one.closings.some(({ code }) => code === 1001))
      await server.start()
      const late = await RawHocuspocus.open(`${server.url}/`)
      await late.enter(room)
      const doc = new Y.Doc()
      Y.applyUpdate(doc, await late.barrier(room))
      assert.equal(doc.getText('t').toString(), 'hi')
      assert.ok(!late.messages.some(one => one.isAwareness), `presence was stored: ${list(late.messages)}`)
      late.terminate()
    } finally {
      for (const one of editors) one.destroy()
    }
  }
}

/** Notes all content that a member is told. */
async function watch (server, name, witness, clients) {
  const client = await RawHocuspocus.open(`${server.url}/`)
  clients.push(client)
  client.onmessage = message => { if (message.isUpdate || message.isStep2) Y.applyUpdate(witness.doc, message.payload) }
  await client.enter(name)
  await client.barrier(name)
}

/** Loads the document, types and deletes until told to stop; the first status that comes is for the first update that has none. */
async function write (server, name, random, { clients, running, saved }) {
  const client = await RawHocuspocus.open(`${server.url}/`)
  clients.push(client)
  await client.enter(name)
  const doc = new Y.Doc()
  doc.clientID = random.word()
  Y.applyUpdate(doc, await client.barrier(name))
  const unanswered = []
  client.onmessage = message => {
    if (message.isSaved) saved(unanswered.shift())
    if (message.isNotSaved) throw new Error('an update was answered with SyncStatus 0')
    if (message.isUpdate) Y.applyUpdate(doc, message.payload, client)
  }
  doc.on('update', (content, origin) => {
    if (origin === client || !client.isOpen) return
    unanswered.push(content)
    client.send(random.chance(0.1) ? step2(name, content) : update(name, content))
  })
  const text = doc.getText('t')
  while (running() && client.isOpen) {
    if (unanswered.length < unansweredMax) edit(text, random)
    await breathe()
  }
}

async function type (editor, random, running) {
  await editor.synced()
  while (running()) {
    if (editor.unsynced < unansweredMax) edit(editor.get('t'), random)
    await breathe()
  }
}

function edit (text, random) {
  const at = random.below(text.length + 1)
  if (random.chance(0.2) && at < text.length) text.delete(at, 1)
  else text.insert(at, random.chance(0.02) ? 'x'.repeat(5000) : random.pick(['a', 'bc', ' ']))
}
