// Real editing traces through the Rust document store, change by change:
//   node traces.mjs PATH_TO_EXECUTABLE     checks the final text, and that a snapshot is not larger than Yjs's own state
//   node traces.mjs --write DIR            writes DIR/NAME.updates for benchmarks: u32 LE count, then u32 LE length + bytes each

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as Y from 'yjs'
import { names, readTrace, traceUpdates } from './lib/trace.mjs'
import { StoredDocument, StoreProcess } from './lib/store_process.mjs'

const [argument, directory] = process.argv.slice(2)
if (argument === '--write' && directory !== undefined) write(directory)
else if (argument !== undefined && argument !== '--write') await check(argument)
else {
  console.error('usage: node traces.mjs PATH_TO_EXECUTABLE | node traces.mjs --write DIR')
  process.exitCode = 2
}

function write (directory) {
  mkdirSync(directory, { recursive: true })
  for (const name of names) {
    const updates = traceUpdates(readTrace(name))
    const number = n => { const bytes = Buffer.alloc(4); bytes.writeUInt32LE(n); return bytes }
    writeFileSync(join(directory, `${name}.updates`), Buffer.concat([number(updates.length), ...updates.flatMap(update => [number(update.length), update])]))
    console.log(`${name}.updates: ${updates.length} updates`)
  }
}

async function check (executable) {
  const store = new StoreProcess(executable)
  let failed = 0
  for (const name of names) {
    try {
      await checkTrace(store, name)
    } catch (error) {
      failed++
      console.log(`${name}: ${error.message}`)
    }
  }
  const code = await store.end()
  if (code !== 0) failed++
  console.log(`traces: ${names.length - failed} passed, ${failed} failed`)
  process.exitCode = failed > 0 ? 1 : 0
}

async function checkTrace (store, name) {
  const trace = readTrace(name)
  const updates = traceUpdates(trace)
  const yjs = new Y.Doc()
  for (const update of updates) Y.applyUpdate(yjs, update)
  if (yjs.getText('text').toString() !== trace.endContent) throw new Error('the text that Yjs makes of the trace is not the recorded one')

  const stored = new StoredDocument(store)
  await stored.opened
  const started = performance.now()
  const answers = await Promise.all(updates.map(update => stored.add(update)))
  const seconds = (performance.now() - started) / 1000
  const wrong = answers.findIndex(({ kind, parked, relayed }) => kind !== 'accepted' || parked || relayed.length !== 1)
  if (wrong >= 0) throw new Error(`update ${wrong} was ${answers[wrong].kind}, ${answers[wrong].relayed.length} relayed`)

  const [diff, snapshot] = await Promise.all([stored.diff(), stored.snapshot()])
  for (const [what, bytes] of Object.entries({ diff, snapshot })) {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, bytes)
    if (doc.getText('text').toString() !== trace.endContent) throw new Error(`the text in the ${what} is not the recorded one`)
  }
  const fresh = new Y.Doc()
  Y.applyUpdate(fresh, Y.encodeStateAsUpdate(yjs))
  const yjsBytes = Y.encodeStateAsUpdate(fresh).length
  console.log(`${name}: ${updates.length} updates (${updates.reduce((sum, update) => sum + update.length, 0)} bytes) in ${seconds.toFixed(1)} s through the pipe; ` +
    `diff ${diff.length}, snapshot ${snapshot.length}, Yjs ${yjsBytes} bytes`)
  if (snapshot.length > yjsBytes) throw new Error(`the snapshot is ${snapshot.length - yjsBytes} bytes larger than Yjs's own state`)
}
