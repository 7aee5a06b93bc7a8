// The five document dialects in the same rooms: what is written in one is read in each other one, presence is shared by those that have it, rights are the
// room's, and no dialect disturbs another.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { Admin, makeToken } from '../lib/access.mjs'
import { allDialects, makeDocument, openEditor } from '../lib/any_editor.mjs'
import { askUpgrade } from '../lib/any_editor_http.mjs'
import { inOrder, newName, proveWithNames } from '../lib/any_editor_statements.mjs'
import { JsonYjsClient, draftUrl, firmToken } from '../lib/json_yjs.mjs'
import { Random } from '../lib/random.mjs'
import { RawClient, awarenessMessage, bytesOf } from '../lib/raw_client.mjs'
import { SessionsClient } from '../lib/sessions.mjs'
import { pause, until } from '../lib/until.mjs'
import { askSocket, call, managerOf, openRaw, quiet, serverToken, signingKey } from '../lib/y_sweet.mjs'
import { updateOf } from '../wire/vectors.mjs'

export const name = 'cross'
export const seconds = 180
export const needsBinary = true

const seenMs = 1_000
const newest = { 'y-websocket': 'y-websocket 3.1.0', hocuspocus: 'hocuspocus 4.8.0', 'y-sweet': 'y-sweet 0.9.1', 'json-yjs': 'json-yjs', sessions: 'sessions' }
const dialects = Object.keys(newest)
const present = dialects.filter(dialect => dialect !== 'json-yjs')
const pairsOf = list => list.flatMap(a => list.filter(b => b !== a).map(b => [a, b]))
const pairs = pairsOf(dialects).map(([a, b]) => [newest[a], newest[b]])
const olderPairs = ['y-websocket', 'y-sweet', 'json-yjs', 'sessions']
  .flatMap(dialect => [
    ['hocuspocus 3.4.4', newest[dialect]],
    [newest[dialect], 'hocuspocus 3.4.4']
  ])
  .concat([['hocuspocus 3.4.4', 'hocuspocus 4.8.0']])
const presentPairs = pairsOf(present).map(([a, b]) => [newest[a], newest[b]])

const anyToken = user => makeToken({ userId: user, firmId: 'firm-1' })
const kills = 5

export async function run ({ server: startServer, seed, log }) {
  const server = await startServer({ env: { ...allDialects, CONCORD_ADMIN_LISTEN: '127.0.0.1:0' } })
  const admin = await Admin.of(server)
  const another = await startServer({ env: allDialects })
  const renewal = proveWithNames(renewed, { server, log }) // 45 s of waiting, beside the others
  renewal.catch(() => {}) // told at the end
  await inOrder(
    () => provePairs(server, log),
    () => proveWithNames(statements, { server, admin, log }),
    () => proveWithNames(disturbances, { server, log }),
    () => proveWithNames(afterKills, { server: another, seed, log }),
    () => renewal,
    () => noSecrets(server, admin)
  )
}

/** One after the other, because they say how long it takes. */
async function provePairs (server, log) {
  quiet()
  const failures = []
  let slowestMs = 0
  for (const [[first, second], holds] of [...[...pairs, ...olderPairs].map(pair => [pair, editsFlow]), ...presentPairs.map(pair => [pair, presenceFlows])]) {
    const id = newName()
    await makeDocument(server, id)
    const editors = [openEditor(first, server, id, 'ann'), openEditor(second, server, id, 'ben')]
    try {
      await Promise.all(editors.map(editor => editor.synced()))
      slowestMs = Math.max(slowestMs, await holds(...editors))
      assert.deepEqual(
        editors.flatMap(editor => editor.surprises),
        []
      )
    } catch (error) {
      failures.push(`${holds.name}: ${first}, ${second}`)
      log(`does not hold: ${holds.name} from ${first} to ${second}\n    ${error.message}`)
    }
    for (const editor of editors) editor.terminate()
  }
  log(
    `${pairs.length + olderPairs.length} pairs of editors and ${presentPairs.length} of presences, ` +
      `${failures.length} of them failed; the slowest took ${slowestMs.toFixed(0)} ms`
  )
  if (failures.length > 0) throw new Error(`${failures.length} pairs failed`)
}

/** Statement 1: an edit is seen within a second, and both end equal. */
async function editsFlow (a, b) {
  const began = performance.now()
  a.type('from the first')
  await until(
    () => `the edit; there is "${b.text}"`,
    () => b.text === 'from the first',
    { ms: seenMs }
  )
  const tookMs = performance.now() - began
  b.delete(0, 4)
  b.type('!')
  await until(
    () => `the answer; there is "${a.text}"`,
    () => a.text === ' the first!',
    { ms: seenMs }
  )
  assert.equal(b.text, a.text)
  assert.ok(Y.equalSnapshots(Y.snapshot(a.doc), Y.snapshot(b.doc)), 'the documents are equal')
  return tookMs
}

/** Presence is seen within a second, follows its owner, and ends with it. */
async function presenceFlows (a, b) {
  b.present(100)
  const began = performance.now()
  a.present(1)
  const seen = () => JSON.stringify(b.sees(a.id))
  await until(
    () => `the presence; there is ${seen()}`,
    () => seen() === '{"name":"ann","place":1}',
    { ms: seenMs }
  )
  const tookMs = performance.now() - began
  a.present(2)
  await until(
    () => `the new place; there is ${seen()}`,
    () => b.sees(a.id)?.place === 2,
    { ms: seenMs }
  )
  await a.goOffline()
  await until('the end of the presence', () => b.sees(a.id) === undefined, { ms: seenMs })
  assert.deepEqual(b.sees(b.id), { name: 'ben', place: 100 })
  a.comeBack()
  await a.synced()
  a.present(3)
  await until(
    () => `the presence of who has come back; there is ${seen()}`,
    () => b.sees(a.id)?.place === 3,
    { ms: seenMs }
  )
  return tookMs
}

/** One editor of each dialect in one document. */
async function everybody ({ server, id, keep }, list = dialects) {
  await makeDocument(server, id)
  const editors = list.map(dialect => keep(openEditor(newest[dialect], server, id, `${dialect}-user`)))
  await Promise.all(editors.map(editor => editor.synced()))
  return editors
}

const untilEqual = editors =>
  until(
    () => `all to be equal: ${editors.map(editor => `${editor.kind} "${editor.text}"`).join(', ')}`,
    () => new Set(editors.map(editor => editor.text)).size === 1
  )

const statements = {
  async "who leaves takes its own presence along, and nobody else's" (tools) {
    const editors = [
      ...(await everybody(tools, present)),
      ...present.map(dialect => tools.keep(openEditor(newest[dialect], tools.server, tools.id, `second-${dialect}`)))
    ]
    await Promise.all(editors.map(editor => editor.synced()))
    editors.forEach((editor, i) => editor.present(i))
    const expected = those => JSON.stringify(those.map(editor => [editor.id, `${editor.name}@${editor.place}`]).sort(([a], [b]) => a - b))
    const agree = async those => {
      for (const editor of those)
        await until(
          () => `${editor.words} to see ${expected(those)}; it sees ${JSON.stringify(editor.presence)}`,
          () => JSON.stringify(editor.presence) === expected(those)
        )
    }
    await agree(editors)
    for (const dialect of present) {
      const leaving = editors.find(editor => editor.dialect === dialect && editor.isOnline)
      await leaving.goOffline()
      await agree(editors.filter(editor => editor.isOnline))
    }
    for (const editor of editors.filter(editor => !editor.isOnline)) editor.comeBack()
    await Promise.all(editors.map(editor => editor.synced()))
    editors.forEach((editor, i) => editor.present(100 + i))
    await agree(editors)
  },

  async "a session's state is that of a Yjs client: user, cursor and the members of state, under its client id" ({ server, id, keep, open }) {
    await makeDocument(server, id)
    const yjs = await open({ headers: { authorization: `Bearer ${anyToken('ann')}` } }, id)
    await yjs.barrier()
    const session = keep(await SessionsClient.open(server, id, { token: makeToken({ userId: 'ben', name: 'Ben' }), client_id: 4_242 }))
    session.send({ type: 'awareness', user: { color: '#ff6b6b' }, cursor: { line: 3, column: 7 }, state: { place: 9, tool: 'pen' } })
    const told = () =>
      yjs.frames
        .filter(frame => frame.isAwareness)
        .flatMap(frame => frame.awareness)
        .filter(entry => entry.id === 4_242)
    await until('the state', () => told().length > 0)
    assert.deepEqual(told()[0].state, { user: { id: 'ben', name: 'Ben', color: '#ff6b6b' }, cursor: { line: 3, column: 7 }, place: 9, tool: 'pen' })
    session.send({ type: 'awareness', awareness: null })
    await until('the null', () => told().at(-1).state === null)
    session.send({ type: 'awareness', state: { place: 10 } })
    await until('the state again', () => told().at(-1).state?.place === 10)
    const clocks = told().map(({ clock }) => clock)
    assert.ok(
      clocks.every((clock, i) => i === 0 || clock > clocks[i - 1] || (told()[i].state === null && clock === clocks[i - 1])),
      `clocks ${clocks}`
    )
    session.close()
    await until('the null', () => told().at(-1).state === null)
    const again = keep(await SessionsClient.open(server, id, { token: makeToken({ userId: 'ben', name: 'Ben' }), client_id: 4_242 }))
    again.send({ type: 'awareness', state: { place: 11 } })
    await until('the state of who has come back with the same id', () => told().at(-1).state?.place === 11)
    assert.ok(told().at(-1).clock > clocks.at(-1), 'clocks go on through null')
  },

  async "a Yjs client's state is shown to sessions in `state`, with `user` if it has a name, without `cursor`" ({ server, id, keep, open }) {
    await makeDocument(server, id)
    const session = keep(await SessionsClient.open(server, id, { token: anyToken('ben') }))
    const yjs = await open({ headers: { authorization: `Bearer ${anyToken('ann')}` } }, id)
    const named = { user: { name: 'Ann', color: '#00aaff' }, cursor: { anchor: 1 } }
    yjs.send(
      awarenessMessage([
        { id: 51, clock: 1, json: JSON.stringify(named) },
        { id: 52, clock: 1, json: '{"n":1}' }
      ])
    )
    const states = {}
    await until('both states', () => {
      for (const { awareness } of session.of('awareness')) Object.assign(states, awareness)
      return states[51] && states[52]
    })
    const check = states => {
      assert.deepEqual([states[51].client_id, states[51].state, states[51].user.name, states[51].cursor], [51, named, 'Ann', undefined])
      assert.deepEqual([states[52].client_id, states[52].state, states[52].user, states[52].cursor], [52, { n: 1 }, undefined, undefined])
    }
    check(states)
    check(keep(await SessionsClient.open(server, id, { token: anyToken('cid') })).initial.awareness)
    yjs.close()
    await until('the end of both', () => {
      for (const { awareness } of session.of('awareness')) Object.assign(states, awareness)
      return states[51] === null && states[52] === null
    })
  },

  async "no client sees another dialect's framing (2)" (tools) {
    const { server, id, keep } = tools
    const editors = await everybody(tools)
    const token = anyToken('watcher')
    const watchers = {
      'y-websocket': keep(await RawClient.open(`${server.url}/${id}?token=${token}`)),
      hocuspocus: keep(await RawClient.open(`${server.url}/`)),
      'y-sweet': keep(await openRaw(server, id, (await managerOf(server, serverToken).getClientToken(id)).token)),
      'json-yjs': keep(await JsonYjsClient.open(server, id, firmToken('watcher'))),
      sessions: keep(await SessionsClient.open(server, id, { token }))
    }
    watchers.hocuspocus.send(hocuspocusToken(id, token))
    editors.forEach((editor, i) => {
      editor.type(`${editor.kind}. `)
      editor.present(i)
    })
    await untilEqual(editors)
    await until('all to have been told', () => Object.values(watchers).every(watcher => (watcher.frames ?? watcher.messages).length >= editors.length))
    for (const editor of editors) editor.terminate()
    await until('the last leave', () => watchers.sessions.of('leave').length >= 1)
    for (const [dialect, watcher] of Object.entries(watchers))
      for (const frame of watcher.frames ?? watcher.messages)
        assert.equal(
          strangeness[dialect](frame, id),
          null,
          `to ${dialect}: ${frame.hex ?? frame.text ?? frame.raw ?? Buffer.from(frame.bytes).toString('hex')}`
        )
  },

  async 'a registered draft refuses a stranger on all five dialects, and lets its firm in (3)' (tools) {
    const { server, id, admin, keep, open } = tools
    await admin.do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-1', ownerId: 'ann', collaborators: [{ userId: 'vic', permission: 'view' }] })
    const owner = keep(await JsonYjsClient.open(server, id, firmToken('ann')))
    owner.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'secret')))
    await owner.barrier()
    for (const [who, token] of [
      ['another firm', firmToken('ann', 'firm-2')],
      ['somebody without a firm', makeToken({ userId: 'ann' })],
      ['somebody who is not listed', firmToken('zoe')]
    ]) {
      const yjs = await open({ headers: { authorization: `Bearer ${token}` } }, id)
      assert.deepEqual(
        [await yjs.whenClosed(), yjs.frames.map(frame => frame.reason)],
        [{ code: 4403, reason: 'permission-denied' }, ['permission-denied']],
        `${who} on y-websocket`
      )
      const hocuspocus = keep(await RawClient.open(`${server.url}/`))
      hocuspocus.send(hocuspocusToken(id, token))
      await until('an answer', () => hocuspocus.frames.length > 0)
      assert.deepEqual(
        hocuspocus.frames.map(frame => hocuspocusMessage(frame.bytes)),
        [{ address: id, type: 2, kind: 1, text: 'permission-denied' }],
        `${who} on hocuspocus`
      )
      const json = keep(new JsonYjsClient(draftUrl(server, id, token)))
      await json.whenClosed()
      assert.deepEqual([json.closed.code, json.messages.map(({ type }) => type)], [1008, ['error']], `${who} on json-yjs`)
      const session = await askUpgrade(server, `/ws/document/${id}?token=${token}`)
      assert.deepEqual([session.status, session.text], [403, '{"error":"forbidden"}'], `${who} on sessions`)
    }
    // A Y-Sweet identity has no firm; the server token is the application's, and no way around it.
    const clientToken = await managerOf(server, serverToken)
      .getClientToken(id)
      .catch(() => null)
    for (const token of [serverToken, ...(clientToken === null ? [] : [clientToken.token])]) {
      assert.ok(isRefusal((await askSocket(server, id, token)).status), 'y-sweet: the socket')
      const read = await call(server, 'GET', `/d/${id}/as-update`, { token })
      assert.ok(isRefusal(read.status), `y-sweet: as-update is answered with ${read.status}`)
      assert.ok(!read.text.includes('secret'))
      const written = await call(server, 'POST', `/d/${id}/update`, {
        token,
        headers: { 'content-type': 'application/octet-stream' },
        body: updateOf(doc => doc.getText('t').insert(0, 'x'), 66)
      })
      assert.ok(isRefusal(written.status), `y-sweet: update is answered with ${written.status}`)
    }
    await owner.barrier()
    assert.equal(owner.updates.length, 0)
  },

  async 'who may view a draft reads on each dialect that tokens open, and edits on none (3)' (tools) {
    const { server, id, admin, keep, open } = tools
    await admin.do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-1', ownerId: 'ann', collaborators: [{ userId: 'vic', permission: 'view' }] })
    const owner = keep(await JsonYjsClient.open(server, id, firmToken('ann')))
    owner.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'kept'), 1))
    const token = firmToken('vic')
    const update = author => updateOf(doc => doc.getText('t').insert(0, 'x'), author)
    const yjs = await open({ headers: { authorization: `Bearer ${token}` } }, id)
    await yjs.barrier()
    yjs.sendUpdate(update(101))
    assert.equal((await yjs.frame('the denial', frame => frame.isDenied)).reason, 'read-only')
    const hocuspocus = keep(await RawClient.open(`${server.url}/`))
    hocuspocus.send(hocuspocusToken(id, token))
    await until('the scope', () => hocuspocus.frames.some(frame => hocuspocusMessage(frame.bytes).text === 'readonly'))
    const session = keep(await SessionsClient.open(server, id, { token }))
    session.send(update(102))
    await session.error('READ_ONLY')
    const viewer = keep(await JsonYjsClient.open(server, id, token))
    viewer.sendUpdate(update(103))
    await viewer.message('the refusal', message => message.type === 'error')
    assert.deepEqual([session.text, viewer.text], ['kept', 'kept'])
    await owner.barrier()
    assert.equal(owner.updates.length, 0)
  },

  async 'rights that are taken away end the connections of all dialects (3)' (tools) {
    const { server, id, admin, keep, open } = tools
    await makeDocument(server, id)
    const outsider = makeToken({ userId: 'zoe', firmId: 'firm-2' })
    const yjs = await open({ headers: { authorization: `Bearer ${outsider}` } }, id)
    const sweet = keep(await openRaw(server, id, (await managerOf(server, serverToken).getClientToken(id)).token))
    const json = keep(await JsonYjsClient.open(server, id, outsider))
    const session = keep(await SessionsClient.open(server, id, { token: outsider }))
    const hocuspocus = keep(await RawClient.open(`${server.url}/`))
    hocuspocus.send(hocuspocusToken(id, outsider))
    await until('the scope', () => hocuspocus.frames.some(frame => hocuspocusMessage(frame.bytes).text === 'read-write'))
    await admin.do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-1', ownerId: 'ann' })
    for (const client of [yjs, sweet, json, session]) await client.whenClosed()
    assert.deepEqual([yjs.closed.code, json.closed.code], [4403, 1008])
    await until(
      'the end of the document on the shared socket',
      () => hocuspocus.closed || hocuspocus.frames.some(frame => hocuspocusMessage(frame.bytes).type === 7)
    )
  },

  async 'paths of one dialect are not served by another, whatever the first frame looks like (7)' ({ server, id, keep }) {
    await makeDocument(server, id)
    const token = anyToken('ann')
    const refusals = {
      '/ws/updates': 501,
      '/ws/other': 404,
      '/ws/': 404,
      '/ws/document': 404,
      '/ws/document/': 404,
      [`/ws/document/${id}/x`]: 404,
      [`/d/${id}/ws`]: 404,
      [`/d/${id}`]: 404,
      '/doc/x': 404,
      '/doc/ws': 404,
      '/api/x': 404,
      '/health': 404,
      '/ready': 404,
      '/check_store': 404
    }
    for (const [path, status] of Object.entries(refusals)) assert.equal((await askUpgrade(server, `${path}?token=${token}`)).status, status, path)
    for (const path of ['/_concord/x', '/sync', '/websocket', '/connect', '/__ws/websocket', '/__ws/connect']) {
      const client = keep(new RawClient(`${server.url}${path}?token=${token}`))
      await until(`an answer at ${path}`, () => client.refused || client.isOpen || client.closed)
      if (client.isOpen) await client.whenClosed().catch(() => {})
      assert.ok(!client.frames.some(frame => frame.isBinary), `${path} is no room: ${client.frames.map(frame => frame.hex)}`)
    }
    const firsts = [
      bytesOf('00 00 01 00'),
      hocuspocusToken(id, token),
      bytesOf('66 01 00'),
      Buffer.from('{"type":"yjs-state-request"}'),
      updateOf(doc => doc.getText('t').insert(0, 'x'))
    ]
    const sweetToken = (await managerOf(server, serverToken).getClientToken(id)).token
    for (const first of firsts) {
      for (const [dialect, path] of Object.entries({
        'y-websocket': `/${id}?token=${token}`,
        hocuspocus: '/',
        'y-sweet': `/d/${id}/ws/${id}?token=${sweetToken}`,
        'json-yjs': `/ws?token=${token}&draftId=${id}`,
        sessions: `/ws/document/${id}?token=${token}`
      })) {
        const frames = await framesAfter(server, path, first, keep)
        for (const frame of frames)
          assert.equal(
            strangeness[dialect](frame, id),
            null,
            `${path.split('?')[0]} answered ${Buffer.from(first).toString('hex').slice(0, 40)} with ${Buffer.from(frame.bytes ?? frame.text ?? frame.raw)
              .toString('hex')
              .slice(0, 80)}`
          )
      }
    }
  },

  async 'the same name, escaped or not, is the same document on each dialect that can say it' ({ server, keep, open }) {
    const name = `${newName()} é`
    const token = anyToken('ann')
    const yjs = await open({ headers: { authorization: `Bearer ${token}` } }, encodeURIComponent(name))
    yjs.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'one document')))
    await yjs.frame('the echo', frame => frame.isUpdate)
    assert.equal(keep(await JsonYjsClient.open(server, name, token)).text, 'one document')
    const session = keep(await SessionsClient.open(server, name, { token }))
    await session.binary()
    assert.equal(session.text, 'one document')
    const editor = keep(openEditor('hocuspocus 4.8.0', server, name, 'ben'))
    await editor.synced()
    assert.equal(editor.text, 'one document')
  }
}

const renewed = {
  async 'the state of a silent session is renewed towards Yjs clients every 15 s, and does not run out after 30 s' ({ server, id, keep, open }) {
    await makeDocument(server, id)
    const yjs = await open({ headers: { authorization: `Bearer ${anyToken('ann')}` } }, id)
    const session = keep(await SessionsClient.open(server, id, { token: anyToken('ben'), client_id: 777 }))
    session.send({ type: 'awareness', state: { place: 1 } })
    const told = () =>
      yjs.frames
        .filter(frame => frame.isAwareness)
        .flatMap(frame => frame.awareness)
        .filter(entry => entry.id === 777)
    await until('two renewals', () => told().length >= 3, { ms: 40_000, everyMs: 100 })
    const [first, second, third] = told()
    assert.deepEqual([second.clock - first.clock, third.clock - second.clock], [1, 1])
    await until('more than 30 s since it was said', () => told().length >= 4, { ms: 20_000, everyMs: 100 })
    assert.ok(
      told().every(({ state }) => state?.place === 1),
      'it never went away'
    )
  }
}

const isRefusal = status => status >= 400 && status < 500

/** All that comes back for one first frame, until the server has had its turn with another connection. */
async function framesAfter (server, path, first, keep) {
  const client = keep(await RawClient.open(server.url + path))
  client.send(first)
  const before = client.frames.length
  await until('an answer, or none', () => client.frames.length > before || client.closed, { ms: 150 }).catch(() => {})
  client.terminate()
  return client.frames.map(frame =>
    frame.isBinary
      ? frame
      : {
          text: Buffer.from(frame.bytes).toString(),
          raw: Buffer.from(frame.bytes).toString(),
          message: Object(JSON.parse(Buffer.from(frame.bytes).toString())),
          isBinary: false,
          type: JSON.parse(Buffer.from(frame.bytes).toString()).type
        }
  )
}

const yjsFrame = types => frame =>
  !frame.isBinary
    ? 'text'
    : frame.unreadable
      ? 'unreadable'
      : frame.trailing > 0
        ? 'more than one message'
        : types.includes(frame.type)
          ? null
          : `type ${frame.type}`

/** dialect -> what is wrong with a frame that a client of it got; null if nothing. */
const strangeness = {
  'y-websocket': yjsFrame([0, 1]),
  'y-sweet': yjsFrame([0, 1, 102]),
  hocuspocus: (frame, id) => {
    if (!frame.isBinary) return 'text'
    const { address, type } = hocuspocusMessage(frame.bytes)
    return address !== id ? `address ${address}` : [0, 1, 2, 7, 8].includes(type) ? null : `type ${type}`
  },
  'json-yjs': frame => (frame.isBinary ? 'binary' : ['yjs-state-response', 'yjs-update', 'error', 'pong'].includes(frame.type) ? null : `type ${frame.type}`),
  sessions: frame => {
    if (frame.message !== undefined)
      return ['initial_state', 'join', 'leave', 'awareness', 'error', 1].includes(frame.message.type) ? null : `type ${frame.message.type}`
    try {
      Y.decodeUpdate(frame.bytes)
      return null
    } catch (error) {
      return `no update: ${error.message}`
    }
  }
}

function hocuspocusToken (address, token) {
  const encoder = encoding.createEncoder()
  encoding.writeVarString(encoder, address)
  encoding.writeVarUint(encoder, 2)
  encoding.writeVarUint(encoder, 0)
  encoding.writeVarString(encoder, token)
  return encoding.toUint8Array(encoder)
}

function hocuspocusMessage (bytes) {
  try {
    const decoder = decoding.createDecoder(bytes)
    const [address, type] = [decoding.readVarString(decoder), decoding.readVarUint(decoder)]
    return type === 2 ? { address, type, kind: decoding.readVarUint(decoder), text: decoding.readVarString(decoder) } : { address, type }
  } catch {
    return {}
  }
}

/** What a broken client of a dialect sends, again and again; each connection ends sooner or later, and is replaced. */
const broken = {
  'y-websocket': async ({ id }) => [
    `/${id}?token=${anyToken('eve')}`,
    ['00 00 05 01', '00 02 03 ff ff ff', 'ff ff ff ff ff ff ff ff ff ff 01', '01 03 05 07 01', '00 02 0c 01 01 05 00 04 01 01 74 02 ff fe 00']
  ],
  hocuspocus: async ({ id }) => ['/', [Buffer.from(hocuspocusToken(id, anyToken('eve'))).toString('hex'), '05 61', '01 61 00 09', '', 'ff ff ff']],
  'y-sweet': async ({ server, id }) => [
    `/d/${id}/ws/${id}?token=${(await managerOf(server, serverToken).getClientToken(id)).token}`,
    ['66 05 01', '66', '00 02 03 ff ff ff', '00 01 02 05 05', `66 81 80 04 ${'00'.repeat(65537)}`]
  ],
  'json-yjs': async ({ id }) => [
    `/ws?token=${anyToken('eve')}&draftId=${id}`,
    ['7b', '5b5d', '00 01 02', Buffer.from('{"type":"yjs-update","data":[5,5]}').toString('hex')]
  ],
  sessions: async ({ id }) => [`/ws/document/${id}?token=${anyToken('eve')}`, ['05 05', '', '00 02 03', '01 01 05']]
}

const disturbances = Object.fromEntries(
  dialects.map(dialect => [
    `a broken client of ${dialect} neither disconnects nor delays those of the others (4)`,
    async tools => {
      const { server, keep } = tools
      const editors = (await everybody(tools)).filter(editor => editor.dialect !== dialect)
      const [path, frames] = await broken[dialect](tools)
      let running = true
      let sent = 0
      const noise = (async () => {
        while (running) {
          const client = keep(await RawClient.open(server.url + path))
          for (let i = 0; i < 60 && running && client.isOpen; i++) {
            client.send(frames[sent++ % frames.length])
            await pause(2)
          }
          client.terminate()
        }
      })()
      try {
        for (let round = 0; round < 3; round++) {
          for (const editor of editors) {
            const text = `${round}:${editor.kind} `
            editor.type(text)
            for (const other of editors)
              await until(
                () => `${text} at ${other.words}; there is "${other.text}"`,
                () => other.text.includes(text),
                { ms: 5 * seenMs }
              )
          }
        }
      } finally {
        running = false
        await noise
      }
      assert.ok(sent > 0)
      assert.deepEqual(
        editors.flatMap(editor => editor.surprises),
        []
      )
    }
  ])
)

const afterKills = {
  async 'a kill loses nothing that another client had received, in any dialect (5)' (tools) {
    const { server, id, seed, log } = tools
    const random = new Random(seed)
    await makeDocument(server, id)
    const shown = new Y.Doc({ gc: false })
    let count = 0
    for (let round = 0; round < kills; round++) {
      const editors = dialects.map(dialect => openEditor(newest[dialect], server, id, `${dialect}-${round}`))
      await Promise.all(editors.map(editor => editor.synced()))
      for (const { doc } of editors) {
        doc.on('update', (update, origin, _, { local }) => {
          if (local) return
          Y.applyUpdate(shown, update)
          count++
        })
      }
      const goal = count + random.between(20, 600)
      await until(
        'updates to be received',
        () => {
          const editor = random.pick(editors)
          editor.insert(random.below(editor.content.length + 1), random.pick(['a', 'bc', ' ']))
          return count >= goal
        },
        { everyMs: 5 }
      )
      await server.kill9()
      await Promise.all(editors.map(editor => editor.goOffline()))
      for (const editor of editors) editor.terminate()
      await server.start()
      const kept = new Y.Doc()
      Y.applyUpdate(kept, await managerOf(server, serverToken).getDocAsUpdate(id))
      let lost = null
      kept.once('update', update => {
        lost = update
      })
      Y.applyUpdate(kept, Y.encodeStateAsUpdate(shown))
      assert.equal(lost, null, `kill ${round}, seed ${seed}: something is gone that had been received, after ${count} updates`)
    }
    log(`${kills} kills, ${count} updates received, none lost`)
  }
}

/** Statement 8. Tokens that are JWTs are looked for in every log line by lib/server.mjs. */
async function noSecrets (server, admin) {
  const metrics = String((await admin.ask('GET', '/metrics')).body)
  for (const [what, text] of [
    ['the log', server.log.join('\n')],
    ['the metrics', metrics]
  ]) {
    for (const secret of [serverToken, signingKey]) assert.ok(!text.includes(secret), `the server token or the signing key is in ${what}`)
    assert.doesNotMatch(text, /eyJ[\w-]{5,}\.[\w-]{5,}|[?&]token=[\w-]{8}/, `a token is in ${what}`)
  }
}
