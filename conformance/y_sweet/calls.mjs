// Statements about the HTTP API: what each call does, in open and in signed mode. Run by scenarios/y_sweet.mjs.

import assert from 'node:assert/strict'
import { RawClient } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { askSocket, call, managerOf } from '../lib/y_sweet.mjs'
import { updateOf } from '../wire/vectors.mjs'
import { textOf } from './modes.mjs'

const hi = updateOf(doc => doc.getText('t').insert(0, 'hi'), 1)
const ho = updateOf(doc => doc.getText('t').insert(0, 'ho'), 2)
const octets = { 'content-type': 'application/octet-stream' }
const generatedId = /^[A-Za-z0-9_-]{21}$/
const longestId = 'x'.repeat(128)
const jsonType = /^application\/json/

const isOk = (answer, json) => {
  assert.equal(answer.status, 200, answer.text)
  assert.match(answer.type, jsonType)
  assert.deepEqual(answer.json, json)
}

export const inBothModes = {
  async 'ready needs no token' ({ mode }) {
    isOk(await call(mode.server, 'GET', '/ready'), { ok: true })
  },

  async 'check_store says ok, by POST and by GET, and by the SDK (8.1)' ({ mode }) {
    isOk(await mode.call('POST', '/check_store', { json: {} }), { ok: true })
    isOk(await mode.call('GET', '/check_store'), { ok: true })
    assert.deepEqual(await mode.manager.checkStore(), { ok: true })
  },

  async 'unknown parameters change nothing' ({ mode, id }) {
    isOk(await mode.call('POST', '/doc/new?z=1&other=%2F', { json: { docId: id } }), { docId: id })
    assert.equal((await mode.call('GET', `/d/${id}/as-update?z=x&z=y`, { token: await mode.token(id) })).status, 200)
  },

  async 'doc/new makes an id when there is none (8.1)' ({ mode }) {
    const answer = await mode.call('POST', '/doc/new', { json: {} })
    assert.equal(answer.status, 200, answer.text)
    assert.match(answer.type, jsonType)
    assert.match(answer.json.docId, generatedId)
    const { docId } = await mode.manager.createDoc()
    assert.match(docId, generatedId)
    assert.notEqual(docId, answer.json.docId)
  },

  async 'doc/new with the id of a document that exists changes nothing (8.1)' ({ mode, id }) {
    assert.deepEqual(await mode.manager.createDoc(id), { docId: id })
    await mode.manager.updateDoc(id, hi)
    assert.deepEqual(await mode.manager.createDoc(id), { docId: id })
    assert.equal(await mode.text(id), 'hi')
  },

  async 'ids have up to 128 characters of A-Z a-z 0-9 - _' ({ mode }) {
    for (const docId of ['aZ09-_', longestId]) isOk(await mode.call('POST', '/doc/new', { json: { docId } }), { docId })
  },

  async 'a client token has the fields that clients read (2)' ({ mode, id }) {
    const clientToken = await mode.clientToken(id)
    const { token, ...rest } = clientToken
    const host = `127.0.0.1:${mode.server.port}`
    assert.deepEqual(rest, { url: `ws://${host}/d/${id}/ws`, baseUrl: `http://${host}/d/${id}`, docId: id, authorization: 'full' })
    assert.equal('token' in clientToken, mode.isSigned, 'in open mode `token` is absent, not null')
    if (mode.isSigned) {
      assert.match(token, /^([\w-]+\.)?[\w-]+$/, 'base64url, perhaps behind the id of a key')
      assert.ok(token.length <= 2048, `${token.length} bytes`)
    }
  },

  async 'url and baseUrl name the host that was asked (2)' ({ mode, id }) {
    await mode.manager.createDoc(id)
    const { url, baseUrl } = (await mode.call('POST', `/doc/${id}/auth`, { json: {}, headers: { host: 'collab.example:8080' } })).json
    assert.deepEqual([url, baseUrl], [`ws://collab.example:8080/d/${id}/ws`, `http://collab.example:8080/d/${id}`])
  },

  async 'X-Forwarded-* of who is no trusted proxy are not read (2)' ({ mode, id }) {
    await mode.manager.createDoc(id)
    const { url, baseUrl } = (
      await mode.call('POST', `/doc/${id}/auth`, { json: {}, headers: { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'evil.example' } })
    ).json
    assert.deepEqual([url, baseUrl], [`ws://127.0.0.1:${mode.server.port}/d/${id}/ws`, `http://127.0.0.1:${mode.server.port}/d/${id}`])
  },

  async 'an empty body and {} mean: full, for an hour (8.10)' ({ mode, id }) {
    await mode.manager.createDoc(id)
    for (const options of [{}, { json: {} }, { body: '', headers: { 'content-type': 'application/json' } }]) {
      const answer = await mode.call('POST', `/doc/${id}/auth`, options)
      assert.equal(answer.status, 200, answer.text)
      assert.equal(answer.json.authorization, 'full')
    }
  },

  async 'read-only is said back' ({ mode, id }) {
    assert.equal((await mode.clientToken(id, { authorization: 'read-only', userId: 'u1', validForSeconds: 60 })).authorization, 'read-only')
  },

  async 'an empty document is 00 00, as octets' ({ mode, id }) {
    const answer = await mode.call('GET', `/d/${id}/as-update`, { token: await mode.token(id) })
    assert.deepEqual([answer.status, answer.type, Buffer.from(answer.bytes).toString('hex')], [200, 'application/octet-stream', '0000'])
  },

  async 'update is answered with nothing, is merged, and is in as-update at once (8.8)' ({ mode, id }) {
    const token = await mode.token(id)
    for (const body of [hi, ho]) {
      const answer = await mode.call('POST', `/d/${id}/update`, { token, body, headers: octets })
      assert.deepEqual([answer.status, answer.text], [200, ''])
    }
    assert.equal(textOf((await mode.call('GET', `/d/${id}/as-update`, { token })).bytes), 'hiho')
  },

  async 'update reaches those who are connected, as an update (8.8)' ({ mode, id, keep }) {
    const editor = await keep(mode.edit(id)).connected()
    const raw = keep(await mode.open(id))
    await raw.barrier()
    const from = raw.frames.length
    await mode.manager.updateDoc(id, hi)
    assert.deepEqual((await raw.frame('the update', frame => frame.isUpdate, { from })).payload, hi)
    await until('the edit', () => editor.text === 'hi')
  },

  async 'the old forms of as-update and update do the same' ({ mode, id }) {
    const token = await mode.token(id)
    const answer = await mode.call('POST', `/doc/${id}/update`, { token, body: hi, headers: octets })
    assert.deepEqual([answer.status, answer.text], [200, ''])
    const read = await mode.call('GET', `/doc/${id}/as-update`, { token })
    assert.deepEqual([read.status, read.type, textOf(read.bytes)], [200, 'application/octet-stream', 'hi'])
  },

  async 'the server token is good wherever a document token is asked for' ({ mode, id, keep }) {
    await mode.manager.createDoc(id)
    assert.equal((await mode.call('POST', `/d/${id}/update`, { body: hi, headers: octets })).status, 200)
    assert.equal((await mode.call('GET', `/doc/${id}/as-update`)).status, 200)
    const path = `${mode.server.url}/doc/ws/${id}${mode.isSigned ? `?token=${mode.serverToken}` : ''}`
    const client = keep(await RawClient.open(path))
    assert.equal(textOf(await client.barrier()), 'hi')
    client.sendUpdate(ho)
    await client.frame('the echo of who may write', frame => frame.isUpdate)
  },

  async 'as-update and update make a document that is not there; auth does not' ({ mode, id }) {
    for (const [method, path, options] of [
      ['GET', `/d/${id}-a/as-update`, {}],
      ['POST', `/d/${id}-b/update`, { body: hi, headers: octets }]
    ]) {
      const docId = path.split('/')[2]
      assert.equal((await mode.call('POST', `/doc/${docId}/auth`, { json: {} })).status, 404)
      assert.equal((await mode.call('POST', `/doc/${docId}/auth`, { json: {} })).status, 404, 'asking for a token does not make it')
      assert.equal((await mode.call(method, path, options)).status, 200)
      assert.equal((await mode.call('POST', `/doc/${docId}/auth`, { json: {} })).status, 200)
    }
  },

  async 'both forms of the socket open (101), and are the same document' ({ mode, id, keep }) {
    const token = await mode.token(id)
    const query = token === undefined ? '' : `?token=${encodeURIComponent(token)}`
    const a = keep(await RawClient.open(`${mode.server.url}/d/${id}/ws/${id}${query}`))
    const b = keep(await RawClient.open(`${mode.server.url}/doc/ws/${id}${query}`))
    a.sendUpdate(hi)
    assert.deepEqual((await b.frame('the update', frame => frame.isUpdate)).payload, hi)
  },

  async 'the SDK does all that it can (8.1)' ({ mode, id }) {
    const { manager } = mode
    const clientToken = await manager.getOrCreateDocAndToken(id)
    assert.equal(clientToken.docId, id)
    assert.equal((await manager.getClientToken({ docId: id })).docId, id)
    await manager.updateDoc(id, hi)
    assert.equal(textOf(await manager.getDocAsUpdate(id)), 'hi')
    const { docId } = await manager.createDocWithContent(ho)
    assert.equal(textOf(await manager.getDocAsUpdate(docId)), 'ho')
    const connection = await manager.getDocConnection(id, { authorization: 'full' })
    await connection.updateDoc(ho)
    assert.equal(textOf(await connection.getAsUpdate()), 'hiho')
    assert.match((await manager.getOrCreateDocAndToken()).docId, generatedId)
  },

  async 'the connection string may have a slash at its end' ({ mode, id }) {
    const { port } = mode.server
    const manager = managerOf({ port: `${port}/` }, mode.serverToken)
    assert.deepEqual(await manager.createDoc(id), { docId: id })
  },

  async 'getClientToken of a document that never was fails with 404, createDoc of mydoc123! with 400 (8.2)' ({ mode, id }) {
    await assert.rejects(mode.manager.getClientToken(`${id}-never-created`), /404/)
    await assert.rejects(mode.manager.createDoc('mydoc123!'), /400/)
  },

  async 'pages may call: CORS for their origin (3)' ({ mode, id }) {
    const origin = 'https://app.example'
    const preflight = await call(mode.server, 'OPTIONS', `/d/${id}/update`, {
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, content-type' }
    })
    assert.ok(preflight.status === 200 || preflight.status === 204, `status ${preflight.status}`)
    const list = name =>
      (preflight.headers[name] ?? '')
        .toLowerCase()
        .split(',')
        .map(item => item.trim())
    for (const method of ['get', 'post', 'options'])
      assert.ok(list('access-control-allow-methods').includes(method), `${method} in "${preflight.headers['access-control-allow-methods']}"`)
    for (const header of ['authorization', 'content-type'])
      assert.ok(list('access-control-allow-headers').includes(header), `${header} in "${preflight.headers['access-control-allow-headers']}"`)
    const answer = await mode.call('GET', `/d/${id}/as-update`, { token: await mode.token(id), headers: { origin } })
    for (const { headers } of [preflight, answer])
      assert.ok([origin, '*'].includes(headers['access-control-allow-origin']), `access-control-allow-origin: ${headers['access-control-allow-origin']}`)
  }
}

/** Needs a server of its own for each. */
export const inEachOwn = {
  async 'X-Forwarded-Proto and X-Forwarded-Host of a trusted proxy are believed (2)' ({ mode, id }) {
    const another = await mode.startAnother({ CONCORD_PROXY_TRUSTED: '127.0.0.1' })
    await another.manager.createDoc(id)
    const answer = await another.call('POST', `/doc/${id}/auth`, {
      json: {},
      headers: { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'collab.example.com' }
    })
    const { url, baseUrl } = answer.json
    assert.deepEqual([url, baseUrl], [`wss://collab.example.com/d/${id}/ws`, `https://collab.example.com/d/${id}`])
  },

  async 'without a place to store, check_store says so' ({ mode }) {
    const { manager } = await mode.startAnother({ CONCORD_DURABILITY: 'memory' })
    assert.deepEqual(await manager.checkStore(), { ok: false, error: 'No store set.' })
  },

  async 'only listed pages get CORS headers, and a socket of another is refused with 403' ({ mode, id }) {
    const another = await mode.startAnother({ CONCORD_ORIGINS_ALLOWED: 'https://app.example' })
    const token = await another.token(id)
    for (const [origin, allowed] of [
      ['https://app.example', true],
      ['https://evil.example', false]
    ]) {
      const answer = await another.call('GET', `/d/${id}/as-update`, { token, headers: { origin } })
      assert.equal(
        answer.headers['access-control-allow-origin'] !== undefined && answer.headers['access-control-allow-origin'] !== '*',
        allowed,
        `${origin}: ${answer.headers['access-control-allow-origin']}`
      )
    }
    const { status } = await askSocket(another.server, id, token, { origin: 'https://evil.example' })
    assert.equal(status, 403)
  },

  async 'a document exists from doc/new on, without content too, and after a restart' ({ mode, id }) {
    const another = await mode.startAnother()
    await another.manager.createDoc(id)
    await another.server.kill9()
    await another.server.start()
    assert.equal((await another.manager.getClientToken(id)).docId, id)
    await another.server.terminate()
    await another.server.start()
    assert.equal((await another.manager.getClientToken(id)).docId, id)
  }
}

export const openOnly = {
  async 'POST /y-sweet/auth makes the document and a client token (1)' ({ mode, id }) {
    const answer = await call(mode.server, 'POST', '/y-sweet/auth', { json: { docId: id } })
    const host = `127.0.0.1:${mode.server.port}`
    isOk(answer, { url: `ws://${host}/d/${id}/ws`, baseUrl: `http://${host}/d/${id}`, docId: id, authorization: 'full' })
    assert.equal(await mode.text(id), '')
  },

  async 'tokens are ignored, wherever they are given (7)' ({ mode, id, keep }) {
    await mode.manager.createDoc(id)
    for (const path of [`/d/${id}/as-update`, `/doc/${id}/as-update`]) assert.equal((await call(mode.server, 'GET', path, { token: 'nonsense' })).status, 200)
    assert.deepEqual(await managerOf(mode.server, 'nonsense').checkStore(), { ok: true })
    const client = keep(await RawClient.open(`${mode.server.url}/d/${id}/ws/${id}?token=nonsense`))
    await client.barrier()
  },

  async 'a document that came into being as a y-websocket room exists here (3)' ({ mode, id, keep }) {
    await assert.rejects(mode.manager.getClientToken(id), /404/)
    const visitor = keep(await RawClient.open(`${mode.server.url}/${id}`))
    visitor.sendUpdate(hi)
    await visitor.frame('the echo', frame => frame.isUpdate)
    assert.equal((await mode.manager.getClientToken(id)).docId, id)
    assert.equal(await mode.text(id), 'hi')
  },

  async 'a y-websocket client on the room and a Y-Sweet client on the document edit together (8.12)' ({ mode, id, edit, keep }) {
    const a = await keep(mode.edit(id)).connected()
    const b = await edit('3.1.0', { room: id }).synced()
    a.type('from Y-Sweet')
    await until('the edit', () => b.text === 'from Y-Sweet')
    b.type(', from y-websocket')
    await until('the answer', () => a.text === 'from Y-Sweet, from y-websocket')
    a.provider.awareness.setLocalState({ user: { name: 'A' } })
    b.provider.awareness.setLocalState({ user: { name: 'B' } })
    await until(
      'the presence of both',
      () => b.provider.awareness.getStates().get(a.doc.clientID)?.user?.name === 'A' && a.provider.awareness.getStates().get(b.doc.clientID)?.user?.name === 'B'
    )
  }
}

export const signedOnly = {
  async 'POST /y-sweet/auth is off (1)' ({ mode, id }) {
    const answer = await call(mode.server, 'POST', '/y-sweet/auth', { json: { docId: id } })
    assert.equal(answer.status, 404, answer.text)
    await assert.rejects(mode.manager.getClientToken(id), /404/)
  }
}

/** With authentication configured and no signing key. */
export const withoutKey = {
  async 'with authentication and no signing key the mount is off: 404, and the log says so (1)' ({ server, id }) {
    for (const [method, path] of [
      ['POST', '/doc/new'],
      ['POST', `/doc/${id}/auth`],
      ['GET', `/d/${id}/as-update`],
      ['POST', '/y-sweet/auth'],
      ['POST', '/check_store']
    ]) {
      assert.equal((await call(server, method, path, method === 'POST' ? { json: {} } : {})).status, 404, `${method} ${path}`)
    }
    assert.equal((await askSocket(server, id)).status, 404)
    assert.ok(
      server.log.some(line => /y[-_ ]?sweet/i.test(line)),
      `a line about it in the log:\n${server.log.join('\n')}`
    )
  }
}
