// The byte vectors of data/vectors.json, and updates made with Yjs. Called by the statements.

import { readFileSync } from 'node:fs'
import * as Y from 'yjs'
import { bytesOf } from '../lib/raw_client.mjs'

const vectors = new Map(JSON.parse(readFileSync(new URL('../data/vectors.json', import.meta.url))).map(({ id, hex }) => [id, bytesOf(hex)]))

/** @returns {Uint8Array} */
export function vector (id) {
  if (!vectors.has(id)) throw new Error(`no vector ${id}`)
  return vectors.get(id)
}

/** The update of one new client's edit. */
export function updateOf (edit, clientId = 1) {
  const doc = new Y.Doc()
  doc.clientID = clientId
  edit(doc)
  return Y.encodeStateAsUpdate(doc)
}

/** The text `t` after reading the updates, and whether something still waits. */
export function read (updates) {
  const doc = new Y.Doc()
  for (const update of updates) Y.applyUpdate(doc, update)
  return { text: doc.getText('t').toString(), waits: doc.store.pendingStructs !== null || doc.store.pendingDs !== null, stateVector: Buffer.from(Y.encodeStateVector(doc)).toString('hex') }
}

/** The updates among a client's frames, step 2 included. */
export const contentOf = client => client.frames.filter(frame => frame.isUpdate || frame.isStep2).map(frame => frame.payload)
