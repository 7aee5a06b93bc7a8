// Hocuspocus as its documentation sets it up, with SQLite:
//   node hocuspocus.mjs PORT FOLDER
// Started by bench/compare.mjs. Only what is printed differs from the defaults: storing is debounced as they say (2 s, 10 s at most).

import { join } from 'node:path'
import { Server } from '@hocuspocus/server'
import { SQLite } from '@hocuspocus/extension-sqlite'

const [port, folder] = process.argv.slice(2)
if (folder === undefined || !(Number(port) > 0)) {
  console.error('usage: node hocuspocus.mjs PORT FOLDER')
  process.exit(2)
}
const server = new Server({
  address: '127.0.0.1',
  port: Number(port),
  quiet: true,
  extensions: [new SQLite({ database: join(folder, 'hocuspocus.sqlite') })]
})
await server.listen()
