// Statements about the door of a room database: which credentials count, in which order, and how a refusal looks. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { ask, askUpgrade } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { Account, Key, cookieName } from '../lib/room_db_accounts.mjs'
import { RoomDbClient, databaseUrl } from '../lib/room_db.mjs'
import { until } from '../lib/until.mjs'
import { hasSecurityHeaders } from './http.mjs'
import { enter, enterWith } from './visits.mjs'

export const paths = ['/websocket', '/connect', '/__ws/websocket', '/__ws/connect']
const roomIdBytesMax = 255
const noKey = `nk_live_${'0'.repeat(32)}`
const noSession = 'A'.repeat(43)

const noRoom = 'Missing room_id query parameter'
const emptyRoom = '{"error":"room_id parameter is required and must not be empty"}'
const noLogin = 'Unauthorized. Please log in.'
const badLogin = 'Unauthorized: Invalid API Key or Session'
const badKey = 'Invalid API key'
const noUpgrade = 'Expected Upgrade: websocket'

/** What is asked (`room_id` is the statement's when it is not said), and the status and text of the refusal. Rows of the table, and their order. */
const refusals = {
  'no room_id': [{ room: null, cookie: true }, 400, noRoom],
  'no room_id and a bad key: the room is looked at first': [{ room: null, query: { key: noKey } }, 400, noRoom],
  'no room_id and no login': [{ room: null }, 400, noRoom],
  'no room_id and no upgrade': [{ room: null, cookie: true, plain: true }, 400, noRoom],
  'an empty room_id': [{ room: '', cookie: true }, 400, emptyRoom],
  'a room_id of spaces': [{ room: '  ', cookie: true }, 400, emptyRoom],
  'an empty room_id and a bad key': [{ room: '', query: { key: noKey } }, 400, emptyRoom],
  'an unknown key': [{ query: { key: noKey } }, 401, badKey],
  'an unknown key as api_key': [{ query: { api_key: noKey } }, 401, badKey],
  'an unknown key as header': [{ headers: { 'x-nano-key': noKey } }, 401, badKey],
  'an unknown key without an upgrade': [{ query: { key: noKey }, plain: true }, 401, badKey],
  'a key that is only its beginning': [{ query: { key: 'nk_' } }, 401, badKey],
  'an unknown key and a good cookie (12.2)': [{ query: { key: noKey }, cookie: true }, 401, badKey],
  'an unknown key and a good token': [{ query: { key: noKey }, token: true }, 401, badKey],
  'an unknown key in the header and a good one as parameter': [{ headers: { 'x-nano-key': noKey }, goodKey: 'key' }, 401, badKey],
  'an unknown api_key and a good key': [{ query: { api_key: noKey }, goodKey: 'key' }, 401, badKey],
  'nothing': [{}, 401, noLogin],
  'nothing, and no upgrade': [{ plain: true }, 401, noLogin],
  'a key of another kind, and nothing else': [{ query: { key: 'abc' } }, 401, noLogin],
  'a cookie of something else': [{ headers: { cookie: 'theme=dark' } }, 401, noLogin],
  'a header that says who one is': [{ headers: { 'x-user-id': 'ann' } }, 401, noLogin],
  'an unknown cookie': [{ headers: { cookie: `${cookieName}=${noSession}` }, own: true }, 401, badLogin],
  'an unknown cookie with a signature': [{ headers: { cookie: `${cookieName}=${noSession}.c2ln` }, own: true }, 401, badLogin],
  'an unknown session_token': [{ query: { session_token: noSession } }, 401, badLogin],
  'an unknown bearer': [{ headers: { authorization: `Bearer ${noSession}` } }, 401, badLogin],
  'an unknown cookie without an upgrade': [{ headers: { cookie: `${cookieName}=${noSession}` }, own: true, plain: true }, 401, badLogin],
  'a good cookie without an upgrade': [{ cookie: true, plain: true }, 426, noUpgrade],
  'a good token without an upgrade': [{ token: true, plain: true }, 426, noUpgrade],
  'a good key without an upgrade': [{ goodKey: 'key', plain: true }, 426, noUpgrade]
}

/** Who gets in, and as whom: `ann`, whose key or session it is. */
const entries = {
  'the cookie': { cookie: true },
  'the cookie among others': { cookie: 'others' },
  'the cookie with a signature': { cookie: 'signed' },
  'the cookie by its secure name': { cookie: 'secure' },
  'session_token': { token: true },
  'a bearer': { bearer: true },
  'key and no cookie (12.2)': { goodKey: 'key' },
  'api_key': { goodKey: 'api_key' },
  'the header X-Nano-Key': { goodKey: 'header' },
  'a key of another kind and a good cookie (12.2)': { query: { key: 'abc' }, cookie: true },
  'a key of another kind and a good token': { query: { api_key: 'abc' }, token: true },
  'a good header and an unknown key as parameter': { goodKey: 'header', query: { key: noKey } },
  'a good api_key and an unknown key': { goodKey: 'api_key', query: { key: noKey } },
  'a good key and an unknown cookie': { goodKey: 'key', headers: { cookie: `${cookieName}=${noSession}` } },
  'a good cookie and an unknown token': { cookie: true, query: { session_token: noSession } },
  'unknown parameters': { cookie: true, query: { v: '3', utm: 'x' } },
  'a header X-User-ID of somebody else (12.3)': { cookie: true, headers: { 'x-user-id': 'somebody-else' } },
  'a parameter user_id of somebody else (12.3)': { goodKey: 'key', query: { user_id: 'somebody-else', userId: 'somebody-else' } }
}

const cookies = {
  true: token => `${cookieName}=${token}`,
  others: token => `theme=dark; ${cookieName}=${token}; sid=1`,
  signed: token => `${cookieName}=${token}.c2lnbmF0dXJl`,
  secure: token => `__Secure-${cookieName}=${token}`
}

/** An entry as a query and headers, with ann's credentials. */
async function spelled ({ server, people, id, annsKey }, { room = id, query = {}, headers = {}, cookie, token, bearer, goodKey, own = cookie !== undefined }) {
  const ann = await people.get('ann')
  const key = (await annsKey).text
  return {
    query: {
      ...(room === null ? {} : { room_id: room }),
      ...(token ? { session_token: ann.token } : {}),
      ...(goodKey === undefined || goodKey === 'header' ? {} : { [goodKey]: key }),
      ...query
    },
    headers: {
      ...(own ? { origin: `http://127.0.0.1:${server.port}` } : {}),
      ...(cookie ? { cookie: cookies[cookie](ann.token) } : {}),
      ...(bearer ? { authorization: `Bearer ${ann.token}` } : {}),
      ...(goodKey === 'header' ? { 'x-nano-key': key } : {}),
      ...headers
    }
  }
}

export const atTheDoor = {
  ...forEach(
    refusals,
    what => `${what}: refused on each path (1, 12.1)`,
    async (tools, [entry, status, text]) => {
      const { query, headers } = await spelled(tools, entry)
      for (const path of paths) {
        const answer = await (entry.plain ? ask(tools.server, 'GET', `${path}?${new URLSearchParams(query)}`, { headers }) : askUpgrade(tools.server, `${path}?${new URLSearchParams(query)}`, headers))
        assert.deepEqual([answer.status, answer.text], [status, text], path)
        assert.match(answer.type, text === emptyRoom ? /^application\/json/ : /^text\/plain/)
        hasSecurityHeaders(answer)
      }
    }
  ),

  ...forEach(
    entries,
    what => `${what}: in, as the user whose it is, and the first message is reset (1, 12.1)`,
    async (tools, entry) => {
      const ann = await tools.people.get('ann')
      const { query, headers } = await spelled(tools, entry)
      for (const path of paths) {
        const client = tools.keep(new RoomDbClient(`${tools.server.url}${path}?${new URLSearchParams(query)}`, { headers }))
        await until(() => `a message; refused ${JSON.stringify(client.refused)}`, () => client.messages.length > 0 || client.refused)
        assert.deepEqual(client.messages[0], { type: 'reset' }, JSON.stringify(client.refused))
        if (path !== paths[0]) continue
        const { data } = await client.call('createTask', { title: 'mine', owner_id: 'somebody-else', user_id: 'somebody-else' })
        assert.deepEqual([data.owner_id, data.user_id], [ann.id, ann.id])
      }
    }
  ),

  async 'a key that has run out: API key expired (1)' (tools) {
    const { server, id, people, admin } = tools
    const { body: { key } } = await admin.ask('POST', '/api/admin/keys', { name: 'short', owner: (await people.get('ann')).id, scopes: ['read', 'write'], ttl_s: 1, form: 'console' })
    const refused = async headers => await askUpgrade(server, `/websocket?room_id=${id}${headers === undefined ? `&key=${key}` : ''}`, headers)
    await until('the key to run out', async () => (await refused()).text !== '' && (await refused()).status === 401, { everyMs: 100 })
    for (const headers of [undefined, { 'x-nano-key': key }]) {
      const answer = await refused(headers)
      assert.deepEqual([answer.status, answer.text], [401, 'API key expired'])
      hasSecurityHeaders(answer)
    }
  },

  ...forEach(
    { 'too long': 'x'.repeat(roomIdBytesMax + 1), 'too long in bytes': 'é'.repeat(roomIdBytesMax / 2 + 1), 'with a zero': 'a\0b', 'with a line break': 'a\nb', 'with a delete': 'a\x7fb' },
    what => `a room_id ${what}: 400 (1)`,
    async (tools, room) => {
      const { query, headers } = await spelled(tools, { room, cookie: true })
      assert.equal((await askUpgrade(tools.server, `/websocket?${new URLSearchParams(query)}`, headers)).status, 400)
    }
  ),

  async 'a room_id is trimmed, and may be any text of 255 bytes (1)' (tools) {
    const { id } = tools
    for (const room of [`${id} é/?#&%'";`, `${id}-${'é'.repeat(200)}`.slice(0, id.length + 1 + (roomIdBytesMax - id.length - 1 >> 1))]) {
      const [a, b] = [await enter(tools, 'ann', { room: `  ${room} ` }), await enter(tools, 'ben', { room })]
      a.send({ action: 'setCursor', payload: { userId: 'a', position: 1 } })
      await b.message('the cursor', ({ event }) => event === 'memory_update')
    }
  },

  ...forEach(
    { 'another page': 'https://evil.example', 'the same host at another port': 'http://127.0.0.1:1', 'no page at all': 'null', 'nobody': undefined },
    what => `the cookie from ${what}: 403, a key and a token are not asked (README 3)`,
    async (tools, origin) => {
      const { server, id, people, annsKey } = tools
      const ann = await people.get('ann')
      const from = origin === undefined ? {} : { origin }
      const answer = await askUpgrade(server, `/websocket?room_id=${id}`, { cookie: ann.cookie, ...from })
      assert.equal(answer.status, 403)
      for (const who of [await annsKey, { parameters: { session_token: ann.token }, socketOptions: {} }]) {
        tools.keep(await RoomDbClient.open(server, id, { parameters: who.parameters, socketOptions: { headers: from } }))
      }
    }
  ),

  async 'each use of a key sets its last-used time (1)' (tools) {
    const ben = await tools.people.get('ben')
    const key = await ben.makeKey({ name: `${tools.id}-used` })
    const mine = async () => (await ben.get('/api/keys/list?limit=100')).json.keys.find(({ name }) => name === `${tools.id}-used`)
    assert.equal((await mine()).last_used_at, null)
    const began = Date.now()
    await enterWith(tools, key)
    const { last_used_at: used } = await until('the time of use', async () => { const one = await mine(); return one.last_used_at !== null && one }, { everyMs: 50 })
    assert.ok(Math.abs(used - began) < 60_000, `last used at ${used}, opened at ${began}`)
  },

  async 'the first user with a session who enters an unregistered room owns it; who follows does not (1)' (tools) {
    const { id, people } = tools
    await enter(tools, 'ann')
    await enter(tools, 'ben')
    const names = async who => (await (await people.get(who)).get('/api/rooms/list')).json.map(room => room.id)
    assert.ok((await names('ann')).includes(id))
    assert.ok(!(await names('ben')).includes(id))
  },

  async 'rooms have nothing in common: tables, rows, events, presence (12.18)' (tools) {
    const [here, there] = [await enter(tools, 'ann'), await enter(tools, 'ann', { room: `${tools.id}-other` })]
    for (const client of [here, there]) client.send({ action: 'subscribe', table: 'people' })
    await here.call('createTable', { tableName: 'people', columns: [{ name: 'name' }] })
    await here.call('batchInsert', { table: 'people', rows: [{ name: 'Ann' }] })
    await here.call('createTask', { title: 'here' })
    await here.call('setPresence', { userId: 'ann', status: 'here' })
    await here.call('updateDebounced', { key: 'k', value: 1 })
    await here.message('its change', ({ event }) => event === 'update')
    await there.barrier()
    assert.deepEqual(there.messages.filter(({ event, type }) => event !== undefined || type === 'schema_update'), [])
    assert.equal((await there.rpc('executeSQL', { sql: 'SELECT * FROM people' })).type, 'query_error')
    assert.deepEqual((await there.call('listTasks', {})).data, [])
    assert.deepEqual((await there.call('getPresence')).data, [])
    assert.deepEqual(Object.keys((await there.call('getSchema')).data), ['tasks'])
  },

  async 'a document of the same name is another room' (tools) {
    const client = await enter(tools, 'ann')
    const editor = await tools.edit('3.1.0', { room: tools.id }).synced()
    editor.type('x')
    await client.call('createTask', { title: 'a' })
    assert.equal(client.closed, null)
    assert.deepEqual(client.messages.map(({ type }) => type), ['reset', 'mutation_success'])
  }
}

export const ofOwners = {
  async 'only the owner and whom a permission lets in; others: 403 Forbidden (1)' (tools) {
    const { server, id, people, rights } = tools
    await enter(tools, 'ann')
    const ben = await people.get('ben')
    const bensKey = await ben.makeKey()
    const refused = async (parameters, headers) => await askUpgrade(server, databaseUrl({ url: '' }, id, parameters), headers)
    for (const answer of [await refused({}, ben.headers), await refused({ session_token: ben.token }), await refused(bensKey.parameters)]) {
      assert.deepEqual([answer.status, answer.text], [403, 'Forbidden'])
      hasSecurityHeaders(answer)
    }
    await rights.permit(id, ben.id, 'tasks', { read: true, write: false })
    await enter(tools, 'ben')
    await enterWith(tools, bensKey)
  },

  async 'the HTTP API tells a stranger no more than the socket: no schema, manifest, analytics (1, 9)' (tools) {
    const { server, id, people, rights } = tools
    await enter(tools, 'ann')
    const [ann, ben] = [await people.get('ann'), await people.get('ben')]
    const bensKey = await ben.makeKey()
    const paths = ['/schema', '/api/schema', '/manifest', '/analytics'].map(path => `${path}?room_id=${id}`)
    const statuses = async headers => await Promise.all(paths.map(async path => (await ask(server, 'GET', path, { headers })).status))
    assert.deepEqual(await statuses(ann.headers), [200, 200, 200, 200])
    for (const headers of [ben.headers, { 'x-nano-key': bensKey.text }]) assert.deepEqual(await statuses(headers), [403, 403, 403, 403])
    await rights.permit(id, ben.id, 'tasks', { read: true })
    assert.deepEqual(await statuses(ben.headers), [200, 200, 200, 200])
  },

  async "a room that was made over HTTP is its maker's, whoever comes first (1, 9)" (tools) {
    const { server, id, people } = tools
    const [ann, ben] = [await people.get('ann'), await people.get('ben')]
    assert.equal((await ann.post('/api/rooms/create', { roomId: id })).status, 200)
    assert.equal((await askUpgrade(server, `/websocket?room_id=${id}`, ben.headers)).status, 403)
    assert.equal((await ben.post('/api/rooms/create', { roomId: id })).status, 409)
    await enter(tools, 'ann')
  },

  async 'who loses the right is closed with 1008 within a minute (8)' (tools) {
    const { id, people, rights } = tools
    await enter(tools, 'ann')
    const ben = await people.get('ben')
    await rights.permit(id, ben.id, 'tasks', { read: true, write: true })
    const client = await enter(tools, 'ben')
    await rights.forbid(id, ben.id, 'tasks')
    assert.equal((await client.whenClosed(60_000)).code, 1008)
    assert.equal((await askUpgrade(tools.server, `/websocket?room_id=${id}`, ben.headers)).status, 403)
  }
}

export const ofStrangers = {
  async 'beyond the requests of an address: 429 before anything else (1)' ({ startServer, id }) {
    const most = 300
    const server = await startServer({ CONCORD_LIMITS_EXEMPT: '' })
    const seen = []
    for (let i = 0; i < most + 20; i++) seen.push(await ask(server, 'GET', i % 2 === 0 ? '/websocket' : `/connect?room_id=${id}`))
    const first = seen.findIndex(({ status }) => status === 429)
    assert.ok(first >= most - 5 && first <= most + 5, `the first refusal is request ${first}`)
    assert.equal(seen.at(-1).text, 'Rate limit exceeded. Please slow down.')
    hasSecurityHeaders(seen.at(-1))
  },

  async 'a page that is not listed: 403; one that is: in, with its cookie (README 3)' (tools) {
    const { startServer, id, keep } = tools
    const page = 'https://app.example'
    const server = await startServer({ CONCORD_ORIGINS_ALLOWED: page })
    const ann = await Account.signUp(server, 'ann', { origin: page })
    assert.equal((await askUpgrade(server, `/websocket?room_id=${id}`, { cookie: ann.cookie, origin: 'https://evil.example' })).status, 403)
    assert.equal((await askUpgrade(server, `/websocket?room_id=${id}&session_token=${ann.token}`, { origin: 'https://evil.example' })).status, 403)
    keep(await RoomDbClient.open(server, id, ann))
    keep(await RoomDbClient.open(server, id, new Key((await ann.makeKey()).text)))
  }
}
