// Statements about getting in: the path, the four refusals, tokens. Run by scenarios/json_yjs.mjs.

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { makeToken, now, secret } from '../lib/access.mjs'
import { ask, askUpgrade } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { JsonYjsClient, draftUrl, firmToken } from '../lib/json_yjs.mjs'
import { until } from '../lib/until.mjs'
import { updateOf } from '../wire/vectors.mjs'

const hi = updateOf(doc => doc.getText('t').insert(0, 'hi'))
const notIn = 'Access denied. You do not have permission to access this draft.'

/** The socket opens, tells why in one message, and closes. */
export async function refused ({ keep }, url, error, reason) {
  const client = keep(new JsonYjsClient(url))
  await client.whenClosed()
  assert.equal(client.refused, null, 'the upgrade must be completed, so that a page can show the reason')
  assert.deepEqual(
    { messages: client.messages.map(message => message.raw), closed: client.closed },
    { messages: [JSON.stringify({ type: 'error', error })], closed: { code: 1008, reason } }
  )
}

export const accessDenied = (tools, draft, token) => refused(tools, draftUrl(tools.server, draft, token), notIn, 'Insufficient permissions')

/** A token without a signature, as `alg: none` has it. */
function unsigned (claims) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none', typ: 'JWT' })}.${part({ iat: now(), exp: now() + 3600, ...claims })}.`
}

const person = { userId: 'ann', firmId: 'firm-1', role: 'attorney', email: 'ann@firm.example' }
const badTokens = {
  'a token that ran out a minute ago': () => makeToken({ ...person, exp: now() - 60 }),
  'a token without exp': () => makeToken({ ...person, exp: undefined }),
  'a token signed with another secret': () => makeToken(person, { key: `${secret}!` }),
  'a token without a signature': () => unsigned(person),
  'a token with its signature cut off': () => `${makeToken(person).split('.').slice(0, 2).join('.')}.`,
  'a token signed with an own key (RS256)': () =>
    makeToken(person, { algorithm: 'RS256', key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }),
  'a token without firmId': () => makeToken({ ...person, firmId: undefined }),
  'a token with an empty firmId': () => makeToken({ ...person, firmId: '' }),
  'a token with a number as firmId': () => makeToken({ ...person, firmId: 7 }),
  'a token without userId': () => makeToken({ ...person, userId: undefined }),
  'a token with an empty userId': () => makeToken({ ...person, userId: '' }),
  'no JWT at all': () => 'nonsense'
}

const missing = {
  'no parameters': ['', 'Missing authentication token'],
  'no token': ['?draftId=ID', 'Missing authentication token'],
  'an empty token': ['?token=&draftId=ID', 'Missing authentication token'],
  'two tokens': ['?token=TOKEN&token=TOKEN&draftId=ID', 'Missing authentication token'],
  'no draftId': ['?token=TOKEN', 'Missing draftId parameter'],
  'an empty draftId': ['?token=TOKEN&draftId=', 'Missing draftId parameter'],
  'two draftIds': ['?token=TOKEN&draftId=ID&draftId=ID', 'Missing draftId parameter'],
  'a bad token and no draftId: the first check counts': ['?token=nonsense', 'Missing draftId parameter']
}

export const statements = {
  async 'a good token and draftId: the first message is a state response with an array (10.1)' ({ server, id, keep }) {
    const client = keep(await JsonYjsClient.open(server, id))
    assert.equal(client.messages[0].raw, '{"type":"yjs-state-response","data":[0,0]}')
    assert.equal(client.messages[0].isBinary, false)
    assert.equal(client.socket.protocol, '')
  },

  ...forEach(
    missing,
    what => `${what}: told in one message, then 1008 (1, 10.2)`,
    async (tools, [query, text]) => {
      await refused(tools, `${tools.server.url}/ws${query.replaceAll('TOKEN', firmToken('ann')).replaceAll('ID', tools.id)}`, text, text)
    }
  ),

  ...forEach(
    badTokens,
    what => `${what}: Invalid or expired token (1, 10.2, 10.13)`,
    async (tools, make) => {
      await refused(tools, draftUrl(tools.server, tools.id, make()), 'Invalid or expired token', 'Authentication failed')
    }
  ),

  async 'other parameters are ignored, and those that count may be escaped' ({ server, id, keep }) {
    const name = `${id} é/ü`
    const a = keep(await JsonYjsClient.open(server, name))
    const client = keep(new JsonYjsClient(`${server.url}/ws?x=1&draftId=${encodeURIComponent(name)}&y=&token=${firmToken('ben')}&x=2`))
    await client.message('the state', message => message.type === 'yjs-state-response')
    client.sendUpdate(hi)
    await a.update()
    assert.equal(a.text, 'hi')
  },

  async 'a draftId has 1 to 256 bytes and no control characters' ({ server, keep }) {
    const longest = 'é'.repeat(128)
    keep(await JsonYjsClient.open(server, longest))
    for (const draft of [`${longest}x`, 'a\u0000b', 'a\nb', 'a\u007fb']) {
      const client = keep(new JsonYjsClient(draftUrl(server, draft, firmToken('ann'))))
      await client.whenClosed()
      assert.equal(client.closed.code, 1008, `${JSON.stringify(draft)}: ${JSON.stringify(client.closed)}`)
      assert.deepEqual(
        client.messages.map(message => message.type),
        ['error']
      )
    }
  },

  async 'the clocks of two machines may differ by 30 s; a socket outlives its token (2)' ({ server, id, keep }) {
    const token = firmToken('ann', 'firm-1', { exp: now() - 27 })
    const client = keep(await JsonYjsClient.open(server, id, token))
    await until(
      'the token to have run out',
      async () => {
        const visitor = keep(new JsonYjsClient(draftUrl(server, id, token)))
        await until('the first message', () => visitor.messages.length > 0)
        return visitor.messages[0].error === 'Invalid or expired token'
      },
      { everyMs: 250 }
    )
    await client.barrier()
    client.sendUpdate(hi)
    const late = keep(await JsonYjsClient.open(server, id))
    await until('the edit of who is in', () => late.text === 'hi')
    assert.equal(client.closed, null)
  },

  async 'plain HTTP on /ws: 426 with an Upgrade header (9)' ({ server }) {
    const answer = await ask(server, 'GET', '/ws')
    assert.deepEqual([answer.status, answer.headers.upgrade?.toLowerCase(), answer.text], [426, 'websocket', 'Upgrade Required'])
    assert.equal((await ask(server, 'GET', `/ws?token=${firmToken('ann')}&draftId=x`)).status, 426)
  },

  ...forEach(
    { '/ws/': 404, '/ws/draft': 404, '/ws/draft/x': 404, '/ws/document': 404, '/ws/updates': 501 },
    path => `${path} is not this dialect (9)`,
    async ({ server, id }, status, path) => {
      assert.equal((await askUpgrade(server, `${path}?token=${firmToken('ann')}&draftId=${id}`)).status, status)
    }
  ),

  async 'GET /api/health has the members that clients read, and counts this client (10.14)' ({ server, id, keep }) {
    const health = async () => (await ask(server, 'GET', '/api/health')).json
    keep(await JsonYjsClient.open(server, id))
    const { status, timestamp, websocket } = await health()
    assert.equal(status, 'ok')
    assert.equal(new Date(timestamp).toISOString(), timestamp)
    assert.ok(websocket.connections >= 1 && websocket.rooms >= 1, JSON.stringify(websocket))
    assert.equal((await ask(server, 'GET', '/health')).json.status, 'healthy')
  }
}

/** Needs a server of its own for each. */
export const inEachOwn = {
  async 'a forbidden Origin: HTTP 403, before the upgrade (1)' ({ startServer, id, keep }) {
    const server = await startServer({ CONCORD_ORIGINS_ALLOWED: 'https://app.example' })
    const client = keep(new JsonYjsClient(draftUrl(server, id, firmToken('ann')), { origin: 'https://evil.example' }))
    await until('the refusal', () => client.refused)
    assert.equal(client.refused, 403)
    keep(await JsonYjsClient.open(server, id, undefined, { origin: 'https://app.example' }))
  },

  async 'health counts connections one by one (10.14)' ({ startServer, id, keep }) {
    const server = await startServer()
    const counts = async () => (await ask(server, 'GET', '/api/health')).json.websocket
    const clients = []
    for (let i = 1; i <= 3; i++) {
      clients.push(keep(await JsonYjsClient.open(server, `${id}-${i % 2}`)))
      await until(`${i} connections`, async () => (await counts()).connections === i)
    }
    assert.equal((await counts()).rooms, 2)
    for (const client of clients) client.close()
    await until('none', async () => (await counts()).connections === 0)
  },

  async 'with drafts.auto_create off, a draft must have been registered (3)' ({ startServer, id, keep, adminOf, ...tools }) {
    const server = await startServer({ CONCORD_DRAFTS_AUTO_CREATE: 'false', CONCORD_ADMIN_LISTEN: '127.0.0.1:0' })
    await accessDenied({ ...tools, server, keep }, id, firmToken('ann'))
    await (await adminOf(server)).do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-1', ownerId: 'ann' })
    keep(await JsonYjsClient.open(server, id))
  }
}
