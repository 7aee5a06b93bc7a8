// Data that y-leveldb, hocuspocus and y-sweet have written is imported by the command; then the unmodified providers open the rooms and must find
// what Yjs finds in the same updates: content, order of all items, deletions, and what still waits for a missing update.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as Y from 'yjs'
import { describe, load } from '../lib/description.mjs'
import { Editor } from '../lib/provider.mjs'

export const name = 'migrate'
export const seconds = 60
export const needsBinary = true

const testdata = path => fileURLToPath(new URL(`../../crates/migrate/testdata/${path}`, import.meta.url))
const expected = JSON.parse(readFileSync(testdata('expected/expected.json'), 'utf8'))

const sources = [
  { from: 'hocuspocus-sqlite', path: 'hocuspocus-3.4.4.sqlite', version: '3.1.0' },
  { from: 'hocuspocus-sqlite', path: 'hocuspocus-4.7.0.sqlite', version: '2.1.0' },
  { from: 'y-leveldb', path: 'y-leveldb-0.1.2', version: '2.1.0', code: 3 },
  { from: 'y-leveldb', path: 'y-leveldb-0.2.0', version: '3.0.0', code: 3 },
  // A document's name has no slash there, and what comes too early is lost.
  { from: 'y-sweet', path: 'y-sweet-0.9.1', version: '3.1.0', room: name => name.startsWith('team') ? 'team-plan-7' : name, waits: false }
]

export async function run ({ server: startServer, log }) {
  await Promise.all(sources.map(async ({ from, path, version, code = 0, room = name => name, waits = true }) => {
    const server = await startServer()
    await server.terminate()
    const last = await imported(server, ['--from', from, testdata(path)], code)
    log(`${path}: ${last}`)
    await server.start()
    for (const [name, { file, text }] of Object.entries(expected)) {
      const editor = await new Editor(version, server.url, room(name)).synced()
      try {
        compare(`${path}: ${name}`, editor.doc, load(waits || name !== 'waiting' ? [readFileSync(testdata(`expected/${file}`))] : [firstOnly()]))
        if (editor.get('t').toString() !== text) throw new Error(`${path}: ${name} reads "${editor.get('t')}"`)
      } finally {
        editor.destroy()
      }
    }
  }))
}

/** The last line that `concord import` prints. */
function imported (server, args, wanted) {
  return new Promise((resolve, reject) => {
    execFile(server.binary, ['import', ...args, '--data', server.data], (error, stdout, stderr) => {
      if ((error?.code ?? 0) !== wanted) return reject(new Error(`concord import ${args.join(' ')} ended with ${error?.code}: ${stdout}${stderr}`))
      resolve(stdout.trim().split('\n').pop())
    })
  })
}

function compare (what, found, wanted) {
  const [a, b] = [describe(found), describe(wanted)]
  for (const aspect of Object.keys(b)) {
    if (a[aspect] !== b[aspect]) throw new Error(`${what}: ${aspect} is\n${a[aspect]}\nand should be\n${b[aspect]}`)
  }
}

/** The first of the updates of `waiting`: what it shows. */
function firstOnly () {
  const doc = new Y.Doc()
  doc.clientID = 401
  doc.getText('t').insert(0, 'first')
  return Y.encodeStateAsUpdate(doc)
}
