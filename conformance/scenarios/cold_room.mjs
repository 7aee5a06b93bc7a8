// Two clients open a room that is not in memory, at the same instant, 1,000 times. There must be one room: each sees the other's edit.

import * as Y from 'yjs'
import { RawClient } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'

export const name = 'cold-room'
export const seconds = 90

const times = 1000
const atOnce = 20

export async function run ({ server: startServer }) {
  const server = await startServer()
  const queue = Array.from({ length: times }, (_, i) => i)
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let i = queue.shift(); i !== undefined; i = queue.shift()) await meet(`${server.url}/cold-room/${process.pid}/${i}`)
  }))
}

async function meet (url) {
  const clients = ['a', 'b'].map(letter => new Visitor(url, letter))
  await until(() => `both clients of ${url} to have both edits; they have ${clients.map(({ text, raw }) => `"${text}" (closed ${JSON.stringify(raw.closed)}, received ${raw.frames.map(frame => frame.hex)})`).join(' and ')}`,
    () => clients.every(({ text }) => text.length === 2))
  for (const { raw } of clients) raw.terminate()
}

class Visitor {
  constructor (url, letter) {
    this.doc = new Y.Doc()
    this.doc.getText('t').insert(0, letter)
    this.raw = new RawClient(url)
    this.raw.socket.on('open', () => {
      this.raw.sendStep1(Y.encodeStateVector(this.doc))
      this.raw.sendUpdate(Y.encodeStateAsUpdate(this.doc))
    })
    this.raw.onframe = frame => { if (frame.isUpdate || frame.isStep2) Y.applyUpdate(this.doc, frame.payload) }
  }

  get text () { return this.doc.getText('t').toString() }
}
