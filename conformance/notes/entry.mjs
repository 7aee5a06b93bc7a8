// Statements about getting in: the subprotocol, tokens, the cookie and origins. Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { makeToken, now } from '../lib/access.mjs'
import { ask, askUpgrade } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { NotesClient, makeNote } from '../lib/notes.mjs'
import { NotesApp } from '../lib/notes_app.mjs'
import { CookieJar, browserSocket, originOf, parseCookie } from '../lib/notes_cookies.mjs'
import { NotesApi, isError } from '../lib/notes_http.mjs'
import { until } from '../lib/until.mjs'

export const page = 'https://notes.example'
const stranger = 'https://evil.example'
const dayS = 24 * 3600

/** An upgrade that offers these, one header line each. */
const offer = (server, lines, headers = {}) => askUpgrade(server, '/sync', { ...(lines === undefined ? {} : { 'sec-websocket-protocol': lines }), ...headers })
const answered = answer => answer.headers['sec-websocket-protocol']

/** What a browser would show again of this answer. */
function cookieOf (answer) {
  const line = (answer.headers['set-cookie'] ?? []).find(line => line.startsWith('notes_session='))
  assert.ok(line !== undefined, `no cookie notes_session in the answer ${answer.status}; there are ${answer.headers['set-cookie']}`)
  const cookie = parseCookie(line)
  return { ...cookie, header: `${cookie.name}=${cookie.value}` }
}

function isInvalidToken (answer) {
  isError(answer, 401, 'INVALID_TOKEN')
  assert.equal(answered(answer), undefined)
  assert.equal(answer.headers['set-cookie'], undefined, 'who is not let in gets no session')
}

function unsigned (claims) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none', typ: 'JWT' })}.${part({ iat: now(), exp: now() + 3600, ...claims })}.`
}

const badTokens = {
  'another secret': user => makeToken({ userId: user }, { key: 'x'.repeat(40) }),
  'an end in the past': user => makeToken({ userId: user, exp: now() - 60 }),
  'no end': user => makeToken({ userId: user, exp: undefined }),
  'no user': () => makeToken({ name: 'Nobody' }),
  'an empty user': () => makeToken({ userId: '' }),
  'a user that is a number': () => makeToken({ userId: 7 }),
  'no signature': user => unsigned({ userId: user }),
  'a broken signature': user => `${makeToken({ userId: user }).slice(0, -3)}AAA`,
  'two parts': user => makeToken({ userId: user }).split('.').slice(0, 2).join('.'),
  'letters only': () => 'abc'
}

export const withTokens = {
  async 'the answer repeats token-T, whole (11.1)' ({ server, token }) {
    const answer = await offer(server, `token-${token}`)
    assert.equal(answer.status, 101)
    assert.equal(answered(answer), `token-${token}`)
  },

  async 'a socket as browsers have it opens with the token as its only subprotocol (11.1)' ({ server, token, keep }) {
    const client = keep(await NotesClient.open(server, { token }))
    assert.equal(client.socket.protocol, `token-${token}`)
  },

  ...forEach(
    badTokens,
    what => `a token with ${what}: 401, and no 101 (11.2)`,
    async ({ server, user }, make) => isInvalidToken(await offer(server, `token-${make(user)}`))
  ),

  async 'no token, no cookie: 401 (1)' ({ server }) {
    for (const lines of [undefined, 'chat', 'token', 'tokens', 'Token-x', 'token-']) isInvalidToken(await offer(server, lines))
  },

  async 'a token in the address or in a header is none; the subprotocol is the way (1)' ({ server, token, user }) {
    const other = makeToken({ userId: `${user}-other` })
    const answer = await askUpgrade(server, `/sync?token=${other}`, { 'sec-websocket-protocol': `token-${token}` })
    assert.deepEqual([answer.status, answered(answer)], [101, `token-${token}`])
    const { header } = cookieOf(answer)
    await new NotesApi(server, { token }).do('POST', '/api/notes', { json: makeNote() })
    assert.equal((await new NotesApi(server, { cookie: header, origin: originOf(server) }).changes()).notes.length, 1, 'the cookie is of the user of the subprotocol')
  },

  async 'of several offers the first that begins with token- counts, in one header line or in several (1)' ({ server, token }) {
    const [good, bad] = [`token-${token}`, 'token-abc']
    for (const lines of [`chat, ${good}`, `chat,${good},${bad}`, ['chat', good], [good, bad], [`chat, ${good}`, bad], ` ${good} `]) {
      const answer = await offer(server, lines)
      assert.deepEqual([answer.status, answered(answer)], [101, good], String(lines).replaceAll(token, 'T'))
    }
    for (const lines of [`${bad}, ${good}`, [bad, good]]) isInvalidToken(await offer(server, lines))
  },

  async 'who has no userId is `sub`; with both, userId counts (1)' ({ server, user, keep, api }) {
    await api().do('POST', '/api/notes', { json: makeNote({ id: 'mine' }) })
    for (const claims of [{ sub: user }, { userId: user, sub: 'another' }]) {
      const client = await keep(await NotesClient.open(server, { token: makeToken(claims) })).barrier()
      assert.deepEqual([...client.notes.keys()], ['mine'])
    }
  },

  async 'GET /sync without an upgrade: 426 (10)' ({ server, token }) {
    for (const headers of [{}, { authorization: `Bearer ${token}` }]) assert.equal((await ask(server, 'GET', '/sync', { headers })).status, 426)
  },

  async 'a good token sets a cookie: HttpOnly, whole site, SameSite=Lax, a day at most, not the token (1)' ({ server, user }) {
    for (const [exp, mostS] of [
      [now() + 3600, 3600],
      [now() + 30 * dayS, dayS]
    ]) {
      const token = makeToken({ userId: user, exp })
      const cookie = cookieOf(await offer(server, `token-${token}`))
      const { httponly, path, samesite, secure, domain, 'max-age': maxAge, expires } = cookie.attributes
      assert.deepEqual({ httponly, path, samesite, secure, domain }, { httponly: true, path: '/', samesite: 'Lax', secure: undefined, domain: undefined })
      if (maxAge !== undefined) assert.ok(Number(maxAge) > 0 && Number(maxAge) <= mostS, `Max-Age ${maxAge} of a token of ${exp - now()} s`)
      if (expires !== undefined) assert.ok(Date.parse(expires) <= Date.now() + (mostS + 2) * 1_000, `Expires ${expires}`)
      assert.ok(cookie.value.length >= 20, 'nobody guesses it')
      assert.ok(!cookie.value.includes(token.split('.')[2]), 'it names a session, it is not the token')
    }
  },

  async 'a reconnect with the cookie alone, from a page of this host or a listed one, is the same user (11.13)' ({ server, user, token, keep, join }) {
    const first = await join()
    const note = makeNote()
    first.update(note)
    await first.barrier()
    const { header } = cookieOf({ headers: { 'set-cookie': first.cookies } })
    for (const origin of [originOf(server), page]) {
      const client = await keep(await NotesClient.open(server, { offers: [], origin, headers: { cookie: `theme=dark; ${header}` } })).barrier()
      assert.deepEqual([...client.notes.keys()], [note.id])
      assert.equal(client.of('note_updated')[0].payload.userId, user)
      assert.equal(client.socket.protocol, '', 'nothing was offered, nothing is answered')
    }
    const answer = await offer(server, undefined, { cookie: header, origin: page })
    assert.deepEqual([answer.status, answered(answer)], [101, undefined])
    const chat = await offer(server, 'chat, other', { cookie: header, origin: page })
    assert.deepEqual([chat.status, answered(chat)], [101, 'chat'], 'without a token the first offer is answered')
    assert.equal((await offer(server, 'token-', { cookie: header, origin: page })).status, 101, 'token- with nothing after it is no token')
    assert.equal((await offer(server, `token-${token}`, { cookie: 'notes_session=forged', origin: page })).status, 101, 'a token needs no cookie')
  },

  async 'the cookie from a page that is not listed, or from none: 403 (11.13)' ({ server, token }) {
    const { header } = cookieOf(await offer(server, `token-${token}`))
    for (const origin of [stranger, 'null', `${originOf(server)}.evil.example`, 'http://localhost:1', undefined]) {
      const answer = await offer(server, undefined, { cookie: header, ...(origin === undefined ? {} : { origin }) })
      assert.equal(answer.status, 403, `Origin: ${origin}`)
    }
  },

  async 'a cookie that nobody was given, and one with a bad token beside it: 401 (1)' ({ server, token }) {
    const { header } = cookieOf(await offer(server, `token-${token}`))
    for (const cookie of ['notes_session=', 'notes_session=x', `${header}x`, header.slice(0, -1), `notes_session=${token}`]) {
      isInvalidToken(await offer(server, undefined, { cookie, origin: page }))
    }
    isInvalidToken(await offer(server, 'token-abc', { cookie: header, origin: page }))
  },

  async 'with a token of another user beside the cookie, the token counts (1)' ({ server, user, token, keep }) {
    const { header } = cookieOf(await offer(server, `token-${token}`))
    const other = `${user}-other`
    const client = await keep(await NotesClient.open(server, { token: makeToken({ userId: other }), origin: page, headers: { cookie: header } })).barrier()
    const note = makeNote()
    client.update(note)
    await client.barrier()
    assert.equal((await new NotesApi(server, { token }).changes()).notes.length, 0)
    assert.equal((await new NotesApi(server, { token: makeToken({ userId: other }) }).changes()).notes.length, 1)
  },

  async 'the session ends with the token: afterwards the cookie is 401 (1)' ({ server, user }) {
    const livesS = 3
    const token = makeToken({ userId: user, exp: now() + livesS })
    const { header } = cookieOf(await offer(server, `token-${token}`))
    const attempt = () => offer(server, undefined, { cookie: header, origin: page })
    assert.equal((await attempt()).status, 101)
    await until('the session to end', async () => (await attempt()).status === 401, { ms: (livesS + 10) * 1_000, everyMs: 100 })
  },

  async 'the app comes back by itself after a lost connection, with the address and the cookie only (1, 4)' ({ server, user, token, keep }) {
    const jar = new CookieJar()
    const sockets = browserSocket({ server, jar, origin: page })
    const app = new NotesApp({ url: `${server.url}/sync`, WebSocket: sockets, pace: 0.02 })
    keep({ terminate: () => app.disconnect() })
    app.connect(token)
    await until('the app to connect', () => app.state === 'connected')
    app.socket.terminate() // the network is gone
    await until(() => `the app to be back; its states ${app.states}`, () => app.states.filter(state => state === 'connected').length === 2)
    assert.deepEqual(app.states, ['connecting', 'connected', 'reconnecting', 'connected'])
    assert.deepEqual(sockets.opened.map(({ protocols }) => protocols), [[`token-${token}`], []])
    assert.match(sockets.opened[1].cookie, /^notes_session=/)
    const note = makeNote()
    app.update(note)
    const api = new NotesApi(server, { token: makeToken({ userId: user }) })
    await until('the note', async () => (await api.get(note.id)).status === 200)
    assert.deepEqual(app.dropped, [])
  }
}

/** Connections without a token share one notebook, so these come one after the other. */
export const withoutTokens = {
  async 'with authentication off: who offers nothing gets no header back, and is anonymous (1, 11.1)' ({ server, keep }) {
    const answer = await offer(server)
    assert.deepEqual([answer.status, answered(answer)], [101, undefined])
    const [a, b] = [keep(await NotesClient.open(server)), keep(await NotesClient.open(server))]
    const note = makeNote()
    a.update(note)
    const { userId } = await b.updated(note.id)
    assert.equal(userId, 'anonymous')
    assert.equal(a.socket.protocol, '')
    assert.deepEqual((await new NotesApi(server).changes()).notes.map(({ id }) => id), [note.id])
    for (const client of [a, b]) assert.deepEqual(client.problems, [])
  },

  async 'with authentication off, what is offered is answered: the first token, else the first offer (1)' ({ server, token }) {
    for (const [lines, expected] of [
      ['chat, other', 'chat'],
      ['token-', 'token-'],
      [`token-${token}`, `token-${token}`],
      [['chat', `token-${token}`], `token-${token}`]
    ]) {
      const answer = await offer(server, lines)
      assert.deepEqual([answer.status, answered(answer)], [101, expected])
    }
  },

  async 'with authentication off, a token is not asked for by REST either, and GET /sync is 426 (1, 7, 10)' ({ server }) {
    const note = makeNote()
    await new NotesApi(server).do('POST', '/api/notes', { json: note })
    assert.equal((await new NotesApi(server).get(note.id)).status, 200)
    assert.equal((await ask(server, 'GET', '/sync')).status, 426)
  }
}

/** On a server with a list of pages that is no "all". */
export const withListedOrigins = {
  async 'a page that is not on the list: 403 before the upgrade, whatever it brings (README 3)' ({ server, token }) {
    for (const [origin, status] of [
      [stranger, 403],
      [page, 101]
    ]) {
      assert.equal((await offer(server, `token-${token}`, { origin })).status, status, origin)
    }
  }
}

/** On a server that speaks TLS; `trusting` are the options of a client that knows its certificate. */
export const withTls = {
  async 'with TLS the cookie is Secure, and SameSite=None for a page of another site (1)' ({ server, token, keep, trusting }) {
    for (const [origin, sameSite] of [
      [originOf(server), 'Lax'],
      [page, 'None']
    ]) {
      const client = keep(await NotesClient.open(server, { token, origin, ...trusting }))
      const { attributes, value } = cookieOf({ headers: { 'set-cookie': client.cookies } })
      assert.deepEqual([attributes.secure, attributes.samesite, attributes.httponly], [true, sameSite, true], origin)
      keep(await NotesClient.open(server, { offers: [], origin, headers: { cookie: `notes_session=${value}` }, ...trusting }))
    }
  }
}
