// Statements about refusals of the HTTP API and of the socket's first request: status and text of each. Run by scenarios/y_sweet.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { RawClient } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { askSocket, call, managerOf, openRaw } from '../lib/y_sweet.mjs'
import { askUpgrade } from '../lib/any_editor_http.mjs'
import { updateOf } from '../wire/vectors.mjs'

const hi = updateOf(doc => doc.getText('t').insert(0, 'hi'))
const octets = { 'content-type': 'application/octet-stream' }
const bodyBytesMax = 16 << 20

/** @param {string | RegExp} detail behind `Something went wrong: ` */
function isError (answer, status, detail) {
  assert.equal(answer.status, status, answer.text)
  const [, told] = /^Something went wrong: (.*)$/s.exec(answer.text) ?? [null, `not a word of what went wrong, but "${answer.text}"`]
  if (typeof detail === 'string') assert.equal(told, detail)
  else assert.match(told, detail)
}

const forbiddenIds = { 'mydoc123!': 'mydoc123!', 'a space': 'a b', 'a slash': 'a/b', 'a dot': 'a.b', é: 'é', '129 characters': 'x'.repeat(129) }
const notJson = { 'half an object': '{"docId":', nothing: '', words: 'hello' }
const badRequests = {
  'validForSeconds below 0': { validForSeconds: -1 },
  'validForSeconds with a fraction': { validForSeconds: 1.5 },
  'validForSeconds as text': { validForSeconds: '60' },
  'an unknown authorization': { authorization: 'admin' }
}
const badMethods = {
  'GET /doc/new': ['GET', '/doc/new'],
  'DELETE /d/{id}/as-update': ['DELETE', '/d/ID/as-update'],
  'GET /d/{id}/update': ['GET', '/d/ID/update'],
  'POST /d/{id}/as-update': ['POST', '/d/ID/as-update'],
  'PUT /doc/{id}/auth': ['PUT', '/doc/ID/auth']
}

export const inBothModes = {
  ...forEach(
    forbiddenIds,
    what => `doc/new with a forbidden id (${what}): 400`,
    async ({ mode }, docId) => {
      isError(await mode.call('POST', '/doc/new', { json: { docId } }), 400, 'Invalid document name')
    }
  ),

  ...forEach(
    notJson,
    what => `doc/new with ${what} for JSON: 400`,
    async ({ mode }, body) => {
      assert.equal((await mode.call('POST', '/doc/new', { body, headers: { 'content-type': 'application/json' } })).status, 400)
    }
  ),

  async 'auth with something that is no JSON: 400' ({ mode, id }) {
    await mode.manager.createDoc(id)
    assert.equal((await mode.call('POST', `/doc/${id}/auth`, { body: '{"authorization":', headers: { 'content-type': 'application/json' } })).status, 400)
  },

  async 'JSON without its content type: 415' ({ mode, id }) {
    assert.equal((await mode.call('POST', '/doc/new', { body: JSON.stringify({ docId: id }) })).status, 415)
    await assert.rejects(mode.manager.getClientToken(id), /404/, 'and nothing is made')
  },

  ...forEach(
    badRequests,
    what => `auth with ${what}: 422`,
    async ({ mode, id }, json) => {
      await mode.manager.createDoc(id)
      assert.equal((await mode.call('POST', `/doc/${id}/auth`, { json })).status, 422)
    }
  ),

  async 'auth for an unknown document: 404, with its name' ({ mode, id }) {
    isError(await mode.call('POST', `/doc/${id}/auth`, { json: {} }), 404, `Doc ${id} not found`)
  },

  async 'update with bytes that are no update: 400, and the document stays' ({ mode, id }) {
    const token = await mode.token(id)
    for (const body of ['nonsense', Uint8Array.of(), Uint8Array.of(5, 5), hi.subarray(0, 6)]) {
      isError(await mode.call('POST', `/d/${id}/update`, { token, body, headers: octets }), 400, 'Invalid update')
    }
    assert.equal(await mode.text(id), '')
  },

  async 'a body over 16 MiB: 413' ({ mode, id }) {
    const token = await mode.token(id)
    assert.equal((await mode.call('POST', `/d/${id}/update`, { token, body: new Uint8Array(bodyBytesMax + 1), headers: octets, waits: true })).status, 413)
    assert.equal(await mode.text(id), '')
  },

  ...forEach(
    badMethods,
    what => `${what}: 405`,
    async ({ mode, id }, [method, path]) => {
      assert.equal((await mode.call(method, path.replace('ID', id), { token: path.startsWith('/doc') ? mode.serverToken : await mode.token(id) })).status, 405)
    }
  ),

  async 'a socket path with two different ids: 400, and words about it' ({ mode, id }) {
    const token = await mode.token(id)
    const answer = await askUpgrade(mode.server, `/d/${id}/ws/${id}x${token === undefined ? '' : `?token=${token}`}`)
    assert.equal(answer.status, 400, answer.text)
    assert.match(answer.text, /equal|same|match/i)
  },

  async 'a socket path without the second id: 404 (7)' ({ mode, id }) {
    const token = await mode.token(id)
    for (const path of [`/d/${id}/ws`, `/d/${id}/ws/`, `/d/${id}`, '/doc/ws', '/doc/ws/']) {
      assert.equal((await askUpgrade(mode.server, `${path}${token === undefined ? '' : `?token=${token}`}`)).status, 404, path)
    }
  },

  async 'a socket path with a forbidden id is refused before the upgrade' ({ mode }) {
    for (const id of ['mydoc123!', 'x'.repeat(129)]) {
      const { status } = await askUpgrade(mode.server, `/d/${id}/ws/${id}${mode.isSigned ? `?token=${mode.serverToken}` : ''}`)
      assert.ok(status >= 400 && status < 500, `status ${status}`)
    }
  },

  async 'an escaped slash makes no segment: not another dialect, and no document' ({ mode }) {
    const { status } = await askUpgrade(mode.server, '/d/a%2Fb/ws/a%2Fb')
    assert.ok(status >= 400 && status < 500, `status ${status}`)
  }
}

/** What a token may be that is none. @type {Record<string, [(tools: object) => Promise<string | undefined>, string | RegExp]>} */
const badTokens = {
  'no token': [async () => undefined, 'No token provided.'],
  nonsense: [async () => 'no token at all!', 'The token is not a valid format'],
  'an empty structure': [async () => 'AA', /^The token (is not a valid format|signature is invalid)$/],
  "another key's token": [async ({ stranger, id }) => await stranger.token(id), 'The token signature is invalid'],
  'a token with a changed byte': [async ({ mode, id }) => changed(await mode.token(id)), /^The token (is not a valid format|signature is invalid)$/],
  'a token of another document': [async ({ mode, id }) => await mode.token(`${id}-other`), 'The token is not valid for the requested resource'],
  'a token that has run out': [async tools => await runOut(tools), 'The token is expired']
}

async function runOut ({ mode, id }) {
  const token = await mode.token(id, { validForSeconds: 0 })
  await until('the token to have run out', async () => (await call(mode.server, 'GET', `/d/${id}/as-update`, { token })).status === 401, { everyMs: 50 })
  return token
}

/** Its last characters are the signature's; the very last one may hold bits that say nothing. */
function changed (token) {
  const at = token.length - 5
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1)
}

const documentCalls = {
  'as-update': ['GET', 'd'],
  update: ['POST', 'd'],
  'as-update, in the old form': ['GET', 'doc'],
  'update, in the old form': ['POST', 'doc']
}

export const signedOnly = {
  ...forEach(
    {
      '/doc/new': ['POST', '/doc/new'],
      '/doc/{id}/auth': ['POST', '/doc/ID/auth'],
      '/check_store': ['POST', '/check_store'],
      '/check_store, by GET': ['GET', '/check_store']
    },
    what => `${what} without the server token, and with a wrong one: 401`,
    async ({ mode, id }, [method, path]) => {
      const documentToken = await mode.token(id)
      for (const token of [undefined, 'wrong', `${mode.serverToken}x`, mode.serverToken.slice(1), documentToken]) {
        isError(await call(mode.server, method, path.replace('ID', id), { token, ...(method === 'POST' ? { json: {} } : {}) }), 401, 'Unauthorized.')
      }
    }
  ),

  ...forEach(
    badTokens,
    what => `with ${what} every call about the document gives 401, and the socket too (8.5, 8.9)`,
    async (tools, [make, detail]) => {
      const { mode, id } = tools
      await mode.manager.createDoc(id)
      const token = await make(tools)
      for (const [method, root] of Object.values(documentCalls)) {
        const path = `/${root}/${id}/${method === 'GET' ? 'as-update' : 'update'}`
        isError(await call(mode.server, method, path, { token, ...(method === 'POST' ? { body: hi, headers: octets } : {}) }), 401, detail)
      }
      isError(await askSocket(mode.server, id, token), 401, detail)
      const client = new RawClient(`${mode.server.url}/d/${id}/ws/${id}${token === undefined ? '' : `?token=${encodeURIComponent(token)}`}`)
      await until('the handshake to fail', () => client.refused)
      assert.equal(client.refused, 401)
      assert.equal(await mode.text(id), '')
    }
  ),

  async 'the SDK tells no auth from invalid auth' ({ mode }) {
    await assert.rejects(managerOf(mode.server).checkStore(), { cause: { code: 'NoAuthProvided' } })
    await assert.rejects(managerOf(mode.server, 'wrong').checkStore(), { cause: { code: 'InvalidAuthProvided' } })
  },

  async 'validForSeconds 0 fails with 401 after a second, 2 works at once and fails afterwards, while an open socket goes on (8.6)' ({ mode, id, keep }) {
    const began = performance.now()
    const [none, brief] = [await mode.token(id, { validForSeconds: 0 }), await mode.token(id, { validForSeconds: 2 })]
    const visit = async token => (await askSocket(mode.server, id, token)).status
    const client = keep(await openRaw(mode.server, id, brief))
    assert.equal((await call(mode.server, 'GET', `/d/${id}/as-update`, { token: brief })).status, 200)
    await until('the first token to have run out', async () => (await visit(none)) === 401, { ms: 1_500, everyMs: 20 })
    await until('the second token to have run out', async () => (await visit(brief)) === 401, { ms: 10_000, everyMs: 20 })
    assert.ok(performance.now() - began >= 1_900, `it had run out after ${performance.now() - began} ms`)
    assert.equal((await call(mode.server, 'GET', `/d/${id}/as-update`, { token: brief })).status, 401)
    client.sendUpdate(hi)
    await client.frame('the echo, on the socket that is open', frame => frame.isUpdate)
    assert.equal(client.closed, null)
  },

  async 'update with a read-only token: 403, and the document stays (8.7)' ({ mode, id }) {
    const token = await mode.token(id, { authorization: 'read-only' })
    for (const root of ['d', 'doc'])
      isError(await call(mode.server, 'POST', `/${root}/${id}/update`, { token, body: hi, headers: octets }), 403, 'Unauthorized.')
    assert.equal((await call(mode.server, 'GET', `/d/${id}/as-update`, { token })).status, 200)
    assert.equal(await mode.text(id), '')
  },

  // Two servers with the same keys: what exists on one does not on the other.
  async 'a socket with a read-only token on a document that does not exist: 404; with a full one it is made' ({ mode, twin, id, keep }) {
    const token = await twin.token(id, { authorization: 'read-only' })
    isError(await askSocket(mode.server, id, token), 404, `Doc ${id} not found`)
    const client = keep(await openRaw(mode.server, id, await twin.token(id)))
    await client.barrier()
    assert.equal((await mode.manager.getClientToken(id)).docId, id)
  },

  async 'a token for a reader and the id of a user cannot be made into more' ({ mode, id }) {
    const token = await mode.token(id, { authorization: 'read-only', userId: 'u1' })
    for (let at = 0; at < token.length; at += 3) {
      const forged = token.slice(0, at) + (token[at] === 'A' ? 'Q' : 'A') + token.slice(at + 1)
      const { status } = await call(mode.server, 'POST', `/d/${id}/update`, { token: forged, body: hi, headers: octets })
      assert.ok(status === 401 || status === 403, `character ${at} changed: ${status}`)
    }
    assert.equal(await mode.text(id), '')
  }
}
