// Statements about the state of a draft over REST. Run by scenarios/json_yjs.mjs.

import assert from 'node:assert/strict'
import { makeToken, now } from '../lib/access.mjs'
import { ask } from '../lib/any_editor_http.mjs'
import { JsonYjsClient, firmToken } from '../lib/json_yjs.mjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { read, vector } from '../wire/vectors.mjs'
import { edit } from './rights.mjs'

const base64 = bytes => Buffer.from(bytes).toString('base64')

/** One call about a draft; with no token when it is null. */
function call (server, method, draft, { token = firmToken('ann'), json, body = json === undefined ? undefined : JSON.stringify(json) } = {}) {
  const headers = { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
  return ask(server, method, `/api/drafts/${encodeURIComponent(draft)}/yjs-state`, { headers, body })
}

function isError (answer, status, code) {
  assert.equal(answer.status, status, answer.text)
  assert.match(answer.type, /^application\/json/)
  assert.deepEqual(Object.keys(answer.json), ['error'])
  assert.equal(answer.json.error.code, code)
  assert.ok(answer.json.error.message.length > 0)
}

const badTokens = {
  'no token': () => null,
  'a token that ran out': () => firmToken('ann', 'firm-1', { exp: now() - 60 }),
  'a token with another secret': () => firmToken('ann', 'firm-1', {}, { key: 'x'.repeat(40) }),
  'a token without firmId': () => makeToken({ userId: 'ann' })
}
const badBodies = {
  'no JSON': { body: '{"yjsState":' },
  'no yjsState': { json: {} },
  'a number as yjsState': { json: { yjsState: 7 } },
  'what is not base64': { json: { yjsState: '***' } },
  'base64 of no update': { json: { yjsState: base64(Uint8Array.of(5, 5)) } },
  'an empty yjsState': { json: { yjsState: '' } }
}

export const statements = {
  async 'GET gives the whole document as one update, in base64 (7)' ({ server, id, keep }) {
    const client = keep(await JsonYjsClient.open(server, id))
    for (const part of ['A1', 'A2', 'A3']) client.sendUpdate(vector(part))
    await client.barrier()
    const { status, json } = await call(server, 'GET', id)
    assert.equal(status, 200)
    assert.deepEqual(Object.keys(json), ['draftId', 'yjsState'])
    assert.equal(json.draftId, id)
    assert.equal(read([Buffer.from(json.yjsState, 'base64')]).text, 'i!')
  },

  async 'PUT merges, keeps what is there, and sends the difference to who is connected (7)' ({ server, id, keep }) {
    const client = keep(await JsonYjsClient.open(server, id))
    client.sendUpdate(vector('A1'))
    await client.barrier()
    const { status, json } = await call(server, 'PUT', id, { json: { yjsState: base64(edit('put ')) } })
    assert.deepEqual([status, json], [200, { success: true, draftId: id }])
    await client.update()
    const late = keep(await JsonYjsClient.open(server, id))
    assert.deepEqual([late.text.length, late.text.includes('put '), late.text.includes('hi')], [6, true, true])
    const before = client.updates.length
    assert.equal((await call(server, 'PUT', id, { json: { yjsState: base64(vector('A1')) } })).status, 200)
    await client.barrier()
    assert.equal(client.updates.length, before, 'what changes nothing is not sent')
  },

  async 'a draft that does not exist, and one of another firm: 404 (7)' ({ admin, server, id }) {
    isError(await call(server, 'GET', `${id}-never`), 404, 'NOT_FOUND')
    isError(await call(server, 'PUT', `${id}-never`, { json: { yjsState: base64(vector('A1')) } }), 404, 'NOT_FOUND')
    await admin.do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-2', ownerId: 'eve' })
    isError(await call(server, 'GET', id), 404, 'NOT_FOUND')
    isError(await call(server, 'PUT', id, { json: { yjsState: base64(vector('A1')) } }), 404, 'NOT_FOUND')
  },

  ...forEach(
    badTokens,
    what => `${what}: 401 (7)`,
    async ({ server, id, keep }, make) => {
      keep(await JsonYjsClient.open(server, id))
      isError(await call(server, 'GET', id, { token: make() }), 401, 'UNAUTHORIZED')
      isError(await call(server, 'PUT', id, { token: make(), json: { yjsState: base64(vector('A1')) } }), 401, 'UNAUTHORIZED')
    }
  ),

  ...forEach(
    badBodies,
    what => `PUT with ${what}: 400, and the draft stays (7)`,
    async ({ server, id, keep }, body) => {
      const client = keep(await JsonYjsClient.open(server, id))
      isError(await call(server, 'PUT', id, body), 400, 'VALIDATION_ERROR')
      await client.barrier()
      assert.equal(client.updates.length, 0)
    }
  ),

  async 'who may only view may GET; PUT is 403 (7)' ({ admin, server, id }) {
    await admin.do('PUT', `/api/admin/drafts/${id}`, { firmId: 'firm-1', ownerId: 'ann', collaborators: [{ userId: 'vic', permission: 'view' }] })
    assert.equal((await call(server, 'PUT', id, { json: { yjsState: base64(vector('A1')) } })).status, 200)
    const token = firmToken('vic')
    assert.equal((await call(server, 'GET', id, { token })).status, 200)
    isError(await call(server, 'PUT', id, { token, json: { yjsState: base64(vector('A2')) } }), 403, 'FORBIDDEN')
    assert.equal(read([Buffer.from((await call(server, 'GET', id)).json.yjsState, 'base64')]).text, 'hi')
  }
}
