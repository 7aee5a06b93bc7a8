// node y-leveldb.mjs FOLDER: what y-websocket-server leaves behind with YPERSISTENCE=FOLDER. Its document names are paths of
// URLs, not decoded. Opened twice, so that the first half is in a table (compressed) and the rest in the log.

import { LeveldbPersistence } from 'y-leveldb'
import * as Y from 'yjs'
import { documents, load } from './documents.mjs'

const folder = process.argv[2]
const stored = name => encodeURI(name)

let persistence = new LeveldbPersistence(folder)
for (const [name, updates] of Object.entries(documents)) {
  // The server stores the state that it has when a document is opened, here an empty one, and then each update.
  await persistence.storeUpdate(stored(name), Y.encodeStateAsUpdate(new Y.Doc()))
  for (const update of updates.slice(0, Math.ceil(updates.length / 2))) await persistence.storeUpdate(stored(name), update)
}
await persistence.storeUpdate('gone', documents.notes[0])
await persistence.setMeta('notes', 'owner', 'ann')
await persistence.destroy()

persistence = new LeveldbPersistence(folder)
await persistence.flushDocument('board') // one merged update and a state vector instead of many updates
for (const [name, updates] of Object.entries(documents)) {
  for (const update of updates.slice(Math.ceil(updates.length / 2))) await persistence.storeUpdate(stored(name), update)
}
await persistence.storeUpdate('empty', Y.encodeStateAsUpdate(new Y.Doc()))
await persistence.storeUpdate('damaged', documents.notes[0])
await persistence.storeUpdate('damaged', new Uint8Array([1, 2, 3]))
await persistence.clearDocument('gone')
for (const name of Object.keys(documents)) {
  const found = Y.encodeStateVector(await persistence.getYDoc(stored(name)))
  if (Buffer.compare(found, Y.encodeStateVector(load(documents[name]))) !== 0) throw new Error(`${name} is not what it should be`)
}
await persistence.destroy()
