// node hocuspocus.mjs FILE [wal]: what a server with extension-sqlite leaves behind. `wal`: the database is switched to the
// write-ahead log, and copied while it is open, as a backup would: FILE and FILE-wal.

import { Server } from '@hocuspocus/server'
import { SQLite } from '@hocuspocus/extension-sqlite'
import { copyFileSync, rmSync } from 'node:fs'
import * as Y from 'yjs'
import { documents } from './documents.mjs'

const [file, mode] = process.argv.slice(2)
const live = mode === 'wal' ? `${file}.live` : file
const sqlite = new SQLite({ database: live })
const server = new Server({ quiet: true, debounce: 0, port: 0, address: '127.0.0.1', extensions: [sqlite] })
await server.listen(0)
// The database of 3.x works in the background: the table may not be there yet, nor the last document at the end.
const settled = () => new Promise(resolve => sqlite.db.wait === undefined ? resolve() : sqlite.db.wait(resolve))
await settled()
if (mode === 'wal') sqlite.db.pragma('journal_mode = WAL')
const { hocuspocus } = server
for (const [name, updates] of Object.entries({ ...documents, empty: [] })) {
  const connection = await hocuspocus.openDirectConnection(name)
  await connection.transact(document => { for (const update of updates) Y.applyUpdate(document, update) })
  await connection.disconnect()
}
await settled()
if (mode === 'wal') {
  copyFileSync(live, file)
  copyFileSync(`${live}-wal`, `${file}-wal`)
}
await server.destroy()
await settled()
if (mode === 'wal') for (const end of ['', '-wal', '-shm']) rmSync(`${live}${end}`, { force: true })
process.exit(0)
