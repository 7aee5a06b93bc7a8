// Two friends write one text at the same time, as it was recorded. Each has a provider; before an author types, the document gets
// those changes of the other which the author had seen then, as they came over the wire. Both must end with the recorded text.

import * as Y from 'yjs'
import { Editor } from '../lib/provider.mjs'
import { readTrace, type, unseen } from '../lib/trace.mjs'
import { breathe, until } from '../lib/until.mjs'

export const name = 'friendsforever'
export const seconds = 120

const unsentMax = 1 << 20

export async function run ({ server: startServer, seed, log }) {
  const { txns, endContent, numAgents } = readTrace('friendsforever')
  const server = await startServer()
  const room = `friendsforever-${seed}-${process.pid}`
  const authors = await Promise.all(Array.from({ length: numAgents }, async (_, agent) => new Author(await new Editor(['2.1.0', '3.1.0'][agent], server.url, room).synced(), agent)))
  const turns = authors.map((_, agent) => txns.map((txn, index) => ({ ...txn, index })).filter(txn => txn.agent === agent))
  // The how-many-th transaction of its author each one is: the other's wire carries them in that order.
  const nth = new Map(turns.flatMap(own => own.map(({ index }, n) => [index, n])))

  const started = performance.now()
  await Promise.all(authors.map(async (author, agent) => {
    for (const [n, txn] of turns[agent].entries()) {
      for (const parent of unseen(txns, txn.parents, author.seen)) {
        await author.merge(nth.get(parent))
        author.seen.add(parent)
      }
      author.type(txn)
      if (n % 50 === 0) await breathe()
      if (author.editor.unsent > unsentMax) await until('the author\'s socket to take bytes', () => author.editor.unsent < unsentMax)
    }
  }))
  for (const { editor } of authors) {
    await until(`provider ${editor.version} to have the recorded text`, () => editor.doc.getText('text').toString() === endContent, { everyMs: 20 })
  }
  log(`${Math.round(txns.length / (performance.now() - started) * 1000)} keystrokes a second`)
  const late = await new Editor('3.0.0', server.url, room).synced()
  if (late.doc.getText('text').toString() !== endContent) throw new Error('a late reader does not have the recorded text')
  for (const { editor } of [...authors, { editor: late }]) editor.destroy()
}

class Author {
  constructor (editor, agent) {
    this.editor = editor
    this.seen = new Set()
    // What the author saw: the provider's document may already know more.
    this.view = new Y.Doc()
    this.view.clientID = agent + 1
    this.text = this.view.getText('text')
    this.received = []
    editor.doc.on('update', (update, origin) => { if (origin === editor.provider) this.received.push(update) })
    this.view.on('update', (update, origin) => { if (origin !== this) Y.applyUpdate(editor.doc, update, this) })
  }

  type (txn) {
    type(this.text, txn)
    this.seen.add(txn.index)
  }

  /** Takes in the other author's n-th change as soon as the wire has brought it. */
  async merge (n) {
    if (this.received[n] === undefined) await until(() => `change ${n} of the other author; ${this.received.length} came`, () => this.received[n], { everyMs: 1 })
    Y.applyUpdate(this.view, this.received[n], this)
  }
}
