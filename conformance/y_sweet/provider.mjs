// Statements about the unmodified client: what it shows its user. Run by scenarios/y_sweet.mjs.

import assert from 'node:assert/strict'
import { Random } from '../lib/random.mjs'
import { until } from '../lib/until.mjs'
import { openRaw } from '../lib/y_sweet.mjs'
import { updateOf } from '../wire/vectors.mjs'
import { untilText } from './modes.mjs'

const savedMs = 3_000
const crowd = 100
const rounds = 8

export const inBothModes = {
  async 'it goes from handshaking to connected, and has no local changes (8.3)' ({ mode, id, keep }) {
    const editor = await keep(mode.edit(id)).connected()
    assert.deepEqual(editor.statuses.slice(-2), ['handshaking', 'connected'])
    await editor.saved()
    assert.equal(editor.connects, 1)
  },

  async 'what was written before it connected is in the document of another one (8.3)' ({ mode, id, keep }) {
    const early = keep(mode.edit(id))
    early.type('early')
    assert.equal(early.isConnected, false)
    await early.connected()
    await early.saved()
    await untilText(await keep(mode.edit(id)).connected(), 'early')
  },

  async 'after an edit local-changes is true, then false within 3 s (8.4)' ({ mode, id, keep }) {
    const editor = await keep(mode.edit(id)).connected()
    await editor.saved()
    for (let i = 0; i < 10; i++) {
      const from = editor.localChanges.length
      editor.type('x')
      await until('local-changes true, then false', () => editor.localChanges.length >= from + 2, { ms: savedMs })
      assert.deepEqual(
        editor.localChanges.slice(from).map(({ is }) => is),
        [true, false]
      )
    }
  },

  async 'offline edits arrive on both sides, and count as saved only then' ({ mode, id, keep }) {
    const [a, b] = [await keep(mode.edit(id)).connected(), await keep(mode.edit(id)).connected()]
    await Promise.all([a.saved(), b.saved()])
    a.goOffline()
    await until('the end of the connection', () => a.ends.length > 0)
    a.type('from a')
    b.doc.getMap('m').set('from', 'b')
    await b.saved()
    assert.equal(a.provider.hasLocalChanges, true)
    a.comeBack()
    await a.connected()
    await a.saved()
    await untilText(b, 'from a')
    await until('the other edit', () => a.doc.getMap('m').get('from') === 'b')
    assert.equal(a.connects, 2)
  },

  async 'after disconnect() it comes back by itself, without a code, and goes on (5)' ({ mode, id, keep }) {
    const editor = await keep(mode.edit(id)).connected()
    editor.provider.disconnect()
    await until('its return', () => editor.connects === 2)
    assert.equal(editor.ends.length, 1)
    assert.ok([1000, 1005].includes(editor.ends[0].code), `its close without a code is answered as such; the client reports ${editor.ends[0].code}`)
    editor.type('still here')
    await editor.saved()
  },

  async 'presence comes and goes' ({ mode, id, keep }) {
    const [a, b] = [await keep(mode.edit(id)).connected(), await keep(mode.edit(id)).connected()]
    a.provider.awareness.setLocalState({ user: { name: 'Ann' } })
    await until('the presence', () => b.provider.awareness.getStates().get(a.doc.clientID)?.user?.name === 'Ann')
    a.goOffline()
    await until('its end', () => !b.provider.awareness.getStates().has(a.doc.clientID))
    a.comeBack()
    await until('its return', () => b.provider.awareness.getStates().get(a.doc.clientID)?.user?.name === 'Ann')
  },

  async 'a connection that dies without a word is replaced' ({ mode, id, keep }) {
    const editor = await keep(mode.edit(id)).connected()
    editor.goOffline({ word: false })
    await until('the end of the connection', () => editor.ends.length > 0)
    editor.type('meanwhile')
    editor.comeBack()
    await editor.connected()
    await editor.saved()
    assert.equal(await mode.text(id), 'meanwhile')
  }
}

/** Run alone: it takes both cores. */
export const crowded = {
  async 'local-changes goes true, then false within 3 s, also while 100 other clients edit (8.4)' ({ mode, id, seed, keep, log }) {
    const token = await mode.token(id)
    const others = await Promise.all(Array.from({ length: crowd }, async () => keep(await openRaw(mode.server, id, token))))
    const editor = await keep(mode.edit(id)).connected()
    await editor.saved() // only then is a change one that it tells
    const random = new Random(seed)
    let slowestMs = 0
    for (let round = 0; round < rounds; round++) {
      const from = editor.localChanges.length
      const seen = others.map(client => client.frames.length)
      others.forEach((client, i) => client.sendUpdate(updateOf(doc => doc.getMap('m').set(String(i), random.word()), 1_000 + round * crowd + i)))
      editor.type('x')
      await until('local-changes true, then false', () => editor.localChanges.length >= from + 2, { ms: savedMs })
      const [begin, end] = editor.localChanges.slice(from)
      assert.deepEqual([begin.is, end.is], [true, false])
      slowestMs = Math.max(slowestMs, end.atMs - begin.atMs)
      await Promise.all(others.map((client, i) => client.frame('the edits of the others', frame => frame.isUpdate, { from: seen[i] })))
    }
    log(`an edit among ${crowd} other clients was saved within ${slowestMs.toFixed(0)} ms`)
    assert.equal(editor.connects, 1)
  }
}

export const signedOnly = {
  async 'a reader reads; its edit reaches nobody, and counts as acknowledged (8.7)' ({ mode, id, keep }) {
    const writer = await keep(mode.edit(id)).connected()
    writer.type('hi')
    const reader = await keep(mode.edit(id, { authorization: 'read-only' })).connected()
    await untilText(reader, 'hi')
    reader.type(', from the reader')
    await reader.saved()
    writer.type('!')
    await until('the next edit', () => reader.text.includes('!'))
    assert.equal(writer.text, 'hi!')
    assert.equal(await mode.text(id), 'hi!')
    assert.equal(reader.connects, 1)
  },

  async 'with a token that has run out it fetches another one' ({ mode, id, keep }) {
    await mode.manager.createDoc(id)
    const editor = keep(mode.edit(id, { validForSeconds: 1 }))
    await editor.connected()
    const first = editor.provider.clientToken.token
    editor.goOffline()
    await until('the token to have run out', async () => (await mode.call('GET', `/d/${id}/as-update`, { token: first })).status === 401, { everyMs: 50 })
    editor.type('offline')
    editor.comeBack()
    await editor.connected(15_000)
    await editor.saved()
    assert.notEqual(editor.provider.clientToken.token, first)
    assert.equal(await mode.text(id), 'offline')
  }
}
