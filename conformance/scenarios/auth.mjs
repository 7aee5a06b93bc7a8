// Tokens, API keys and what an administrator decides, as each version of the provider sees them.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { Admin, concord, makeKey, makeToken, now, secret } from '../lib/access.mjs'
import { versionNames } from '../lib/provider.mjs'
import { RawClient } from '../lib/raw_client.mjs'
import { each, ended, prove, refused } from '../lib/statements.mjs'
import { until } from '../lib/until.mjs'

export const name = 'auth'
export const seconds = 90
export const needsBinary = true

const revokedMs = 1_000
const listed = 'https://app.example'

export async function run ({ server: startServer, log }) {
  const server = await startServer({
    env: { CONCORD_AUTH_SECRET: secret, CONCORD_AUTH_COOKIE: 'jwt', CONCORD_ADMIN_LISTEN: '127.0.0.1:0', CONCORD_ORIGINS_ALLOWED: `*,${listed}` }
  })
  await prove(statements, { server, log, admin: await Admin.of(server) })
}

const roomPath = room => `/api/admin/rooms/${encodeURIComponent(room)}`
const writeToken = (user, room = '*') => makeToken({ userId: user, rooms: [{ name: room, permission: 'write' }] })
const readToken = (user, room = '*') => makeToken({ userId: user, rooms: [{ name: room, permission: 'read' }] })

/** Something for those who are refused not to see. */
async function fill (open, room, text = 'kept') {
  const doc = new Y.Doc()
  doc.getText('t').insert(0, text)
  const client = await open({ headers: { authorization: `Bearer ${writeToken('filler')}` } }, room)
  client.sendUpdate(Y.encodeStateAsUpdate(doc))
  await client.frame('the echo', frame => frame.isUpdate)
  client.terminate()
}

const statements = {
  async 'a token of the command line and one made with node:crypto meet in the room, in each version' ({ server, room, edit }) {
    const made = await concord(server, 'token', '--user', 'ann', '--room', `${room}/*:write`, '--ttl', '1h')
    await each(async version => {
      const a = await edit(version, { room: `${room}/${version}`, token: made }).synced()
      const b = await edit(version, { room: `${room}/${version}`, token: writeToken('ben', `${room}/*`) }).synced()
      a.type('from ann')
      await until('the edit', () => b.text === 'from ann')
      b.type(', from ben')
      await until('the answer', () => a.text === 'from ann, from ben')
    })
  },

  async 'without a token: 4401 unauthorized' ({ room, edit, open, denials }) {
    await fill(open, room)
    await each(version => refused(edit(version, {}), 4401, 'unauthorized'))
    assert.ok(denials(room).length >= versionNames.length, 'each is told')
    assert.ok(denials(room).every(reason => reason === 'unauthorized'), `told ${denials(room)}`)
  },

  async 'with a signature of another key: 4401 unauthorized' ({ room, edit, open }) {
    await fill(open, room)
    await each(version => refused(edit(version, { token: makeToken({ userId: 'eve' }, { key: `${secret}!` }) }), 4401, 'unauthorized'))
  },

  async 'with a token that has run out: 4401 token-expired' ({ room, edit, open }) {
    await fill(open, room)
    await each(version => refused(edit(version, { token: makeToken({ userId: 'ann', exp: now() - 60 }) }), 4401, 'token-expired'))
  },

  async 'with a token for another room: 4403 permission-denied' ({ room, edit, open }) {
    await fill(open, room)
    await each(version => refused(edit(version, { token: writeToken('ann', `${room}/other`) }), 4403, 'permission-denied'))
  },

  async 'who is refused is told why before anything else, and gets no byte of the document' ({ server, room, open }) {
    await fill(open, room)
    const client = await RawClient.open(`${server.url}/${room}`)
    client.sendStep1()
    assert.deepEqual(await client.whenClosed(), { code: 4401, reason: 'unauthorized' })
    assert.deepEqual(client.frames.map(frame => frame.hex), [`02000c${Buffer.from('unauthorized').toString('hex')}`])
  },

  async 'a reader receives and is present; its edits reach nobody, and it is told so once' ({ room, edit, open, denials }) {
    await each(async version => {
      const name = `${room}/${version}`
      const writer = await edit(version, { room: name, token: writeToken('ann') }).synced()
      const reader = await edit(version, { room: name, token: readToken('ben') }).synced()
      writer.type('one')
      await until('the reader to receive', () => reader.text === 'one')
      reader.provider.awareness.setLocalStateField('user', { name: 'Ben' })
      await until('the reader to be seen', () => writer.provider.awareness.getStates().get(reader.doc.clientID)?.user?.name === 'Ben')
      reader.get('t').insert(0, 'x')
      reader.get('t').insert(0, 'y')
      await until('the reader to be told', () => denials(name).length > 0)
      writer.type(', two')
      await until('the reader to receive more', () => reader.text.endsWith('one, two'))
      assert.equal(writer.text, 'one, two')
      const late = await edit(version, { room: name, token: readToken('cid') }).synced()
      assert.equal(late.text, 'one, two')
      assert.deepEqual(denials(name), ['read-only'])
      assert.equal(reader.connects, 1, 'a reader that typed stays connected')
    })
  },

  async 'a token that runs out: 4501, and with fresh parameters the provider goes on; nothing is lost' ({ room, edit }) {
    await each(async version => {
      const name = `${room}/${version}`
      const brief = () => makeToken({ userId: 'ann', exp: now() + 3 })
      const editor = edit(version, { room: name, token: brief() })
      editor.provider.on('connection-close', event => {
        if (event?.code === 4501) editor.provider.params = { token: editor.ends.length < 2 ? brief() : writeToken('ann') }
      })
      let typed = 0
      await until(() => `two refreshes of provider ${version}; it was closed ${JSON.stringify(editor.ends)}`, () => {
        editor.type(`${typed++} `)
        return editor.ends.length >= 2 && editor.provider.synced
      }, { everyMs: 10 })
      assert.deepEqual(editor.ends.map(({ code, reason }) => `${code} ${reason}`), Array(2).fill('4501 token expired, reconnect'))
      assert.equal(editor.connects, 3)
      const reader = await edit(version, { room: name, token: readToken('ben') }).synced()
      await until('all that was typed', () => reader.text === editor.text)
      assert.equal(editor.text, Array.from({ length: typed }, (_, i) => `${i} `).join(''))
    })
  },

  async 'an API key opens the door, and ends within a second when it is revoked: 4403' ({ server, room, edit, admin }) {
    await each(async version => {
      const { id, key } = await makeKey(server, '--name', version, '--owner', 'bot', '--room', `${room}/*`)
      await until('the running server to know the key', async () => (await admin.do('GET', '/api/admin/keys')).keys.some(known => known.id === id))
      const editor = await edit(version, { room: `${room}/${version}`, token: key }).synced()
      await concord(server, 'key', 'revoke', id)
      await ended(editor, 4403, 'access revoked', revokedMs)
      if (!editor.knowsTheEnd) await ended(editor, 4401, 'unauthorized')
    })
  },

  async 'a token in a cookie counts for pages of the same host and for those that are listed, and for no others' ({ server, room }) {
    const url = `${server.url}/${room}`
    const visit = async (origin, token = writeToken('ann')) => {
      const client = new RawClient(url, { headers: { cookie: `theme=dark; jwt=${token}` }, ...(origin === undefined ? {} : { origin }) })
      await until('an answer', () => client.refused || client.frames.length > 0)
      const seen = client.refused ?? (client.frames[0].isDenied ? client.frames[0].reason : 'in')
      client.terminate()
      return seen
    }
    assert.equal(await visit(`http://127.0.0.1:${server.port}`), 'in')
    assert.equal(await visit(listed), 'in')
    assert.equal(await visit(listed, 'not.a.token'), 'unauthorized')
    for (const origin of ['https://evil.example', `${listed}.evil.example`, 'http://app.example', 'null', undefined]) {
      assert.equal(await visit(origin), 403, `Origin: ${origin}`)
    }
  },

  async 'revoke takes a user out of everywhere: 4403; a token that was made later counts' ({ room, edit, admin }) {
    const user = `${room}/ann`
    const other = await edit('3.1.0', { token: writeToken('ben') }).synced()
    const editors = await each(version => edit(version, { room: `${room}/${version}`, token: writeToken(user) }).synced())
    const { connections } = await admin.do('POST', '/api/admin/revoke', { user })
    assert.equal(connections, versionNames.length)
    await Promise.all(editors.map(editor => ended(editor, 4403, 'access revoked', revokedMs)))
    const { revocations } = await admin.do('GET', '/api/admin/revocations')
    assert.ok(revocations.some(revocation => revocation.user === user && revocation.room === null && revocation.read === false))
    await Promise.all(editors.filter(editor => !editor.knowsTheEnd).map(editor => until('the second refusal', () => editor.ends.length >= 2)))
    for (const editor of editors) assert.ok(editor.ends.every(end => end.code === 4403), JSON.stringify(editor.ends))
    await edit('2.1.0', { token: makeToken({ userId: user, iat: now() + 1 }) }).synced()
    assert.equal(other.connects, 1, 'others notice nothing')
  },

  async 'revoke can leave the right to read in one room' ({ room, edit, admin, denials }) {
    const user = `${room}/ann`
    const editor = await edit('3.1.0', { token: writeToken(user) }).synced()
    const elsewhere = await edit('3.1.0', { room: `${room}/elsewhere`, token: writeToken(user) }).synced()
    const witness = await edit('3.1.0', { token: writeToken('ben') }).synced()
    editor.type('before')
    await until('the edit', () => witness.text === 'before')
    assert.deepEqual(await admin.do('POST', '/api/admin/revoke', { user, room, permission: 'read' }), { connections: 1 })
    editor.type(', after')
    await until('the denial', () => denials(room).includes('read-only'))
    witness.type('!')
    await until('the reader to receive', () => editor.text.includes('!'))
    assert.equal(witness.text, 'before!')
    elsewhere.type('as before')
    const late = await edit('3.1.0', { room: `${room}/elsewhere`, token: readToken('cid') }).synced()
    await until('the edit in the other room', () => late.text === 'as before')
    assert.equal(editor.connects, 1)
  },

  async 'a locked room refuses edits and stays connected; unlocked, it takes them, those of between too' ({ room, edit, admin, denials }) {
    await each(async version => {
      const name = `${room}/${version}`
      const [a, b] = await Promise.all(['ann', 'ben'].map(user => edit(version, { room: name, token: writeToken(user) }).synced()))
      a.type('before')
      await until('the edit', () => b.text === 'before')
      assert.deepEqual(await admin.do('POST', `${roomPath(name)}/lock`), { connections: 2 })
      assert.deepEqual(await admin.do('GET', roomPath(name)), { locked: true, deleted: false })
      a.type(', while locked')
      await until('the denial', () => denials(name).includes('read-only'))
      const late = await edit(version, { room: name, token: writeToken('cid') }).synced()
      assert.deepEqual([b.text, late.text], ['before', 'before'])
      await admin.do('POST', `${roomPath(name)}/unlock`)
      a.type(', after')
      await until(() => `the edits; there is "${b.text}"`, () => b.text === 'before, while locked, after')
      assert.equal(a.connects, 1)
    })
  },

  async 'a deleted room: members and visitors get 4404, and reopened it is a new empty one' ({ room, edit, admin }) {
    await each(async version => {
      const name = `${room}/${version}`
      const member = await edit(version, { room: name, token: writeToken('ann') }).synced()
      member.type('to be deleted')
      const reader = await edit(version, { room: name, token: readToken('ben') }).synced()
      await until('the edit', () => reader.text === 'to be deleted')
      assert.deepEqual(await admin.do('DELETE', roomPath(name)), { existed: true, connections: 2 })
      await Promise.all([member, reader].map(editor => ended(editor, 4404, 'room deleted', revokedMs)))
      assert.deepEqual(await admin.do('GET', roomPath(name)), { locked: false, deleted: true })
      const visitor = edit(version, { room: name, token: writeToken('cid') })
      await refused(visitor, 4404, 'room deleted')
      // Whoever still has the document would bring it back.
      for (const editor of [member, reader, visitor]) editor.provider.disconnect()
      assert.deepEqual(await admin.do('POST', `${roomPath(name)}/reopen`), { reopened: true })
      const anew = await edit(version, { room: name, token: writeToken('cid') }).synced()
      assert.equal(anew.text, '')
      anew.type('new')
      const late = await edit(version, { room: name, token: readToken('ben') }).synced()
      await until('the edit', () => late.text === 'new')
    })
  },

  async 'an administrator can send somebody away, for good or to come back' ({ room, edit, admin }) {
    const [ann, ben] = await Promise.all(['ann', 'ben'].map(user => edit('3.1.0', { token: writeToken(user) }).synced()))
    assert.deepEqual(await admin.do('POST', `${roomPath(room)}/kick`, { user: 'ann' }), { connections: 1 })
    await ended(ann, 4403, 'disconnected by an administrator', revokedMs)
    assert.deepEqual(await admin.do('POST', `${roomPath(room)}/kick`, { come_back: true }), { connections: 1 })
    await ended(ben, 4500, 'disconnected by an administrator, reconnect', revokedMs)
    await until('the return', () => ben.connects === 2 && ben.provider.synced)
  },

  async 'the admin API is for keys with the scope admin' ({ server, room, admin }) {
    const { id, key } = await makeKey(server, '--name', 'plain', '--owner', 'bot')
    await until('the running server to know the key', async () => (await admin.do('GET', '/api/admin/keys')).keys.some(known => known.id === id))
    const path = roomPath(room)
    assert.equal((await admin.ask('GET', path, undefined, { key: null })).status, 401)
    assert.equal((await admin.ask('GET', path, undefined, { key: writeToken('ann') })).status, 401)
    assert.equal((await admin.ask('GET', path, undefined, { key })).status, 403)
    assert.equal((await fetch(`http://127.0.0.1:${server.port}/metrics`)).ok, true, 'where clients connect it is a room like any other')
    const metrics = await admin.ask('GET', '/metrics')
    assert.match(metrics.body, /^concord_refused_total\{reason="credential"\} \d+$/m)
    assert.ok(!metrics.body.includes(room), 'metrics name no rooms')
  }
}
