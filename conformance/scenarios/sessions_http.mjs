// An application that knows its own sessions and permissions: the server asks it over HTTP, by cookie and by signed question, and asks again while
// people are in. Then the application goes down and comes back.

import assert from 'node:assert/strict'
import { createHmac, timingSafeEqual } from 'node:crypto'
import { Admin, Application, browser, makeToken, now, secret } from '../lib/access.mjs'
import { RawClient } from '../lib/raw_client.mjs'
import { each, ended, prove, refused } from '../lib/statements.mjs'
import { pause, until } from '../lib/until.mjs'

export const name = 'sessions-http'
export const seconds = 90
export const needsBinary = true

const page = 'https://app.example'
const webhookSecret = 'the-secret-of-questions-about-permissions'
const unconfirmed = 'access cannot be checked, try again later'

/** What the application knows: sessions by cookie, answers by room; and what it was asked. */
const sessions = new Map()
const permissions = new Map()
const questions = []

export async function run ({ server: startServer, log }) {
  const application = await new Application(answer).up()
  try {
    const server = await startServer({
      env: {
        CONCORD_AUTH_SESSION_URL: `${application.url}/session`,
        CONCORD_AUTH_PERMISSION_URL: `${application.url}/permission`,
        CONCORD_AUTH_WEBHOOK_SECRET: webhookSecret,
        CONCORD_AUTH_SECRET: secret,
        CONCORD_ORIGINS_ALLOWED: `*,${page}`,
        CONCORD_ADMIN_LISTEN: '127.0.0.1:0'
      }
    })
    await prove(statements, { server, log, admin: await Admin.of(server) })
    await prove(outage, { server, log, application })
    const asked = questions.filter(({ path }) => path === '/permission')
    assert.ok(asked.length > 0 && asked.every(({ signed }) => signed), 'every question about permissions is signed')
    log(`${questions.length} questions, ${asked.length} of them signed`)
  } finally {
    await application.down()
  }
}

async function answer ({ path, headers, body }) {
  if (path === '/session') {
    questions.push({ path, cookie: headers.cookie, origin: headers.origin, atMs: performance.now() })
    const session = sessions.get(headers.cookie)
    return session === undefined ? { status: 401 } : { body: session }
  }
  const { identity, room } = JSON.parse(body)
  const { afterMs = 0, ...known } = permissions.get(room) ?? { permission: 'write', ttl_s: 3600 }
  await pause(afterMs)
  questions.push({ path, identity, room, said: known.permission, signed: isSigned(headers, body), atMs: performance.now() })
  return { body: known }
}

/** As an application has to check it. */
function isSigned (headers, body) {
  const timestamp = headers['concord-timestamp']
  if (Math.abs(now() - Number(timestamp)) > 300) return false
  const expected = Buffer.from(`sha256=${createHmac('sha256', webhookSecret).update(`${timestamp}.${body}`).digest('hex')}`)
  const given = Buffer.from(headers['concord-signature'] ?? '')
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** Logs somebody in. @returns the socket of this user's browser */
function login (user, claims = {}) {
  const cookie = `theme=dark; sid=${user}`
  sessions.set(cookie, { userId: user, ttl_s: 3600, ...claims })
  return browser(cookie, page)
}

const logout = user => sessions.delete(`theme=dark; sid=${user}`)
const askedAbout = room => questions.filter(question => question.room === room)

const statements = {
  async 'cookies of a page are an identity, of which the application is asked what it may do' ({ room, edit }) {
    await each(async version => {
      const name = `${room}/${version}`
      const ann = await edit(version, { room: name, WebSocketPolyfill: login(`${name}/ann`, { name: 'Ann', firmId: 'f1', role: 'editor', email: 'ann@app.example' }) }).synced()
      const ben = await edit(version, { room: name, WebSocketPolyfill: login(`${name}/ben`) }).synced()
      ann.type('from a session')
      await until('the edit', () => ben.text === 'from a session')
      // Each may be asked about more than once: another statement has rights confirmed meanwhile.
      const asked = user => askedAbout(name).find(({ identity }) => identity.userId === `${name}/${user}`)?.identity
      assert.deepEqual(asked('ann'), { userId: `${name}/ann`, name: 'Ann', firmId: 'f1', role: 'editor', email: 'ann@app.example' })
      assert.deepEqual(asked('ben'), { userId: `${name}/ben`, name: null, firmId: null, role: null, email: null })
      assert.ok(questions.some(({ cookie, origin }) => cookie === `theme=dark; sid=${name}/ann` && origin === page), 'the application sees cookies and origin')
    })
  },

  async 'a session that the application does not know: 4401 unauthorized' ({ edit }) {
    await each(version => refused(edit(version, { WebSocketPolyfill: browser('sid=nobody', page) }), 4401, 'unauthorized'))
  },

  async 'cookies from a page that is not listed: 403, and the application is not asked' ({ server, room }) {
    const cookie = `sid=${room}`
    for (const origin of ['https://evil.example', 'null', undefined]) {
      const client = new RawClient(`${server.url}/${room}`, { headers: { cookie }, ...(origin === undefined ? {} : { origin }) })
      await until('an answer', () => client.refused || client.frames.length > 0)
      client.terminate()
      assert.equal(client.refused, 403, `Origin: ${origin}`)
    }
    assert.ok(!questions.some(question => question.cookie === cookie))
  },

  async 'none keeps out (4403), read lets in to read, write to write; a token is asked about too' ({ room, edit, denials }) {
    await each(async version => {
      const name = `${room}/${version}`
      const token = makeToken({ userId: 'ann' })
      permissions.set(name, { permission: 'none', ttl_s: 3600 })
      await refused(edit(version, { room: name, token }), 4403, 'permission-denied')
      permissions.set(`${name}/read`, { permission: 'read' })
      const reader = await edit(version, { room: `${name}/read`, token }).synced()
      reader.type('x')
      await until('the denial', () => denials(`${name}/read`).includes('read-only'))
      permissions.set(`${name}/write`, { permission: 'write' })
      const [a, b] = await Promise.all([1, 2].map(() => edit(version, { room: `${name}/write`, token }).synced()))
      a.type('x')
      await until('the edit', () => b.text === 'x')
      // None of these may be more than the token says.
      const less = makeToken({ userId: 'ben', rooms: [{ name: `${name}/write`, permission: 'read' }] })
      const other = await edit(version, { room: `${name}/write`, token: less }).synced()
      other.type('y')
      await until('the denial', () => denials(`${name}/write`).includes('read-only'))
    })
  },

  async 'who keeps his rights notices nothing when answers run out, and the application is asked once for each lifetime' ({ room, edit }) {
    permissions.set(room, { permission: 'write', ttl_s: 1, afterMs: 100 }) // applications take their time
    const sockets = login(room, { ttl_s: 1 })
    const [a, b] = await Promise.all(['3.1.0', '2.1.0'].map(version => edit(version, { WebSocketPolyfill: sockets }).synced()))
    const began = performance.now()
    const [before, whoBefore] = [askedAbout(room).length, questions.filter(({ cookie }) => cookie?.endsWith(room)).length]
    await until('four lifetimes', () => askedAbout(room).length - before >= 5 || a.ends.length + b.ends.length > 0)
    assert.deepEqual([a.ends, b.ends], [[], []])
    const most = (performance.now() - began) / 750 + 2 // three quarters of a second each
    assert.ok(askedAbout(room).length - before <= most, `asked ${askedAbout(room).length - before} times about permissions`)
    assert.ok(questions.filter(({ cookie }) => cookie?.endsWith(room)).length - whoBefore <= most, 'and about the session')
    assert.deepEqual([a.connects, b.connects], [1, 1])
    a.type('still here')
    await until('the edit', () => b.text === 'still here')
  },

  async 'an answer of one second: read takes the right to write from who is in, none ends the connection with 4403' ({ room, edit, denials }) {
    await each(async version => {
      const name = `${room}/${version}`
      permissions.set(name, { permission: 'write', ttl_s: 1 })
      const editor = await edit(version, { room: name, token: makeToken({ userId: 'ann' }) }).synced()
      editor.type('written. ')
      permissions.set(name, { permission: 'read', ttl_s: 1 })
      await until(() => `the denial; the connection ended ${JSON.stringify(editor.ends)}`, () => {
        editor.type('.')
        return denials(name).includes('read-only')
      }, { everyMs: 50 })
      assert.equal(editor.connects, 1, 'a live connection is changed, not ended')
      const late = await edit(version, { room: name, token: makeToken({ userId: 'ben' }) }).synced()
      assert.ok(late.text.startsWith('written. ') && late.text.length < editor.text.length, `"${late.text}" of "${editor.text}"`)
      permissions.set(name, { permission: 'none', ttl_s: 1 })
      await ended(editor, 4403, 'access revoked', 3_000)
    })
  },

  async 'who logs out is out when the answer about the session has run out: 4403' ({ room, edit }) {
    await each(async version => {
      const name = `${room}/${version}`
      const editor = await edit(version, { room: name, WebSocketPolyfill: login(name, { ttl_s: 1 }) }).synced()
      logout(name)
      await ended(editor, 4403, 'access revoked', 3_000)
      if (!editor.knowsTheEnd) await ended(editor, 4401, 'unauthorized')
    })
  },

  async 'confirm has everybody asked about at once, however long answers count' ({ room, edit, admin, denials }) {
    permissions.set(room, { permission: 'write', ttl_s: 3600 })
    const editor = await edit('3.1.0', { token: makeToken({ userId: 'ann' }) }).synced()
    permissions.set(room, { permission: 'read', ttl_s: 3600 })
    assert.deepEqual(await admin.do('POST', '/api/admin/confirm', { room }), { connections: 1 })
    await until('the application to be asked again', () => askedAbout(room).length === 2)
    await until('the denial', () => {
      editor.type('x')
      return denials(room).includes('read-only')
    })
    assert.equal(editor.connects, 1)
  }
}

const outage = {
  async 'the application is down: newcomers get 503, members stay until their answer has run out (1013) and come back by themselves' ({ server, room, edit, application }) {
    const ttl_s = 2
    const token = makeToken({ userId: 'ann' })
    await each(async version => permissions.set(`${room}/${version}`, { permission: 'write', ttl_s }))
    const members = await each(version => edit(version, { room: `${room}/${version}`, token }).synced())
    const last = members.map(({ version }) => askedAbout(`${room}/${version}`).at(-1).atMs)
    await application.down()

    const newcomer = new RawClient(`${server.url}/${room}/new?token=${token}`)
    await until('an answer', () => newcomer.refused || newcomer.frames.length > 0)
    newcomer.terminate()
    assert.equal(newcomer.refused, 503)
    assert.match(newcomer.refusal['retry-after'], /^\d+$/)

    await Promise.all(members.map(async (member, i) => {
      member.type('while down')
      const { atMs } = await ended(member, 1013, unconfirmed)
      assert.ok(atMs - last[i] >= ttl_s * 1000 - 100, `provider ${member.version} was sent away ${atMs - last[i]} ms after the last answer`)
      member.type(', and after it')
    }))
    await application.up()
    await Promise.all(members.map(async member => {
      await until(() => `the return of provider ${member.version}; it was closed ${JSON.stringify(member.ends)}`, () => member.provider.synced)
      const late = await edit(member.version, { room: `${room}/${member.version}`, token }).synced()
      await until('all that was typed', () => late.text === 'while down, and after it')
    }))
  }
}
