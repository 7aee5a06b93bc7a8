// Statements about messages: what each does for its sender and for the others, limits, bad input. Run by scenarios/json_yjs.mjs.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { forEach } from '../lib/any_editor_statements.mjs'
import { JsonYjsClient, docOf, draftUrl, firmToken, resyncNeeded } from '../lib/json_yjs.mjs'
import { until } from '../lib/until.mjs'
import { updateOf, vector } from '../wire/vectors.mjs'
import { edit } from './rights.mjs'

const textBytesMax = 16 << 20
const numbersMax = 4_194_304
const errorsMax = 20
const hi = [...vector('A1')]
const waits = `Update depends on changes the server does not have ${resyncNeeded}`

const join = async ({ server, id, keep }, user, draft = id) => keep(await JsonYjsClient.open(server, draft, firmToken(user)))

const badInput = {
  'no JSON': ['{"type":', 'Invalid JSON'],
  nothing: ['', 'Invalid JSON'],
  'bytes that are no UTF-8': [Uint8Array.of(0x22, 0xff, 0xfe, 0x22), 'Invalid JSON'],
  'a Yjs update as a binary frame': [vector('A1'), 'Invalid JSON'],
  'a list': ['[]', 'Message must be a JSON object'],
  'a text': ['"x"', 'Message must be a JSON object'],
  null: ['null', 'Message must be a JSON object'],
  'a number': ['3', 'Message must be a JSON object'],
  'no type': ['{}', 'Missing message type'],
  'a number as type': ['{"type":1}', 'Missing message type'],
  'null as type': ['{"type":null,"data":[0,0]}', 'Missing message type'],
  'another type': ['{"type":"hello"}', 'Unknown message type: hello'],
  'an empty type': ['{"type":""}', 'Unknown message type: '],
  'a long type': [`{"type":"${'x'.repeat(100)}"}`, `Unknown message type: ${'x'.repeat(64)}`],
  'an update without data': ['{"type":"yjs-update"}', 'Missing data'],
  'data that is a text': ['{"type":"yjs-update","data":"AAA="}', 'data must be an array of bytes'],
  'data that is null': ['{"type":"yjs-update","data":null}', 'data must be an array of bytes'],
  'data with 256': ['{"type":"yjs-update","data":[0,256]}', 'data must be an array of bytes'],
  'data with -1': ['{"type":"yjs-update","data":[0,-1]}', 'data must be an array of bytes'],
  'data with 1.5': ['{"type":"yjs-update","data":[0,1.5]}', 'data must be an array of bytes'],
  'data with a text': ['{"type":"yjs-update","data":[0,"1"]}', 'data must be an array of bytes'],
  'data with null': ['{"type":"yjs-update","data":[0,null]}', 'data must be an array of bytes'],
  'data with a list': ['{"type":"yjs-update","data":[[0,0]]}', 'data must be an array of bytes'],
  'an object whose keys are not in order': ['{"type":"yjs-update","data":{"1":0,"0":0}}', 'data must be an array of bytes'],
  'an object with a gap': ['{"type":"yjs-update","data":{"0":0,"2":0}}', 'data must be an array of bytes'],
  'an object with another key': ['{"type":"yjs-update","data":{"0":0,"1":0,"length":2}}', 'data must be an array of bytes'],
  'empty data': ['{"type":"yjs-update","data":[]}', 'Invalid Yjs update'],
  'an empty object as data': ['{"type":"yjs-update","data":{}}', 'Invalid Yjs update'],
  'data that is no update': ['{"type":"yjs-update","data":[5,5]}', 'Invalid Yjs update'],
  'a truncated update': [JSON.stringify({ type: 'yjs-update', data: hi.slice(0, -3) }), 'Invalid Yjs update'],
  'a state response from a client': ['{"type":"yjs-state-response","data":[0,0]}', /^Unexpected message type: yjs-state-response$/],
  'an error from a client': ['{"type":"error","error":"x"}', /^Unexpected message type: error$/]
}

export const statements = {
  async 'an update reaches the other with the same effect, and not its sender (10.3)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.sendUpdate(vector('A1'))
    const message = await b.update({ ms: 1_000 })
    assert.equal(docOf([message]).getText('t').toString(), 'hi')
    b.sendUpdate(vector('A2'))
    await a.update()
    await a.barrier()
    assert.deepEqual(
      a.messages.slice(1).map(({ type }) => type),
      ['yjs-update', 'pong'],
      'its own update came back'
    )
  },

  async 'messages are text frames of compact JSON with type first (4)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.sendUpdate(vector('A1'))
    await b.update()
    await b.barrier()
    b.send({ type: 'nonsense' })
    await b.message('the error', message => message.type === 'error')
    assert.deepEqual(
      b.messages.map(message => message.raw),
      [
        '{"type":"yjs-state-response","data":[0,0]}',
        `{"type":"yjs-update","data":[${hi.join(',')}]}`,
        '{"type":"pong"}',
        '{"type":"error","error":"Unknown message type: nonsense"}'
      ]
    )
    assert.ok(b.messages.every(message => !message.isBinary))
  },

  async 'with more than two, all but the sender get it once; another draft gets nothing (10.4)' (tools) {
    const clients = await Promise.all(['ann', 'ben', 'cid', 'dan'].map(user => join(tools, user)))
    const stranger = await join(tools, 'eve', `${tools.id}-other`)
    for (const client of clients) client.sendUpdate(edit('x'))
    await Promise.all(clients.map(client => until('three updates', () => client.updates.length >= 3)))
    for (const client of [...clients, stranger]) await client.barrier()
    assert.deepEqual(
      clients.map(client => client.updates.length),
      [3, 3, 3, 3]
    )
    assert.deepEqual(
      stranger.messages.map(({ type }) => type),
      ['yjs-state-response', 'pong']
    )
  },

  async 'another tab of the same user is another client (4)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ann')]
    a.sendUpdate(vector('A1'))
    await b.update()
    await a.barrier()
    assert.equal(a.updates.length, 0)
  },

  async 'who comes later has all from the first message alone (10.5)' (tools) {
    const a = await join(tools, 'ann')
    a.sendUpdate(vector('A1'))
    a.sendUpdate(vector('A2'))
    a.sendUpdate(vector('A3'))
    await a.barrier()
    const late = await join(tools, 'ben')
    assert.equal(docOf(late.messages.slice(0, 1)).getText('t').toString(), 'i!')
  },

  async 'a state request is answered to the asker only (10.6)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.sendUpdate(vector('A1'))
    await b.update()
    const from = b.messages.length
    b.send({ type: 'yjs-state-request' })
    const answer = await b.message('the state', message => message.type === 'yjs-state-response', { from })
    assert.equal(docOf([answer]).getText('t').toString(), 'hi')
    await a.barrier()
    assert.deepEqual(
      a.messages.map(({ type }) => type),
      ['yjs-state-response', 'pong']
    )
  },

  async 'ping is answered with pong, pong with nothing (10.12)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.send({ type: 'pong' })
    await a.barrier()
    assert.deepEqual(a.messages.map(message => message.raw).slice(1), ['{"type":"pong"}'])
    await b.barrier()
    assert.equal(b.messages.length, 2)
  },

  async 'members that have no name here are ignored, and a binary frame of JSON is read (4)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.send({ from: 'me', data: hi, type: 'yjs-update', userId: 'root', at: { x: 1 } })
    await b.update()
    a.send(Buffer.from(JSON.stringify({ type: 'yjs-update', data: [...vector('A2')] })))
    await until('the second update', () => b.text === 'hi!')
    await a.barrier()
    assert.deepEqual(a.errors, [])
  },

  async 'a Uint8Array as JSON makes an object of it is an update too (9)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.send(JSON.stringify({ type: 'yjs-update', data: vector('A1') }))
    assert.deepEqual((await b.update()).data, hi)
  },

  async 'an update that changes nothing is not sent on (4)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.sendUpdate(vector('A1'))
    await b.update()
    a.sendUpdate(vector('A1'))
    b.sendUpdate(vector('A1'))
    a.sendUpdate(Uint8Array.of(0, 0))
    a.sendUpdate(vector('A2'))
    await until('the next change', () => b.updates.length >= 2)
    await a.barrier()
    assert.deepEqual(
      b.updates.map(update => [...update]),
      [hi, [...vector('A2')]]
    )
    assert.equal(a.updates.length, 0)
  },

  async 'what came too early is kept, is in state responses, and reaches others when it can be applied (4)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.sendUpdate(vector('A2'))
    assert.equal((await a.message('the word about it', message => message.type === 'error')).error, waits)
    await b.barrier()
    assert.equal(b.updates.length, 0)
    const late = await join(tools, 'cid')
    const doc = docOf(late.messages.slice(0, 1))
    assert.equal(doc.getText('t').toString(), '')
    Y.applyUpdate(doc, vector('A1'))
    assert.equal(doc.getText('t').toString(), 'hi!', 'the parked part is in the state response')
    a.sendUpdate(vector('A1'))
    await until('both parts', () => b.text === 'hi!' && late.text === 'hi!')
    assert.equal(a.closed, null)
  },

  async 'what is sent before the state response comes is not lost (4)' (tools) {
    const { server, id, keep } = tools
    const witness = await join(tools, 'ben')
    const client = keep(new JsonYjsClient(draftUrl(server, id, firmToken('ann'))))
    client.socket.once('open', () => {
      client.sendUpdate(vector('A1'))
      client.sendUpdate(vector('A2'))
    })
    await until('both updates', () => witness.text === 'hi!')
    await client.barrier()
    assert.equal(client.messages[0].type, 'yjs-state-response')
  },

  async 'a client gets its state response before any update that is not in it (4)' (tools) {
    const { server, id, keep } = tools
    const writer = await join(tools, 'ann')
    const doc = new Y.Doc()
    doc.on('update', update => writer.sendUpdate(update))
    const readers = []
    for (let i = 0; i < 40; i++) {
      doc.getText('t').insert(i, 'x')
      readers.push(keep(new JsonYjsClient(draftUrl(server, id, firmToken('ben')))))
      if (i % 8 === 0) await writer.barrier()
    }
    await Promise.all(
      readers.map(reader =>
        until(
          () => `all content; there is "${reader.text}"`,
          () => reader.text === 'x'.repeat(40)
        )
      )
    )
    assert.ok(
      readers.every(
        reader => reader.messages[0].type === 'yjs-state-response' && reader.messages.filter(({ type }) => type === 'yjs-state-response').length === 1
      )
    )
  },

  ...forEach(
    badInput,
    what => `${what}: told to the sender only, the connection stays usable (9, 10.11)`,
    async (tools, [input, expected]) => {
      const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
      a.send(input)
      const { error } = await a.message('the error', message => message.type === 'error')
      if (typeof expected === 'string') assert.equal(error, expected)
      else assert.match(error, expected)
      a.sendUpdate(vector('A1'))
      assert.deepEqual((await b.update()).data, hi)
      await a.barrier()
      assert.deepEqual(
        b.messages.map(({ type }) => type),
        ['yjs-state-response', 'yjs-update']
      )
      assert.deepEqual(
        a.messages.map(({ type }) => type),
        ['yjs-state-response', 'error', 'pong']
      )
    }
  ),

  async 'more than 20 errors within a minute: 1008 Too many invalid messages (9)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    for (let i = 0; i < errorsMax; i++) a.send('{}')
    await a.barrier()
    assert.deepEqual([a.errors.length, a.closed], [errorsMax, null])
    a.send('{}')
    assert.deepEqual(await a.whenClosed(), { code: 1008, reason: 'Too many invalid messages' })
    await b.barrier()
  },

  async 'a second state request within a second: Rate limit exceeded; the connection stays (6)' (tools) {
    const a = await join(tools, 'ann')
    const ask = async () => {
      const from = a.messages.length
      a.send({ type: 'yjs-state-request' })
      return await a.message('an answer', message => ['yjs-state-response', 'error'].includes(message.type), { from })
    }
    await ask()
    const second = await ask()
    assert.equal(second.type, 'error')
    assert.match(second.error, /^Rate limit exceeded/)
    await until('an answer after a while', async () => (await ask()).type === 'yjs-state-response', { ms: 5_000, everyMs: 400 })
  },

  async 'data of more than 4,194,304 numbers: Update too large, the connection stays (6)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.send(`{"type":"yjs-update","data":[${'0,'.repeat(numbersMax)}0]}`)
    const { error } = await a.message('the error', message => message.type === 'error')
    assert.match(error, /^Update too large/)
    a.sendUpdate(vector('A1'))
    assert.deepEqual((await b.update()).data, hi)
  },

  async 'a large update below the limit is taken (6)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    const large = updateOf(doc => doc.getText('t').insert(0, 'x'.repeat(3_000_000)))
    a.sendUpdate(large)
    await b.update()
    assert.equal(b.text.length, 3_000_000)
  },

  async 'a message over 16 MiB: 1009 (6)' (tools) {
    const [a, b] = [await join(tools, 'ann'), await join(tools, 'ben')]
    a.send(`{"type":"ping","x":"${'x'.repeat(textBytesMax)}"}`)
    assert.equal((await a.whenClosed()).code, 1009)
    await b.barrier()
  },

  async 'who stops reading is closed with 1013 slow consumer, and delays nobody (6)' (tools) {
    const [slow, writer, reader] = [await join(tools, 'ann'), await join(tools, 'ben'), await join(tools, 'cid')]
    slow.socket.pause()
    const doc = new Y.Doc()
    doc.on('update', update => writer.sendUpdate(update))
    for (let i = 0; i < 150; i++) {
      const from = reader.messages.length
      doc.getMap('m').set('k', 'x'.repeat(40_000)) // 160 KB as JSON
      await reader.update({ from, ms: 5_000 })
    }
    slow.socket.resume()
    assert.deepEqual(await slow.whenClosed(20_000), { code: 1013, reason: 'slow consumer' })
    await Promise.all([writer.barrier(), reader.barrier()])
  }
}
