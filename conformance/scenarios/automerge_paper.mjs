// A whole paper typed by one unmodified provider, keystroke by keystroke. One reader is there from the start and through a kill -9 of
// the server, another comes half-way, a third after everything: all must have the recorded text.

import { Editor } from '../lib/provider.mjs'
import { readTrace, type } from '../lib/trace.mjs'
import { breathe, until } from '../lib/until.mjs'

export const name = 'automerge-paper'
export const seconds = 180
export const needsBinary = true

const unsentMax = 1 << 20 // a typist far ahead of the network only measures the memory of this process
const together = 200

export async function run ({ server: startServer, log }) {
  const { txns, endContent } = readTrace('automerge-paper')
  const server = await startServer()
  const room = 'automerge-paper'
  const author = await new Editor('3.1.0', server.url, room).synced()
  const reader = await new Editor('3.0.0', server.url, room).synced()
  const editors = [author, reader]
  const text = author.doc.getText('text')
  const has = editor => () => editor.doc.getText('text').length === text.length && editor.doc.getText('text').toString() === text.toString()

  const typeTo = async end => {
    for (; typed < end; typed++) {
      type(text, txns[typed])
      if (typed % together === 0) {
        await breathe()
        if (author.unsent > unsentMax) await until('the author\'s socket to take bytes', () => author.unsent < unsentMax, { everyMs: 1, ms: 60_000 })
      }
    }
  }
  let typed = 0

  await typeTo(Math.floor(txns.length * 0.4))
  await server.kill9()
  await typeTo(Math.floor(txns.length * 0.41))
  await server.start()
  await Promise.all(editors.map(editor => until('the providers to come back', () => editor.connects === 2 && editor.provider.synced)))

  await typeTo(Math.floor(txns.length * 0.5))
  editors.push(await new Editor('2.1.0', server.url, room).synced())
  const started = performance.now()
  const before = typed
  await typeTo(txns.length)
  for (const editor of editors) await until(`reader ${editor.version} to have the whole text`, has(editor), { ms: 60_000, everyMs: 50 })
  log(`${Math.round((txns.length - before) / (performance.now() - started) * 1000)} keystrokes a second from 1 author to 2 readers, all in one Node process`)

  editors.push(await new Editor('4.0.0-3', server.url, room).synced())
  const late = editors.at(-1).doc.get('text').toString()
  if (late !== endContent) throw new Error(`a late reader has ${late.length} characters instead of ${endContent.length}`)
  for (const editor of editors.slice(0, 3)) {
    if (editor.doc.getText('text').toString() !== endContent) throw new Error(`${editor.version} does not have the recorded text`)
  }
  for (const [i, connects] of [2, 2, 1, 1].entries()) {
    if (editors[i].connects !== connects) throw new Error(`provider ${editors[i].version} was connected ${editors[i].connects} times instead of ${connects}`)
  }
  for (const editor of editors) editor.destroy()
}
