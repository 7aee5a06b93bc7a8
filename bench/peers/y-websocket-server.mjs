// @y/websocket-server as it comes, with y-leveldb:
//   node y-websocket-server.mjs PORT FOLDER
// Started by bench/compare.mjs for workloads that restart the server. Version 0.1.5 no longer reads YPERSISTENCE, though its README names it; what is
// set here is what y-websocket 2 set for that variable.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setPersistence } from '@y/websocket-server/utils'
import { LeveldbPersistence } from 'y-leveldb'
import * as Y from 'yjs'

const [port, folder] = process.argv.slice(2)
if (folder === undefined || !(Number(port) > 0)) {
  console.error('usage: node y-websocket-server.mjs PORT FOLDER')
  process.exit(2)
}

// The server has a Yjs of its own, newer than the one that y-leveldb wants: each document is changed by the Yjs that made it.
const manifest = createRequire(import.meta.resolve('@y/websocket-server/utils')).resolve('yjs/package.json')
const served = await import(pathToFileURL(join(dirname(manifest), JSON.parse(readFileSync(manifest)).module)))

const store = new LeveldbPersistence(join(folder, 'leveldb'))
setPersistence({
  provider: store,
  async bindState (name, document) {
    const stored = await store.getYDoc(name)
    store.storeUpdate(name, served.encodeStateAsUpdate(document))
    served.applyUpdate(document, Y.encodeStateAsUpdate(stored))
    document.on('update', update => { store.storeUpdate(name, update) })
  },
  async writeState () {}
})

// A write waits for those before it, and the server does not wait for any: without this, what is under way at the end is lost.
process.once('SIGTERM', async () => {
  await store.destroy()
  process.exit(0)
})

process.env.HOST = '127.0.0.1'
process.env.PORT = port
await import('@y/websocket-server/server')
