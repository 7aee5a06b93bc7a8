// Statements about the way into a room: the handshake, names, subprotocols, plain HTTP. Run by scenarios/wire.mjs.

import assert from 'node:assert/strict'
import { request } from 'node:http'
import { Editor, versionNames } from '../lib/provider.mjs'
import { awarenessMessage } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { vector, updateOf } from './vectors.mjs'

export const statements = {
  async 'an unmodified provider of each version is synced in an empty room (13.1)' ({ server, room }) {
    for (const version of versionNames) {
      const editor = await new Editor(version, server.url, `${room}/${version}`).synced()
      assert.equal(editor.connects, 1, `provider ${version} connected more than once`)
      editor.destroy()
    }
  },

  async 'the first frame is a step 1, and presence follows only if there is any (13.4)' ({ open }) {
    const first = await open()
    await first.barrier()
    assert.equal(first.frames[0].hex, '00000100')
    assert.ok(!first.frames.some(frame => frame.isAwareness), 'presence was sent into an empty room')
    first.sendUpdate(vector('A1'))
    first.send(vector('W1'))
    await first.barrier()
    const second = await open()
    await second.barrier()
    assert.equal(second.frames[0].hex, '000003010102', 'the second client\'s step 1')
    assert.ok(second.frames[1].isAwareness, `the second frame is ${second.frames[1].hex}`)
    assert.deepEqual(second.frames[1].awareness, [{ id: 7, clock: 1, state: { user: { name: 'Ann' } } }])
    assert.equal(second.frames.filter(frame => frame.isAwareness).length, 1)
  },

  async 'each frame from the server is binary and holds one message' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.sendUpdate(vector('A1'))
    a.send(vector('W1'))
    a.send(vector('Q'))
    await a.barrier()
    await b.barrier()
    for (const frame of [...a.frames, ...b.frames]) {
      assert.ok(frame.isBinary, 'a text frame')
      assert.ok(!frame.unreadable && frame.trailing === 0, `not one message: ${frame.hex}`)
    }
  },

  async 'names with a slash, a space, and letters beyond ASCII name the same room in plain and percent-encoded form (13.17)' ({ server, room, open }) {
    for (const name of [`${room}/team/notes/7`, `${room} a b`, `${room}-Zürich-漢字-😀`]) {
      const editor = await new Editor('2.1.0', server.url, name).synced()
      const raw = await open(`${server.url}/${name.split('/').map(encodeURIComponent).join('/')}`)
      const mounted = await open(`${server.url}/y/${encodeURI(name)}`)
      raw.sendUpdate(updateOf(doc => doc.getText('t').insert(0, name)))
      await until(`"${name}" typed by one to be read by the other`, () => editor.doc.getText('t').toString() === name)
      await mounted.frame('the update below the mount point /y', frame => frame.isUpdate)
      editor.destroy()
    }
  },

  async 'names that differ are different rooms, a trailing slash included' ({ server, room, open }) {
    const a = await open(`${server.url}/${room}`)
    const others = [await open(`${server.url}/${room}/`), await open(`${server.url}/${room}x`), await open(`${server.url}/${room.toUpperCase()}`)]
    a.sendUpdate(vector('A1'))
    await a.barrier()
    for (const other of others) {
      assert.equal(Buffer.from(await other.barrier()).toString('hex'), '0000')
      assert.ok(!other.frames.some(frame => frame.isUpdate))
    }
  },

  async 'parameters do not change the room' ({ server, room, open }) {
    const a = await open(`${server.url}/${room}?x=1&name=%20`)
    const b = await open()
    a.sendUpdate(vector('A1'))
    await b.frame('the update', frame => frame.isUpdate)
  },

  async 'bad room names are refused with 400' ({ server }) {
    const bad = ['/y/', '/y/%00', '/y/a%1Fb', '/y/a%7f', '/y/%2e', '/y/a/%2e%2e/b', '/y/' + 'a'.repeat(1025), '/y/' + '%C3%A9'.repeat(513), '/y/%ff']
    for (const path of bad) {
      const { status, headers, body } = await upgrade(server, path)
      assert.equal(status, 400, `${path.slice(0, 40)} was answered with ${status}`)
      assert.match(headers['content-type'] ?? '', /application\/json/)
      assert.deepEqual(JSON.parse(body), { error: 'invalid room name' })
    }
    const longest = await upgrade(server, '/y/' + 'a'.repeat(1024))
    assert.equal(longest.status, 101, 'a name of 1,024 bytes')
  },

  async 'reserved paths are never rooms' ({ server }) {
    for (const path of ['/ws/other', '/ws/updates', '/api/anything', '/_concord/x', '/health']) {
      const { status } = await upgrade(server, path)
      assert.ok(status >= 400, `${path} was answered with ${status}`)
    }
  },

  async 'a subprotocol is answered if and only if it was offered' ({ server, room, open }) {
    const client = await open(undefined, { protocols: ['first', 'second'] })
    assert.equal(client.socket.protocol, 'first')
    const { status, headers } = await upgrade(server, `/${room}`)
    assert.equal(status, 101)
    assert.equal(headers['sec-websocket-protocol'], undefined)
    assert.equal(headers['sec-websocket-accept'], 'ICX+Yqv66kxgM0FcWaLWlFLwTAI=', 'the accept value of the key')
  },

  async 'a plain GET of a room is answered with okay' ({ server, room }) {
    for (const path of [`/${room}`, '/team/notes/7', '/a%20b?x=1']) {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`)
      assert.equal(response.status, 200)
      assert.match(response.headers.get('content-type'), /^text\/plain/)
      assert.equal((await response.text()).trim(), 'okay')
    }
  },

  async '/health says what there is' ({ server, open }) {
    await open()
    const response = await fetch(`http://127.0.0.1:${server.port}/health`)
    assert.equal(response.status, 200)
    const { status, timestamp, version, websocket } = await response.json()
    assert.equal(status, 'healthy')
    assert.ok(Date.now() - Date.parse(timestamp) < 60_000, `timestamp ${timestamp}`)
    assert.equal(typeof version, 'string')
    assert.ok(websocket.connections >= 1 && websocket.rooms >= 1, JSON.stringify(websocket))
  },

  async 'fragments, with a ping between them, are one message' ({ open }) {
    const [a, b] = [await open(), await open()]
    const message = Buffer.from(vector('F3'))
    a.socket.send(message.subarray(0, 3), { fin: false })
    a.socket.ping('between')
    const pong = new Promise(resolve => a.socket.once('pong', data => resolve(data.toString())))
    a.socket.send(message.subarray(3, 9), { fin: false })
    a.socket.send(message.subarray(9), { fin: true })
    assert.equal((await b.frame('the update', frame => frame.isUpdate)).hex, message.toString('hex'))
    assert.equal(await pong, 'between')
  },

  async 'a client that offers compression and one that does not meet' ({ open }) {
    const [a, b] = [await open(undefined, { perMessageDeflate: true }), await open()]
    const large = updateOf(doc => doc.getText('t').insert(0, 'compressible '.repeat(20_000)))
    a.sendUpdate(large)
    assert.deepEqual((await b.frame('the large update', frame => frame.isUpdate)).payload, new Uint8Array(large))
    const from = a.frames.length
    b.sendUpdate(updateOf(doc => doc.getText('u').insert(0, 'x'.repeat(100_000)), 2))
    await a.frame('the answer', frame => frame.isUpdate && frame.payload.length > 100_000, { from })
  },

  async 'over-long forms of small numbers are accepted' ({ open }) {
    const client = await open()
    client.send('8000 8000 8100 00')
    await client.frame('the step 2', frame => frame.isStep2)
  },

  async 'two messages in one frame have the effect of two (13.15)' ({ open }) {
    const [a, b] = [await open(), await open()]
    a.send(vector('M'))
    await a.frame('the step 2', frame => frame.isStep2)
    for (const client of [a, b]) {
      const { awareness } = await client.frame('the presence', frame => frame.isAwareness)
      assert.deepEqual(awareness, [{ id: 7, clock: 1, state: { a: 1 } }])
    }
    const update = Buffer.concat([vector('F3'), awarenessMessage([{ id: 7, clock: 2, json: '{"a":2}' }])])
    a.send(update)
    await b.frame('the update', frame => frame.isUpdate)
    await b.frame('the second presence', frame => frame.isAwareness && frame.awareness[0].clock === 2)
  }
}

/** A raw upgrade request, because a URL object would tidy the path. */
function upgrade (server, path) {
  return new Promise((resolve, reject) => {
    const sent = request({
      host: '127.0.0.1', port: server.port, path, agent: false,
      headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' }
    })
    sent.on('upgrade', (response, socket) => {
      socket.destroy()
      resolve({ status: response.statusCode, headers: response.headers, body: '' })
    })
    sent.on('response', response => {
      let body = ''
      response.setEncoding('utf8').on('data', text => { body += text })
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }))
    })
    sent.on('error', reject)
    sent.end()
  })
}
