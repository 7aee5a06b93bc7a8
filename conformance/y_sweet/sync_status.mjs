// Statements about the socket frame by frame: sync status (type 102), the order at the start, readers, presence, bad input. Run by scenarios/y_sweet.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { awarenessMessage, bytesOf, hexOf } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { openRaw, syncStatus, syncStatusType } from '../lib/y_sweet.mjs'
import { updateOf, vector } from '../wire/vectors.mjs'

const nobody = '010100'
const emptyStep2 = Uint8Array.of(0, 0)
const waitingMs = 2_000
const answerMs = 3_000 // after which the client gives up
const statusBytesMax = 64 << 10
const malformedMax = 10

const echoes = client => client.frames.filter(frame => frame.type === syncStatusType).map(frame => frame.hex)
const echo = async (client, hex, options) => await client.frame(`the echo ${hex}`, frame => frame.hex === hex, { ms: answerMs, ...options })

const bodies = {
  'version 0': '00',
  'version 1': '01',
  'version 300': 'ac 02',
  'version 2^53 - 1': 'ff ff ff ff ff ff ff 0f',
  'an empty body': '',
  'a body that is no number': 'ff ff',
  '127 bytes': 'ab'.repeat(127)
}

/** What is no message; each is counted, and the tenth within a minute ends the connection. */
const malformed = {
  'a sync status with a truncated body': '66 05 01',
  'a sync status without a body': '66',
  'a sync status with an endless length': '66 ff ff ff ff ff ff ff ff ff 01',
  'a truncated update': '00 02 0c 01 01 01 00 04',
  'an update of junk': '00 02 03 ff ff ff',
  'a step 2 of junk': '00 01 02 05 05',
  'a truncated awareness update': '01 03 05 07 01'
}
const ignored = {
  'an empty frame': '',
  'type 4 with a body': '04 01 00',
  'type 101 with a body': '65 02 00 00',
  'type 103 with an empty body': '67 00',
  'type 127 with a body': '7f 03 01 02 03',
  'an unknown sync type': '00 07 00'
}

async function takesEdits (client, id) {
  client.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'x'), id))
  await client.frame('the echo of a later edit', frame => frame.isUpdate)
}

export const inBothModes = {
  async 'the first frames are a step 1, and the awareness message, with nobody in it (4)' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    await client.barrier()
    assert.deepEqual(
      client.frames.map(frame => frame.hex),
      ['00000100', nobody, '0001020000']
    )
    assert.ok(client.frames.every(frame => frame.isBinary))
  },

  async 'who is there is in the awareness message at the start' ({ mode, id, keep }) {
    const [a, b] = [keep(await mode.open(id)), keep(await mode.open(id))]
    a.send(vector('W1'))
    await b.frame('the presence', frame => frame.hex === hexOf(vector('W1')))
    const late = keep(await mode.open(id))
    await late.barrier()
    assert.deepEqual(
      late.frames.slice(0, 2).map(frame => frame.hex),
      ['00000100', hexOf(vector('W1'))]
    )
  },

  ...forEach(
    bodies,
    what => `a sync status with ${what} comes back with the same bytes, to nobody else (4)`,
    async ({ mode, id, keep }, body) => {
      const [client, other] = [keep(await mode.open(id)), keep(await mode.open(id))]
      client.sendStep2(emptyStep2)
      const status = syncStatus(body)
      client.send(status)
      await echo(client, hexOf(status))
      await takesEdits(client, 9)
      await other.frame('the edit', frame => frame.isUpdate)
      assert.deepEqual([echoes(client), echoes(other)], [[hexOf(status)], []])
    }
  ),

  async 'a sync status before the first step 2 is answered after it, meanwhile there is life every 2 s (4)' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    const began = performance.now()
    client.send(syncStatus('00'))
    await client.barrier()
    const from = client.frames.length
    for (let i = 0; i < 2; i++) {
      const seen = client.frames.filter(frame => frame.hex === nobody).length
      await client.frame('the empty awareness message', () => client.frames.filter(frame => frame.hex === nobody).length > seen, { ms: waitingMs + 1_500 })
    }
    const tookMs = performance.now() - began
    assert.ok(tookMs >= 1.5 * waitingMs, `two of them within ${tookMs} ms`)
    assert.deepEqual(
      client.frames.slice(from).map(frame => frame.hex),
      [nobody, nobody]
    )
    client.sendStep2(updateOf(doc => doc.getText('t').insert(0, 'made offline')))
    await echo(client, '660100')
    assert.equal(await mode.text(id), 'made offline')
  },

  async 'of several that wait the newest is answered (4)' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    for (const body of ['01', '02', '03']) client.send(syncStatus(body))
    client.sendStep2(emptyStep2)
    await echo(client, '660103')
    const came = echoes(client)
    assert.deepEqual([...came].sort(), came, 'in their order')
    client.send(syncStatus('04'))
    await echo(client, '660104')
  },

  async 'an update before the step 2 does not count as one' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    client.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'x')))
    client.send(syncStatus('01'))
    await client.frame('the echo of the update', frame => frame.isUpdate)
    await client.barrier()
    assert.deepEqual(echoes(client), [])
    client.sendStep2(emptyStep2)
    await echo(client, '660101')
  },

  async 'a duplicate is acknowledged as well' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    client.sendStep2(emptyStep2)
    const update = updateOf(doc => doc.getText('t').insert(0, 'x'))
    for (const body of ['01', '02']) {
      client.sendUpdate(update)
      client.send(syncStatus(body))
      await echo(client, `6601${body}`)
    }
  },

  async 'an answered sync status is in the document: as-update has it at once' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    client.sendStep2(emptyStep2)
    client.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'saved')))
    client.send(syncStatus('01'))
    await echo(client, '660101')
    assert.equal(await mode.text(id), 'saved')
  },

  ...forEach(
    ignored,
    what => `${what} is ignored, the connection stays (7)`,
    async ({ mode, id, keep }, hex) => {
      const [client, other] = [keep(await mode.open(id)), keep(await mode.open(id))]
      await client.barrier()
      await other.barrier()
      const [from, seen] = [client.frames.length, other.frames.length]
      for (let i = 0; i < 2 * malformedMax; i++) client.send(hex)
      await client.barrier()
      assert.equal(client.frames.length - from, 1, `it was answered: ${client.frames.slice(from).map(frame => frame.hex)}`)
      await takesEdits(client, 9)
      await other.frame('the edit', frame => frame.isUpdate)
      assert.equal(other.frames.length - seen, 1, `others got ${other.frames.slice(seen).map(frame => frame.hex)}`)
    }
  ),

  async 'a text frame is ignored (7)' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    for (let i = 0; i < 2 * malformedMax; i++) client.socket.send('{"type":"ping"}')
    await client.barrier()
    await takesEdits(client, 9)
  },

  ...forEach(
    malformed,
    what => `${what} is ignored without an echo, the connection stays (7)`,
    async ({ mode, id, keep }, hex) => {
      const [client, other] = [keep(await mode.open(id)), keep(await mode.open(id))]
      client.sendStep2(emptyStep2)
      await client.barrier()
      await other.barrier()
      const [from, seen] = [client.frames.length, other.frames.length]
      client.send(hex)
      await client.barrier()
      assert.equal(client.frames.length - from, 1, `it was answered: ${client.frames.slice(from).map(frame => frame.hex)}`)
      await takesEdits(client, 9)
      await other.frame('the edit', frame => frame.isUpdate)
      assert.equal(other.frames.length - seen, 1, `others got ${other.frames.slice(seen).map(frame => frame.hex)}`)
    }
  ),

  async 'the tenth malformed message within a minute ends the connection, and no other one (7)' ({ mode, id, keep }) {
    const [client, other] = [keep(await mode.open(id)), keep(await mode.open(id))]
    const messages = Object.values(malformed)
    for (let i = 0; i < malformedMax; i++) client.send(messages[i % messages.length])
    assert.deepEqual(await client.whenClosed(), { code: 4400, reason: 'malformed message' })
    await takesEdits(other, 9)
  },

  async 'a sync status of 64 KiB comes back, a larger one ends the connection with 1009 (7)' ({ mode, id, keep }) {
    const status = length => Uint8Array.from([syncStatusType, (length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14, ...new Uint8Array(length)])
    const client = keep(await mode.open(id))
    client.sendStep2(emptyStep2)
    client.send(status(statusBytesMax))
    await client.frame('the large echo', frame => frame.type === syncStatusType && frame.payload.length === statusBytesMax)
    client.send(status(statusBytesMax + 1))
    assert.equal((await client.whenClosed()).code, 1009)
  },

  async 'two messages in one frame have the effect of two' ({ mode, id, keep }) {
    const client = keep(await mode.open(id))
    client.send(bytesOf('00 01 02 00 00 66 01 07'))
    await echo(client, '660107')
  },

  async 'presence goes with its connection, that of the others stays (5)' ({ mode, id, keep }) {
    const [a, b, witness] = [keep(await mode.open(id)), keep(await mode.open(id)), keep(await mode.open(id))]
    a.send(
      awarenessMessage([
        { id: 7, clock: 1, json: '{"n":7}' },
        { id: 8, clock: 1, json: '{"n":8}' }
      ])
    )
    b.send(awarenessMessage([{ id: 9, clock: 1, json: '{"n":9}' }]))
    const told = id =>
      witness.frames
        .filter(frame => frame.isAwareness)
        .flatMap(frame => frame.awareness)
        .filter(entry => entry.id === id)
        .at(-1)
    await until('the presence of all three', () => [7, 8, 9].every(id => told(id)?.state?.n === id))
    a.close()
    await until('the end of the two that one connection had announced', () => [7, 8].every(id => told(id).state === null))
    assert.deepEqual(told(9).state, { n: 9 })
  }
}

/** Needs a server of its own for each. */
export const inEachOwn = {
  async 'the server pings, and drops who does not answer; who answers stays (5)' ({ mode, id, keep }) {
    const another = await mode.startAnother({ CONCORD_Y_SWEET_PING_MS: '500', CONCORD_Y_SWEET_SILENCE_MS: '1500' })
    const token = await another.token(id)
    const [alive, dead] = [keep(await openRaw(another.server, id, token)), keep(await openRaw(another.server, id, token, { autoPong: false }))]
    let pings = 0
    alive.socket.on('ping', () => pings++)
    await until('the silent one to be dropped', () => dead.closed, { ms: 8_000 })
    const atDrop = pings
    assert.ok(atDrop >= 2, `${atDrop} pings`)
    await until('as many pings again', () => pings >= 2 * atDrop + 2 || alive.closed, { ms: 15_000 })
    assert.equal(alive.closed, null)
    await takesEdits(alive, 9)
  }
}

export const signedOnly = {
  async 'a reader: step 2 and update are dropped without a word, sync status comes back, presence is relayed (4, 8.7)' ({ mode, id, keep }) {
    const writer = keep(await mode.open(id))
    writer.sendUpdate(vector('A1'))
    await writer.frame('the echo', frame => frame.isUpdate)
    const token = await mode.token(id, { authorization: 'read-only' })
    const reader = keep(await openRaw(mode.server, id, token))
    await reader.barrier()
    const [from, seen] = [reader.frames.length, writer.frames.length]
    reader.sendStep2(emptyStep2)
    reader.sendStep2(updateOf(doc => doc.getText('t').insert(0, 'x'), 5))
    reader.sendUpdate(updateOf(doc => doc.getText('t').insert(0, 'y'), 6))
    reader.send(syncStatus('02'))
    await echo(reader, '660102')
    reader.send(vector('W1'))
    await writer.frame('the presence of the reader', frame => frame.hex === hexOf(vector('W1')))
    assert.deepEqual(
      reader.frames
        .slice(from)
        .map(frame => frame.hex)
        .filter(hex => hex !== hexOf(vector('W1'))),
      ['660102'],
      'nothing is said about the refusal'
    )
    assert.deepEqual(
      writer.frames.slice(seen).map(frame => frame.hex),
      [hexOf(vector('W1'))]
    )
    writer.sendUpdate(vector('A2'))
    await reader.frame('a later edit of the writer', frame => frame.isUpdate)
    assert.equal(await mode.text(id), 'hi!')
  }
}
