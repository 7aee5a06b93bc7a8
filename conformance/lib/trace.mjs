// The recorded editing traces of data/, and what Yjs sends when they are typed. Called by traces.mjs and by the scenarios that
// type a trace into a server. Formats: data/README.md.

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import * as Y from 'yjs'

export const names = ['automerge-paper', 'friendsforever']

/** @returns {{endContent: string, txns: {patches: [number, number, string][], agent?: number, parents?: number[]}[]}} */
export function readTrace (name) {
  return JSON.parse(gunzipSync(readFileSync(new URL(`../data/${name}.json.gz`, import.meta.url))))
}

/** Types one transaction's patches. */
export function type (text, { patches }) {
  text.doc.transact(() => {
    for (const [at, removed, inserted] of patches) {
      if (removed > 0) text.delete(at, removed)
      if (inserted !== '') text.insert(at, inserted)
    }
  })
}

/** One update for each transaction of the trace, in the trace's order. */
export function traceUpdates (trace) {
  const typist = new Typist(trace)
  return trace.txns.map((_, i) => typist.type(i))
}

/**
 * One document for each author of a trace. Before an author types, the document gets what the author had seen at that moment,
 * and nothing else.
 */
class Typist {
  constructor (trace) {
    this.txns = trace.txns
    this.updates = []
    this.authors = Array.from({ length: trace.numAgents ?? 1 }, (_, agent) => {
      const doc = new Y.Doc()
      doc.clientID = agent + 1
      const author = { doc, text: doc.getText('text'), seen: new Set() }
      doc.on('update', (update, origin) => { if (origin !== this) author.update = update })
      return author
    })
  }

  type (index) {
    const txn = this.txns[index]
    const author = this.authors[txn.agent ?? 0]
    for (const parent of unseen(this.txns, txn.parents ?? [], author.seen)) {
      Y.applyUpdate(author.doc, this.updates[parent], this)
      author.seen.add(parent)
    }
    type(author.text, txn)
    if (txn.parents) author.seen.add(index)
    this.updates.push(author.update)
    return author.update
  }
}

/** The given transactions and all before them which are not yet in `seen`, oldest first. */
export function unseen (txns, parents, seen) {
  const found = new Set()
  const open = [...parents]
  while (open.length > 0) {
    const index = open.pop()
    if (seen.has(index) || found.has(index)) continue
    found.add(index)
    open.push(...txns[index].parents)
  }
  return [...found].sort((a, b) => a - b)
}
