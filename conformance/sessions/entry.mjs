// Statements about getting in: the path, who one is in development and in production mode. Run by scenarios/sessions.mjs.

import assert from 'node:assert/strict'
import { makeToken, now, secret } from '../lib/access.mjs'
import { ask, askUpgrade } from '../lib/any_editor_http.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { SessionsClient } from '../lib/sessions.mjs'
import { until } from '../lib/until.mjs'
import { updateOf } from '../wire/vectors.mjs'

const sessionId = /^[0-9A-Za-z]{27}$/
const wholeSeconds = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
const chosenMax = 2 ** 31 - 1
const nameBytesMax = 256

const pathOf = (id, query = '') => `/ws/document/${id}${query}`

const clientIds = {
  'no client_id': undefined,
  'client_id 0': '0',
  'client_id that is no number': 'x',
  'a negative client_id': '-1',
  'client_id with a fraction': '1.5',
  'client_id of 2^53': '9007199254740992',
  'an empty client_id': ''
}

export const inDevelopment = {
  async 'Alice alone: the first message has no users and no awareness (12.1)' ({ server, id, keep }) {
    const alice = keep(await SessionsClient.open(server, id, { user_id: 'alice', user_name: 'Alice', client_id: 17 }))
    const { session, ...rest } = alice.initial
    assert.deepEqual(rest, { type: 'initial_state', users: [], awareness: {} })
    assert.match(session.id, sessionId)
    assert.match(session.connected_at, wholeSeconds)
    assert.ok(Math.abs(Date.now() - Date.parse(session.connected_at)) < 60_000, session.connected_at)
    const { id: _, connected_at: __, ...who } = session
    assert.deepEqual(who, { document_id: id, user_id: 'alice', user_name: 'Alice', client_id: 17 })
    await alice.barrier()
    assert.equal(alice.updates.length, 0, 'an empty document is not sent')
  },

  async 'without parameters one is anonymous (1)' ({ server, id, keep }) {
    for (const parameters of [{}, { user_id: '', user_name: '' }]) {
      const { session } = keep(await SessionsClient.open(server, id, parameters))
      assert.deepEqual([session.user_id, session.user_name], ['anonymous', 'Anonymous'])
    }
  },

  ...forEach(
    clientIds,
    what => `${what}: the server chooses a free one (1)`,
    async ({ server, id, keep }, value) => {
      const chosen = []
      for (let i = 0; i < 3; i++) chosen.push(keep(await SessionsClient.open(server, id, { user_id: 'u', client_id: value })).session.client_id)
      for (const id of chosen) assert.ok(Number.isInteger(id) && id >= 1 && id <= chosenMax, `client id ${id}`)
      assert.equal(new Set(chosen).size, 3)
    }
  ),

  async 'a client_id may be as large as 2^53 - 1 (1)' ({ server, id, keep }) {
    assert.equal(keep(await SessionsClient.open(server, id, { user_id: 'u', client_id: Number.MAX_SAFE_INTEGER })).session.client_id, Number.MAX_SAFE_INTEGER)
  },

  async 'ids of sessions are unique, and later ones sort later (1)' ({ server, id, keep }) {
    const early = keep(await SessionsClient.open(server, id)).session.id
    await until('another second', () => new Date().getMilliseconds() < 100, { everyMs: 20 })
    await until('the second after it', () => new Date().getMilliseconds() > 500, { everyMs: 20 })
    await until('another second', () => new Date().getMilliseconds() < 100, { everyMs: 20 })
    const late = keep(await SessionsClient.open(server, id)).session.id
    assert.ok(early < late, `${early} is before ${late}`)
  },

  async 'the id is one segment, escaped, of 1 to 256 bytes without control characters (1)' ({ server, id, keep }) {
    for (const name of [`${id} é?#`, 'é'.repeat(nameBytesMax / 2)]) assert.equal(keep(await SessionsClient.open(server, name)).session.document_id, name)
    for (const path of [pathOf('x'.repeat(nameBytesMax + 1)), pathOf('a%00b'), pathOf('a%0ab'), pathOf('a%7fb'), pathOf('a%2Fb'), pathOf('%ff')]) {
      const { status } = await askUpgrade(server, path)
      assert.ok(status >= 400 && status < 500, `${path.slice(0, 40)}: ${status}`)
    }
  },

  ...forEach(
    { '/ws/document/': 404, '/ws/document': 404, '/ws/document/a/b': 404, '/ws/document/a/': 404, '/ws/updates': 501 },
    path => `${path} is not this dialect (1, 5)`,
    async ({ server }, status, path) => {
      assert.equal((await askUpgrade(server, path)).status, status)
    }
  ),

  async '/ws/updates says that it was never implemented (10)' ({ server }) {
    assert.equal((await askUpgrade(server, '/ws/updates')).text.trim(), 'Not implemented yet')
    const answer = await ask(server, 'GET', '/ws/updates')
    assert.deepEqual([answer.status, answer.text.trim()], [501, 'Not implemented yet'])
  },

  async 'what is no WebSocket request: 426 (1)' ({ server, id }) {
    assert.equal((await ask(server, 'GET', pathOf(id))).status, 426)
  },

  async 'health has what this client reads (10)' ({ server }) {
    const answer = await ask(server, 'GET', '/health')
    assert.equal(answer.status, 200)
    assert.equal(typeof answer.json.status, 'string')
  }
}

async function refusedWith (server, path, status, error, headers) {
  const answer = await askUpgrade(server, path, headers)
  assert.deepEqual([answer.status, answer.json], [status, { error }])
}

const badTokens = {
  'no token': () => undefined,
  'no JWT': () => 'nonsense',
  'a token that ran out': () => makeToken({ userId: 'alice', exp: now() - 60 }),
  'a token with another secret': () => makeToken({ userId: 'alice' }, { key: `${secret}!` }),
  'a token of nobody': () => makeToken({})
}

/** claims -> user id and name. */
const identities = {
  'userId and name': [{ userId: 'alice', name: 'Alice' }, ['alice', 'Alice']],
  'userId before user_id and sub': [{ userId: 'alice', user_id: 'bob', sub: 'carol', name: 'A' }, ['alice', 'A']],
  'user_id before sub': [{ user_id: 'bob', sub: 'carol', user_name: 'Bob' }, ['bob', 'Bob']],
  'sub alone': [{ sub: 'carol' }, ['carol', 'carol']],
  'name before user_name': [{ userId: 'alice', name: 'Alice', user_name: 'Al' }, ['alice', 'Alice']]
}

export const inProduction = {
  ...forEach(
    badTokens,
    what => `${what}: 401 before the upgrade, in the header and as a parameter (1, 12.10)`,
    async ({ server, id }, make) => {
      const token = make()
      await refusedWith(server, pathOf(id, token === undefined ? '' : `?token=${token}`), 401, 'unauthorized')
      await refusedWith(server, pathOf(id), 401, 'unauthorized', token === undefined ? {} : { authorization: `Bearer ${token}` })
      await refusedWith(server, pathOf(id, `?user_id=alice&user_name=Alice${token === undefined ? '' : `&token=${token}`}`), 401, 'unauthorized')
    }
  ),

  ...forEach(
    identities,
    what => `${what} say who one is, the parameters do not (1, 12.10)`,
    async ({ server, id, keep }, [claims, who]) => {
      const token = makeToken(claims)
      const parameters = { user_id: 'mallory', user_name: 'Mallory', client_id: 5 }
      const [byHeader, byParameter] = [
        keep(await SessionsClient.open(server, id, parameters, { headers: { authorization: `Bearer ${token}` } })),
        keep(await SessionsClient.open(server, `${id}-other`, { ...parameters, token }))
      ]
      for (const { session } of [byHeader, byParameter]) assert.deepEqual([session.user_id, session.user_name, session.client_id], [...who, 5])
    }
  ),

  async 'no right to the document: 403 (1)' ({ server, id, admin }) {
    const token = makeToken({ userId: 'alice', rooms: [{ name: `${id}-other`, permission: 'write' }] })
    await refusedWith(server, pathOf(id, `?token=${token}`), 403, 'forbidden')
    await admin.do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-1', ownerId: 'ann' })
    await refusedWith(server, pathOf(id, `?token=${makeToken({ userId: 'alice' })}`), 403, 'forbidden')
  },

  async 'a change of who may only read: READ_ONLY, it reaches nobody; presence is allowed (11)' ({ server, id, keep }) {
    const member = (user, permission) => SessionsClient.open(server, id, { token: makeToken({ userId: user, rooms: [{ name: id, permission }] }) })
    const [writer, reader] = [keep(await member('alice', 'write')), keep(await member('bob', 'read'))]
    const update = updateOf(doc => doc.getText('t').insert(0, 'x'), 5)
    reader.send(update)
    await reader.error('READ_ONLY')
    reader.send({ type: 1, payload: Buffer.from(update).toString('base64') })
    await until('the second refusal', () => reader.errors.length === 2)
    assert.deepEqual(reader.errors, ['READ_ONLY', 'READ_ONLY'])
    reader.send({ type: 'awareness', user: { name: 'Bob' } })
    await writer.message('the presence of the reader', message => message.type === 'awareness')
    writer.send(updateOf(doc => doc.getText('t').insert(0, 'y'), 6))
    await reader.binary()
    assert.equal(writer.updates.length, 0)
    assert.equal(keep(await member('carol', 'read')).closed, null)
    assert.equal(reader.text, 'y')
  },

  async "the user in presence is the token's, whatever is written there (12.10)" ({ server, id, keep }) {
    const [alice, bob] = [
      keep(await SessionsClient.open(server, id, { token: makeToken({ userId: 'alice', name: 'Alice' }) })),
      keep(await SessionsClient.open(server, id, { token: makeToken({ userId: 'bob' }) }))
    ]
    alice.send({ type: 'awareness', user: { id: 'bob', color: '#fff' } })
    const { awareness } = await bob.message('the presence', message => message.type === 'awareness')
    assert.deepEqual(awareness[alice.session.client_id].user, { id: 'alice', name: 'Alice', color: '#fff' })
  }
}

export const inEachOwn = {
  async 'a forbidden Origin: 403 (1)' ({ startServer, id, keep }) {
    const server = await startServer({ CONCORD_ORIGINS_ALLOWED: 'https://app.example' })
    assert.equal((await askUpgrade(server, pathOf(id), { origin: 'https://evil.example' })).status, 403)
    keep(await SessionsClient.open(server, id, {}, { origin: 'https://app.example' }))
    keep(await SessionsClient.open(server, id, {}))
  }
}
