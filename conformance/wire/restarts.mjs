// Statements about the end of the server's process and its next life. Run by scenarios/wire.mjs, last, because all others share one
// server.

import assert from 'node:assert/strict'
import { contentOf, read, vector } from './vectors.mjs'

export const needsRestart = true

export const statements = {
  async 'what waits for a missing part survives a restart (13.8)' ({ server, open }) {
    const a = await open()
    a.sendUpdate(vector('A2'))
    await a.frame('the question to the sender', () => a.frames.filter(frame => frame.isStep1).length === 2)
    await server.kill9()
    await server.start()
    const [b, c] = [await open(), await open()]
    assert.deepEqual(read([await c.barrier()]), { text: '', waits: true, stateVector: '00' })
    b.sendUpdate(vector('A1'))
    await c.frame('both parts', () => read(contentOf(c)).text === 'hi!')
    const late = await open()
    assert.deepEqual(read([await late.barrier()]), { text: 'hi!', waits: false, stateVector: '010103' })
  },

  async 'a delete that came before what it deletes survives a restart' ({ server, open }) {
    const a = await open()
    a.sendUpdate(vector('A3'))
    await a.barrier()
    await server.terminate()
    await server.start()
    const b = await open()
    b.sendUpdate(vector('A1'))
    await b.barrier()
    const late = await open()
    assert.equal(read([await late.barrier()]).text, 'i')
  },

  async 'SIGTERM closes every connection with 1001 and ends with 0; everything accepted is there afterwards' ({ server, open, room }) {
    const clients = await Promise.all([room, room, `${room}-2`].map(name => open(`${server.url}/${name}`)))
    clients[0].sendUpdate(vector('A1'))
    await clients[1].frame('the update', frame => frame.isUpdate)
    const { code, signal } = await server.terminate()
    for (const client of clients) assert.equal((await client.whenClosed()).code, 1001)
    assert.deepEqual({ code, signal }, { code: 0, signal: null })
    await server.start()
    const late = await open()
    assert.equal(read([await late.barrier()]).text, 'hi')
  },

  async 'presence is never stored' ({ server, open }) {
    const a = await open()
    a.sendUpdate(vector('A1'))
    a.send(vector('W1'))
    await a.frame('the echo', frame => frame.isUpdate)
    await server.kill9()
    await server.start()
    const late = await open()
    await late.barrier()
    assert.equal(late.frames.filter(frame => frame.isAwareness).length, 0)
  }
}
