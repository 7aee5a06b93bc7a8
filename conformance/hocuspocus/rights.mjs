// Statements about rights that change on a running connection: another token, a bad one, one that runs out. They need a server that asks for tokens. Run by
// scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { makeToken, now } from '../lib/access.mjs'
import { each } from '../lib/hocuspocus.mjs'
import { areExactly, auth, awareness, closed, list, notSaved, question, refused, saved, step2, types, update } from '../lib/hocuspocus_client.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { read, vector } from '../wire/vectors.mjs'
import { foreignToken, readToken, writeToken } from './access.mjs'

const oneMore = doc => {
  const before = Y.encodeStateVector(doc)
  doc.getText('t').insert(0, 'x')
  return Y.encodeStateAsUpdate(doc, before)
}

export const statements = {
  async 'a second auth message replaces the rights, without an answer' ({ enter, room }) {
    const [writer, member] = [await enter(room, { token: writeToken('ann') }), await enter(room, { token: writeToken('ben') })]
    const doc = new Y.Doc()
    const status = async expected => {
      const from = writer.messages.length
      writer.send(update(room, oneMore(doc)))
      const answer = await writer.next(room, 'a status', one => one.type === types.syncStatus || one.isClose, { from })
      areExactly([answer], [expected(room)], 'the answer to an update')
    }
    await status(saved)
    for (const [token, expected] of [[readToken('ann'), notSaved], [writeToken('ann'), null]]) {
      const from = writer.messages.length
      writer.send(auth(room, token))
      await writer.barrier(room)
      assert.equal(writer.messages.slice(from).filter(one => !one.isStep1 && !one.isStep2).length, 0, `replaced rights were answered with ${list(writer.messages.slice(from))}`)
      if (expected !== null) await status(expected)
    }
    // What the reader was refused is what the writer sends first.
    writer.send(step2(room, Y.encodeStateAsUpdate(doc)))
    await until('all to be saved', () => writer.messages.filter(one => one.isSaved).length === 2)
    await until('all to be told', async () => read([await member.barrier(room)]).text === 'xx', { ms: 5000 })
  },

  async 'a bad second auth message ends the document with "Unauthorized", and nothing else of the socket; then it can be entered again' ({ enter, room }) {
    const client = await enter(room, { token: writeToken('ann') })
    const witness = await enter(room, { token: writeToken('ben') })
    const other = `${room}/other`
    await client.enter(other, { token: writeToken('ann') })
    client.send(awareness(room, { id: 9, clock: 1, json: '{"n":9}' }))
    await witness.message('the presence', one => one.isAwareness)
    for (const token of [foreignToken(), '', makeToken({ userId: 'ann', exp: now() - 60 }), writeToken('ann', other)]) {
      const from = client.messages.length
      client.send(auth(room, token))
      const end = await client.next(room, 'a Close', one => one.isClose || one.isRefused, { from })
      areExactly([end], [closed(room, 'Unauthorized')], 'the answer to a bad second auth message')
      client.send(update(room, vector('A1')))
      await client.barrier(other)
      assert.equal(read([await witness.barrier(room)]).text, '', 'an update was applied after the end')
      // The same message again is one for an address that is not accepted: refused, and the update thrown away.
      const asked = client.messages.length
      client.send(auth(room, foreignToken()))
      await client.next(room, 'the refusal', one => one.hex === hexOf(refused(room, 'unauthorized')), { from: asked })
      await client.enter(room, { token: writeToken('ann') })
      await client.barrier(room)
    }
    await witness.message('the end of its presence', one => one.isAwareness && one.awareness.some(({ id, state }) => id === 9 && state === null))
    assert.equal(client.closed, null)
  },

  async 'the provider: rights replaced on a running connection; what a reader typed is saved once it may write' ({ editor, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      const [subject, other] = [editor(version, { name, token: writeToken('ann') }), editor(version, { name, token: writeToken('ben') })]
      await Promise.all([subject, other].map(one => one.saved()))
      subject.type('one')
      await other.reads('one')
      await subject.authenticate(readToken('ann'), { sync: false })
      subject.type(', two')
      subject.provider.forceSync()
      other.get('t').insert(0, '>')
      await subject.reads('>one, two')
      assert.equal(other.text, '>one')
      await subject.authenticate(writeToken('ann'))
      await other.reads('>one, two')
      await subject.saved()
      await subject.authenticate(foreignToken(), { sync: false })
      await until(() => `the end; ${subject.told}`, () => subject.closings.length > 0)
      assert.deepEqual(subject.closings, [{ code: 1000, reason: 'Unauthorized' }])
      await subject.authenticate(writeToken('ann'))
      await subject.saved()
      subject.type('!')
      await other.reads('>one, two!')
      assert.equal(subject.connects, 1)
    })
  },

  async 'presence survives at others when a document is closed for one of them' ({ editor, enter, room }) {
    // A 3.x provider then sends null states for everybody else, and they are queued until it is accepted again.
    await each(async version => {
      const name = `${room}/${version}`
      const [subject, other] = [editor(version, { name, token: writeToken('ann') }), editor(version, { name, token: writeToken('ben') })]
      const witness = await enter(name, { token: writeToken('cid') })
      await Promise.all([subject, other].map(one => one.saved()))
      other.show('user', 'Ben')
      subject.show('user', 'Ann')
      await until('both to see each other', () => subject.sees(other.doc.clientID)?.user === 'Ben' && other.sees(subject.doc.clientID)?.user === 'Ann')
      await subject.authenticate(foreignToken(), { sync: false })
      await until(() => `the end; ${subject.told}`, () => subject.closings.length > 0)
      await until('its presence to end', () => other.sees(subject.doc.clientID) === undefined)
      await subject.authenticate(writeToken('ann'))
      await subject.saved()
      // Having forgotten the other, a client takes only what is newer than what it knew: the next change, or the renewal after 15 s.
      let times = 0
      await until('both to see each other again', () => {
        for (const one of [subject, other]) one.show('again', times++)
        return subject.sees(other.doc.clientID)?.user === 'Ben' && other.sees(subject.doc.clientID)?.user === 'Ann'
      }, { everyMs: 50 })
      await witness.barrier(name)
      const removed = witness.messages.filter(one => one.isAwareness).flatMap(one => one.awareness).filter(({ id, state }) => id === other.doc.clientID && state === null)
      assert.deepEqual(removed, [], 'the presence of another member was removed')
    })
  },

  async 'a token with less than 30 s to live: the server asks for a fresh one, and takes it without a word' ({ enter, room }) {
    for (const version of ['4.8.0', null]) {
      const client = await enter(room, { token: writeToken('ann', '*', { exp: now() + 20 }), version })
      await client.next(room, 'the question for a fresh token', one => one.hex === hexOf(question(room)), { from: 0 })
      const from = client.messages.length
      client.send(auth(room, writeToken('ann'), version))
      client.send(update(room, vector('A1')))
      await client.next(room, 'the status', one => one.isSaved, { from })
      await client.barrier(room)
      const other = client.messages.slice(from).filter(one => one.isAccepted || one.isRefused || one.isClose)
      assert.equal(other.length, 0, `a fresh token was answered with ${list(other)}`)
    }
  },

  async 'a token with more than 30 s to live: nobody is asked' ({ enter, room }) {
    const client = await enter(room, { token: writeToken('ann', '*', { exp: now() + 120 }) })
    for (let i = 0; i < 5; i++) await client.barrier(room)
    assert.ok(!client.messages.some(one => one.isQuestion))
  },

  async 'the provider is asked for a fresh token, and goes on; one that always has short ones is not asked again and again' ({ editor, room }) {
    await each(async version => {
      const name = `${room}/${version}`
      let asked = 0
      const good = editor(version, { name, token: () => writeToken('ann', '*', asked++ === 0 ? { exp: now() + 20 } : {}) })
      await good.saved()
      await until('to be asked for a fresh token', () => asked >= 2)
      good.type('hi')
      await good.saved()
      let always = 0
      const started = performance.now()
      const short = editor(version, { name, token: () => { always++; return writeToken('ben', '*', { exp: now() + 20 }) } })
      await short.saved()
      for (let i = 0; i < 20; i++) {
        short.provider.forceSync()
        await short.saved()
      }
      const seconds = (performance.now() - started) / 1000
      assert.ok(always - 1 <= 3 + seconds, `a provider whose tokens live for 20 s was asked ${always - 1} times in ${seconds.toFixed(1)} s; at most once a second was expected`)
      assert.ok(asked <= 4, `a provider with a fresh token was asked ${asked - 1} times`)
      assert.deepEqual([good.connects, short.connects, good.closings, short.closings], [1, 1, [], []])
    })
  }
}

/** How early the server asks for a fresh token, and how long it waits for one after the last has run out. */
export const freshness = {
  env: { CONCORD_AUTH_LEEWAY_S: '0', CONCORD_HOCUSPOCUS_TOKEN_ASK_MS: '3000', CONCORD_HOCUSPOCUS_TOKEN_GRACE_MS: '1500' },
  askMs: 3000,
  graceMs: 1500
}

/** These need a server with the times of `freshness`. */
export const freshnessStatements = {
  async 'tokens of a few seconds: the provider is asked in time, again and again, and stays; who has no fresh one is closed after the grace' ({ editor, enter, open, room }) {
    const silent = await open()
    const until5 = now() + 5
    await silent.enter(room, { token: writeToken('dan', '*', { exp: until5 }) })
    await silent.enter(`${room}/other`, { token: writeToken('dan') })
    const editors = await each(async version => {
      const tokens = []
      const subject = editor(version, { token: () => { tokens.push(now()); return writeToken(version, '*', { exp: now() + 5 }) } })
      await subject.saved()
      return { subject, tokens }
    })
    const asked = await silent.next(room, 'the question for a fresh token', one => one.isQuestion, { from: 0 })
    assert.ok(Date.now() >= until5 * 1000 - freshness.askMs - 100, `asked ${until5 * 1000 - Date.now()} ms before the end`)
    areExactly([asked], [question(room)], 'the question')
    const end = await silent.next(room, 'the end of a document without a fresh token', one => one.isClose, { from: 0, ms: 20_000 })
    const lateMs = Date.now() - until5 * 1000
    areExactly([end], [closed(room, 'Unauthorized')], 'the end without a fresh token')
    assert.ok(lateMs >= freshness.graceMs - 100 && lateMs < freshness.graceMs + 3000, `closed ${lateMs} ms after the token had run out`)
    await silent.barrier(`${room}/other`)
    await until(() => `each provider to have been asked four times; ${editors.map(({ subject, tokens }) => `${tokens.length}; ${subject.told}`).join('; ')}`,
      () => editors.every(({ tokens }) => tokens.length >= 5), { ms: 25_000 })
    for (const { subject } of editors) {
      subject.provider.forceSync()
      await subject.saved()
      assert.deepEqual([subject.connects, subject.closings], [1, []], subject.told)
    }
  }
}
