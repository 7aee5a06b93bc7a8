// Statements about the HTTP API beside room databases: accounts, rooms, keys, what a room looks like. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { ask } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { Account, Key, cookieName, cookiesOf, password, post } from '../lib/room_db_accounts.mjs'
import { answers, created, enter, enterWith, withPeople } from './visits.mjs'

const noLogin = 'Unauthorized. Please log in.'
const dayMs = 86_400_000
const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const consoleKey = /^nk_live_[0-9a-f]{32}$/

export const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'x-xss-protection': '1; mode=block',
  'referrer-policy': 'strict-origin-when-cross-origin',
  'permissions-policy': 'geolocation=(), microphone=(), camera=()',
  'content-security-policy':
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; font-src 'self'; " +
    "connect-src 'self' wss: https:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
}

export function hasSecurityHeaders ({ headers, status }) {
  for (const [name, value] of Object.entries(securityHeaders)) assert.equal(headers[name], value, `${name} of an answer with ${status}`)
}

/** Method and path of each call; `login`: what it takes, `key` or a session, or a session alone. */
const calls = {
  'GET /schema': 'key',
  'GET /api/schema': 'key',
  'GET /manifest': 'key',
  'GET /analytics': 'key',
  'GET /api/rooms/list': 'session',
  'POST /api/rooms/create': 'session',
  'POST /api/rooms/delete': 'session',
  'POST /api/keys/generate': 'session',
  'GET /api/keys/list': 'session',
  'POST /api/keys/delete': 'session'
}
const signing = ['POST /api/auth/sign-up/email', 'POST /api/auth/sign-in/email', 'POST /api/auth/sign-out', 'GET /api/auth/get-session']
const notBuilt = ['/backup', '/backups', '/restore', '/global-query', '/download-client', '/api/webhooks/list', '/api/webhooks/create']

const keyRefusals = {
  'a negative number of days': [{ expiresInDays: -1 }, 'expiresInDays must be a positive number'],
  'no days': [{ expiresInDays: 0 }, 'expiresInDays must be a positive number'],
  'days as text': [{ expiresInDays: 'x' }, 'expiresInDays must be a positive number'],
  'too many days': [{ expiresInDays: 366 }, 'expiresInDays cannot exceed 365 days'],
  'an unknown scope': [{ scopes: ['read', 'x'] }, 'Invalid scopes: x. Valid scopes are: read, write, admin']
}

const keyMakings = {
  'nothing said': [{}, { name: 'Unnamed Key', days: 90, scopes: ['read', 'write'] }],
  'all said': [{ name: 'CI', expiresInDays: 1, scopes: ['read'] }, { name: 'CI', days: 1, scopes: ['read'] }],
  'the longest': [{ name: 'x', expiresInDays: 365, scopes: ['read', 'write', 'admin'] }, { name: 'x', days: 365, scopes: ['read', 'write', 'admin'] }]
}

const roomRefusals = {
  'a short id': [{ roomId: 'ab' }, 400, 'Room ID must be at least 3 characters'],
  'no id': [{}, 400, 'Room ID must be at least 3 characters'],
  'no JSON': ['{', 400, 'Invalid JSON body']
}

const signUpRefusals = {
  'an address without @': { name: 'x', email: 'nobody', password },
  'no address': { name: 'x', password },
  'a short password': { name: 'x', email: 'short@people.example', password: 'seven77' },
  'a very long password': { name: 'x', email: 'long@people.example', password: 'x'.repeat(300) },
  'no password': { name: 'x', email: 'none@people.example' },
  'no JSON': '{'
}

const split = call => call.split(' ')
const errorOf = answer => answer.type.startsWith('application/json') ? answer.json.error : answer.text
const own = server => ({ origin: `http://127.0.0.1:${server.port}` })

export const overHttp = {
  async 'health: healthy, a time, a version, and the security headers are no matter (9)' ({ server }) {
    const answer = await ask(server, 'GET', '/health')
    const { status, timestamp, version } = answer.json
    assert.deepEqual([answer.status, status, typeof version], [200, 'healthy', 'string'])
    assert.match(timestamp, iso)
  },

  ...forEach(
    calls,
    call => `${call}: 401 without a login, 405 for other methods, with the security headers (9)`,
    async ({ server, people, id }, login, call) => {
      const [method, path] = split(call)
      const where = method === 'GET' && login === 'key' ? `${path}?room_id=${id}` : path
      const ann = await people.get('ann')
      const body = method === 'POST' ? { body: '{}', headers: { 'content-type': 'application/json', ...own(server) } } : {}
      const refused = await ask(server, method, where, body)
      assert.deepEqual([refused.status, errorOf(refused)], [401, noLogin])
      hasSecurityHeaders(refused)
      for (const wrong of ['PUT', 'DELETE', method === 'GET' ? 'POST' : 'GET']) {
        const answer = await ask(server, wrong, where, { headers: { ...ann.headers, 'content-type': 'application/json' }, ...(wrong === 'GET' ? {} : { body: '{}' }) })
        assert.deepEqual([answer.status, errorOf(answer)], [405, 'Method not allowed'], wrong)
        hasSecurityHeaders(answer)
      }
    }
  ),

  ...forEach(
    Object.fromEntries(Object.entries(calls).filter(([, login]) => login === 'session')),
    call => `${call} takes a session and no key (9)`,
    async ({ server, annsKey }, login, call) => {
      const [method, path] = split(call)
      const headers = { 'x-nano-key': (await annsKey).text, 'content-type': 'application/json' }
      assert.equal((await ask(server, method, path, { headers, ...(method === 'GET' ? {} : { body: '{}' }) })).status, 401)
    }
  ),

  ...forEach(
    Object.fromEntries(signing.map(call => [call, null])),
    call => `${call}: other methods: 405 (9)`,
    async ({ server }, _, call) => {
      const answer = await ask(server, 'PUT', split(call)[1], { body: '{}', headers: { 'content-type': 'application/json' } })
      assert.deepEqual([answer.status, errorOf(answer)], [405, 'Method not allowed'])
      hasSecurityHeaders(answer)
    }
  ),

  ...forEach(
    Object.fromEntries(notBuilt.map(path => [path, null])),
    path => `${path} is not built: 501 (10)`,
    async ({ server, people, id }, _, path) => {
      const ann = await people.get('ann')
      const answer = await ask(server, 'GET', `${path}?room_id=${id}`, { headers: ann.headers })
      assert.equal(answer.status, 501)
      hasSecurityHeaders(answer)
    }
  ),

  async 'the tier of a user is free, or the path is not built (10)' ({ people }) {
    const answer = await (await people.get('ann')).get('/api/user-tier')
    if (answer.status !== 501) assert.deepEqual([answer.status, answer.json], [200, { tier: 'free' }])
  },

  async 'sign up, look, sign out, sign in: the cookie is a session, and no script sees it (9)' ({ server, id }) {
    const email = `${id}@People.Example`
    const answer = await post(server, '/api/auth/sign-up/email', { name: 'Ann', email, password }, own(server))
    assert.equal(answer.status, 200)
    hasSecurityHeaders(answer)
    const { attributes } = cookiesOf(answer)[cookieName]
    for (const attribute of ['httponly', 'path=/', 'samesite=lax']) assert.ok(attributes.includes(attribute), attributes.join())
    const first = new Account(server, email, answer, own(server).origin)
    const { user, session } = (await first.get('/api/auth/get-session')).json
    assert.deepEqual([user.id, user.name, user.email], [first.id, 'Ann', email.toLowerCase()])
    assert.equal(typeof session, 'object')
    const second = await Account.signIn(server, email.toLowerCase())
    assert.equal(second.id, first.id)
    assert.notEqual(second.token, first.token)
    const out = await first.signOut()
    assert.equal(out.status, 200)
    assert.ok(cookiesOf(out)[cookieName].attributes.includes('max-age=0'), JSON.stringify(cookiesOf(out)))
    assert.equal((await first.get('/api/auth/get-session')).json, null)
    assert.equal((await first.get('/api/rooms/list')).status, 401)
    assert.equal((await second.get('/api/auth/get-session')).json.user.id, first.id)
    assert.equal((await ask(server, 'GET', '/api/auth/get-session')).json, null)
  },

  ...forEach(
    signUpRefusals,
    what => `signing up with ${what} is refused in words (9)`,
    async ({ server }, body) => {
      const answer = await post(server, '/api/auth/sign-up/email', body, own(server))
      assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status))
      assert.ok(answer.type.startsWith('application/json') && JSON.stringify(answer.json).length > 20, answer.text)
    }
  ),

  async 'an address signs up once; a wrong password and an unknown address look the same (9)' ({ server, id }) {
    const email = `${id}@people.example`
    await Account.signUp(server, 'ann', { email })
    const again = await post(server, '/api/auth/sign-up/email', { name: 'x', email: email.toUpperCase(), password }, own(server))
    assert.ok(again.status >= 400 && again.status < 500, String(again.status))
    const tries = await Promise.all([[email, `${password}!`], [`${id}-nobody@people.example`, password]].map(([email, password]) => post(server, '/api/auth/sign-in/email', { email, password }, own(server))))
    for (const answer of tries) assert.equal(answer.status, 401)
    assert.equal(tries[0].text, tries[1].text)
    for (const answer of tries) assert.equal(cookiesOf(answer)[cookieName], undefined)
  },

  async 'a page that is not listed cannot act with a cookie (README 3)' ({ server, people, id }) {
    const ann = await people.get('ann')
    for (const headers of [{ cookie: ann.cookie, origin: 'https://evil.example' }, { cookie: ann.cookie, origin: 'null' }]) {
      assert.equal((await post(server, '/api/rooms/create', { roomId: `${id}-stolen` }, headers)).status, 403)
      assert.equal((await post(server, '/api/keys/generate', {}, headers)).status, 403)
    }
    assert.ok(!(await ann.get('/api/rooms/list')).json.some(room => room.id === `${id}-stolen`))
  },

  ...forEach(
    keyMakings,
    what => `a key is made, ${what} (9)`,
    async ({ people }, [body, { name, days, scopes }]) => {
      const answer = await (await people.get('ann')).post('/api/keys/generate', body)
      assert.equal(answer.status, 200)
      const { id, created_at: made, expires_at: ends, ...rest } = answer.json
      assert.match(id, consoleKey)
      assert.ok(Math.abs(Date.now() - made) < 60_000, `made at ${made}`)
      assert.ok(Math.abs(ends - made - days * dayMs) <= 1_000, `from ${made} to ${ends}`)
      assert.deepEqual([rest.name, rest.expires_in_days, rest.scopes], [name, days, scopes])
    }
  ),

  ...forEach(
    keyRefusals,
    what => `a key with ${what}: 400 (9)`,
    async ({ people }, [body, error]) => {
      const answer = await (await people.get('ann')).post('/api/keys/generate', body)
      assert.deepEqual([answer.status, answer.json.error], [400, error])
    }
  ),

  async 'keys are listed in pages, to whom they belong, without their secret; and deleted (9)' (tools) {
    const { server, id } = tools
    const [ann, ben] = await Promise.all(['ann', 'ben'].map(name => Account.signUp(server, name, { email: `${id}-${name}@people.example` })))
    const made = []
    for (const name of ['a', 'b', 'c']) made.push(await ann.makeKey({ name }))
    const { keys, pagination } = (await ann.get('/api/keys/list?limit=2&offset=0')).json
    assert.deepEqual([keys.length, pagination], [2, { limit: 2, offset: 0, total: 3 }])
    const rest = (await ann.get('/api/keys/list?limit=2&offset=2')).json
    assert.deepEqual([...keys, ...rest.keys].map(({ name }) => name).sort(), ['a', 'b', 'c'])
    for (const one of keys) {
      assert.deepEqual([one.last_used_at, one.is_expired, one.scopes], [null, false, ['read', 'write']])
      for (const time of [one.created_at, one.expires_at]) assert.ok(Number.isInteger(time) && time > 1e12, `${time} is in ms`)
    }
    assert.ok(!JSON.stringify(keys).includes(made[0].text.slice(-20)), 'who lists keys is not told them again')
    assert.deepEqual((await ben.get('/api/keys/list')).json.keys, [])
    const foreign = await ben.post('/api/keys/delete', { id: made[0].text })
    assert.deepEqual([foreign.status, foreign.json], [404, { error: 'API key not found or does not belong to you' }])
    const unknown = await ann.post('/api/keys/delete', { id: `nk_live_${'0'.repeat(32)}` })
    assert.deepEqual([unknown.status, unknown.json], [404, { error: 'API key not found or does not belong to you' }])
    const gone = await ann.post('/api/keys/delete', { id: made[0].text })
    assert.deepEqual([gone.status, gone.json], [200, { success: true, message: 'API key deleted successfully' }])
    const listed = (await ann.get('/api/keys/list')).json.keys.find(({ name }) => name === 'b')
    const byListed = await ann.post('/api/keys/delete', { id: listed.id })
    assert.deepEqual([byListed.status, byListed.json], [200, { success: true, message: 'API key deleted successfully' }])
    assert.deepEqual((await ann.get('/api/keys/list?includeExpired=true')).json.keys.map(({ name }) => name), ['c'])
    const door = await ask(server, 'GET', `/schema?room_id=${id}`, { headers: { 'x-nano-key': made[1].text } })
    assert.deepEqual([door.status, errorOf(door)], [401, 'Invalid API key'])
  },

  async 'rooms are made, listed with the last used first, and their registration goes; their data stays (9)' (tools) {
    const { server, id, keep } = tools
    const ann = await Account.signUp(server, 'ann', { email: `${id}-rooms@people.example` })
    const [one, two] = [`${id}-one`, `${id}-two`]
    for (const room of [one, two]) {
      const answer = await ann.post('/api/rooms/create', { roomId: room, name: `The ${room}` })
      assert.deepEqual([answer.status, answer.json.id, answer.json.name], [200, room, `The ${room}`])
    }
    const again = await ann.post('/api/rooms/create', { roomId: one })
    assert.deepEqual([again.status, errorOf(again)], [409, 'Room ID already exists'])
    const client = await enterWith({ ...tools, keep }, ann, { room: one })
    await client.call('createTask', { title: 'stays' })
    const list = (await ann.get('/api/rooms/list')).json
    assert.deepEqual(list.map(room => room.id), [one, two])
    for (const room of list) {
      assert.deepEqual(Object.keys(room).filter(key => ['id', 'name', 'created_at', 'last_accessed_at'].includes(key)).length, 4)
      assert.ok(room.created_at > 1e12 && room.last_accessed_at > 1e12)
    }
    const gone = await ann.post('/api/rooms/delete', { roomId: one })
    assert.deepEqual([gone.status, gone.json], [200, { success: true }])
    assert.deepEqual((await ann.get('/api/rooms/list')).json.map(room => room.id), [two])
    assert.deepEqual((await client.call('listTasks', {})).data.map(({ title }) => title), ['stays'])
  },

  ...forEach(
    roomRefusals,
    what => `a room with ${what} is not made (9)`,
    async ({ server, people }, [body, status, error]) => {
      const ann = await people.get('ann')
      const answer = await post(server, '/api/rooms/create', body, ann.headers)
      assert.deepEqual([answer.status, errorOf(answer)], [status, error])
    }
  ),

  async "nobody deletes another's room, and no id is no room: 400 Invalid room ID (9)" ({ people, id }) {
    const [ann, ben] = [await people.get('ann'), await people.get('ben')]
    assert.equal((await ann.post('/api/rooms/create', { roomId: id })).status, 200)
    const foreign = await ben.post('/api/rooms/delete', { roomId: id })
    assert.ok(foreign.status >= 400, String(foreign.status))
    for (const body of [{}, { roomId: '' }, { roomId: 7 }]) {
      const answer = await ann.post('/api/rooms/delete', body)
      assert.deepEqual([answer.status, errorOf(answer)], [400, 'Invalid room ID'])
    }
    assert.ok((await ann.get('/api/rooms/list')).json.some(room => room.id === id))
  },

  async 'schema, manifest and analytics of a room, by session and by key (9)' (tools) {
    const { server, id, people, annsKey } = tools
    const client = await enter(tools, 'ann')
    await withPeople(client, 'Ann')
    const { data: schema } = await client.call('getSchema')
    const ways = [(await people.get('ann')).headers, { 'x-nano-key': (await annsKey).text }]
    for (const headers of ways) {
      const get = async path => {
        const answer = await ask(server, 'GET', `${path}?room_id=${id}`, { headers })
        assert.equal(answer.status, 200, `${path}: ${answer.text}`)
        hasSecurityHeaders(answer)
        return answer.json
      }
      assert.deepEqual(await get('/schema'), schema)
      assert.deepEqual(await get('/api/schema'), schema)
      const manifest = await get('/manifest')
      assert.deepEqual(manifest.tables, schema)
      assert.deepEqual(manifest.actions.createTask, { params: ['title'] })
      for (const method of ['completeTask', 'listTasks', 'updateRow', 'batchInsert', 'executeSQL', 'createTable', 'deleteTable']) assert.ok(Array.isArray(manifest.actions[method]?.params), method)
      const { daily, totals } = await get('/analytics')
      assert.ok(daily.length === 1 && daily[0].writes >= 2, JSON.stringify(daily))
      assert.deepEqual(totals, { reads: daily[0].reads, writes: daily[0].writes, ai_ops: 0 })
    }
    for (const path of ['/schema', '/manifest', '/analytics']) assert.equal((await ask(server, 'GET', path, { headers: ways[0] })).status, 400, `${path} without a room`)
  },

  ...forEach(
    { 'a scope to read': [['read'], 'write'], 'a scope to write': [['write'], 'read'] },
    what => `a key with only ${what} does no more (1)`,
    async (tools, [scopes, lacks]) => {
      const ann = await enter(tools, 'ann')
      await withPeople(ann, 'Ann')
      await ann.call('createTask', { title: 't' })
      const client = await enterWith(tools, await (await tools.people.get('ann')).makeKey({ scopes }))
      const error = `API key lacks the '${lacks}' scope`
      const writes = {
        createTask: { title: 'x' }, completeTask: { id: 1 }, deleteTask: { id: 1 }, updateRow: { table: 'people', id: 1, field: 'name', value: 'x' },
        batchInsert: { table: 'people', rows: [{ name: 'x' }] }, createTable: created('other', 'a'), deleteTable: { tableName: 'people' }
      }
      const reads = { listTasks: {}, executeSQL: { sql: 'SELECT 1' }, getUsage: {} }
      if (lacks === 'write') {
        for (const [method, payload] of Object.entries(writes)) await answers(client, method, payload, { type: 'mutation_error', action: method, error })
        await answers(client, 'updateDebounced', { key: 'k', value: 1 }, { type: 'error', error })
        await client.call('listTasks', {})
      } else {
        for (const [method, payload] of Object.entries(reads)) await answers(client, method, payload, { type: 'query_error', error })
        await client.call('createTask', { title: 'x' })
      }
      assert.deepEqual(await ann.select('SELECT COUNT(*) AS n FROM people'), [{ n: 1 }])
    }
  )
}

export const inEachOwnHttp = {
  async 'a page of an allowed origin may ask with cookies; CORS names it and never says * (9)' ({ startServer }) {
    const page = 'https://app.example'
    const server = await startServer({ CONCORD_ORIGINS_ALLOWED: page })
    const ann = await Account.signUp(server, 'ann', { origin: page })
    const { headers } = ann
    const asked = await ask(server, 'GET', '/api/rooms/list', { headers })
    assert.deepEqual([asked.status, asked.headers['access-control-allow-origin'], asked.headers['access-control-allow-credentials']], [200, page, 'true'])
    const before = await ask(server, 'OPTIONS', '/api/rooms/create', { headers: { origin: page, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' } })
    assert.ok(before.status < 300, String(before.status))
    assert.deepEqual([before.headers['access-control-allow-origin'], before.headers['access-control-allow-credentials']], [page, 'true'])
    assert.match(before.headers['access-control-allow-methods'], /POST/)
    assert.match(before.headers['access-control-allow-headers'].toLowerCase(), /content-type/)
    const refused = await ask(server, 'GET', '/api/rooms/list', { headers: { origin: page } })
    assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [401, page], 'a page reads why it is refused')
    const stranger = await ask(server, 'GET', '/api/rooms/list', { headers: { cookie: ann.cookie, origin: 'https://evil.example' } })
    assert.equal(stranger.status, 403)
    assert.equal(stranger.headers['access-control-allow-origin'], undefined)
  },

  async 'no more rooms than the operator allows: 403 (9)' ({ startServer }) {
    const server = await startServer({ CONCORD_ROOMS_PER_USER_MAX: '3' })
    const ann = await Account.signUp(server, 'ann')
    for (const roomId of ['one', 'two', 'three']) assert.equal((await ann.post('/api/rooms/create', { roomId })).status, 200)
    const answer = await ann.post('/api/rooms/create', { roomId: 'four' })
    assert.deepEqual([answer.status, errorOf(answer)], [403, 'Plan limit reached. Maximum 3 rooms allowed.'])
    await ann.post('/api/rooms/delete', { roomId: 'one' })
    assert.equal((await ann.post('/api/rooms/create', { roomId: 'four' })).status, 200)
  },

  async 'accounts, sessions, keys and rooms are there after a kill (9)' ({ startServer, id, keep, server: _, ...tools }) {
    const server = await startServer()
    const ann = await Account.signUp(server, 'ann')
    const key = await ann.makeKey({ name: 'kept' })
    const gone = await Account.signIn(server, ann.email)
    assert.equal((await gone.signOut()).status, 200)
    await ann.post('/api/rooms/create', { roomId: id, name: 'Kept' })
    await server.kill9()
    await server.start()
    assert.equal((await ann.get('/api/auth/get-session')).json.user.id, ann.id)
    assert.equal((await gone.get('/api/auth/get-session')).json, null)
    assert.deepEqual((await ann.get('/api/rooms/list')).json.map(room => [room.id, room.name]), [[id, 'Kept']])
    assert.equal((await Account.signIn(server, ann.email)).id, ann.id)
    await enterWith({ ...tools, server, id, keep }, new Key(key.text))
  }
}
