// What it costs the server that the members of a room speak different dialects: CPU time for each change that reaches somebody else.
//   node bench/mixed.mjs target/release/concord [--seconds 60] [--runs 3] [--per-second 20]
// Rooms of ten: ten editors of one dialect, or two of each. Each types at a fixed pace, whatever the others do, and shows where it is every tenth time. A delivery is
// a change that somebody else's document has got. The editors are the real packages (for JSON dialects: conformance/lib). The server runs on the first
// core, the editors on the second; CPU is that of all threads of the server, from /proc, and the rooms take turns within a run.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { execFileSync } from 'node:child_process'
import { allDialects, makeDocument, openEditor } from '../conformance/lib/any_editor.mjs'
import { Server } from '../conformance/lib/server.mjs'
import { pause, until } from '../conformance/lib/until.mjs'
import { quiet } from '../conformance/lib/y_sweet.mjs'
import { pinning } from './compare/machine.mjs'
import { median } from './compare/report.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, runs: { type: 'string', default: '3' }, 'per-second': { type: 'string', default: '20' } }
})
if (positionals.length !== 1) {
  console.error('usage: node bench/mixed.mjs PATH_TO_CONCORD_BINARY [--seconds 60] [--runs 3] [--per-second 20]')
  process.exit(2)
}
const [binary, seconds, runs, perSecond] = [resolve(positionals[0]), Number(values.seconds), Number(values.runs), Number(values['per-second'])]
const members = 10
const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
const onlyKind = { 'y-websocket': 'y-websocket 3.1.0', hocuspocus: 'hocuspocus 4.8.0', 'y-sweet': 'y-sweet 0.9.1', 'json-yjs': 'json-yjs', sessions: 'sessions' }
const rooms = {
  ...Object.fromEntries(Object.entries(onlyKind).map(([dialect, kind]) => [`ten of ${dialect}`, Array(members).fill(kind)])),
  'two of each': Object.values(onlyKind).flatMap(kind => [kind, kind])
}
const pin = pinning()
if (pin !== null) execFileSync('taskset', ['-a', '-cp', '1', String(process.pid)], { stdio: 'ignore' })
quiet()
process.setMaxListeners(0)

const found = Object.fromEntries(Object.keys(rooms).map(name => [name, []]))
for (let run = 0; run < runs; run++) {
  for (const [name, room] of Object.entries(rooms)) {
    const { microseconds, deliveries } = await measure(room, run)
    found[name].push(microseconds / deliveries)
    console.error(`run ${run + 1}: ${name}: ${(microseconds / deliveries).toFixed(2)} us a delivery, ${deliveries} deliveries`)
  }
}
const base = median(found['ten of y-websocket'])
console.log('| room | us of CPU a delivery, median | of ten of y-websocket |\n|---|---|---|')
for (const [name, figures] of Object.entries(found)) console.log(`| ${name} | ${median(figures).toFixed(2)} | ${(median(figures) / base).toFixed(2)} |`)
process.exit(0)

async function measure (room, run) {
  const server = await new Server({ binary, env: { ...allDialects, CONCORD_LOG_LEVEL: 'warn', CONCORD_WORKERS: '1' } }).start()
  if (pin !== null) execFileSync('taskset', ['-a', '-cp', '0', String(server.pid)], { stdio: 'ignore' })
  const id = `mixed-${run}`
  try {
    await makeDocument(server, id)
    const editors = room.map((kind, i) => openEditor(kind, server, id, `editor${i}`))
    await Promise.all(editors.map(editor => editor.synced()))
    let [strokes, deliveries] = [0, 0]
    for (const editor of editors) editor.doc.on('update', (update, origin, doc, transaction) => { if (!transaction.local) deliveries++ })
    const [before, end] = [cpu(server.pid), performance.now() + seconds * 1000]
    await Promise.all(editors.map(async (editor, i) => {
      await pause(i * 1000 / perSecond / members)
      for (let next = performance.now(); next < end; next += 1000 / perSecond) {
        editor.insert(editor.content.length, 'x')
        if (strokes++ % 10 === 0) editor.present(strokes)
        await pause(Math.max(0, next + 1000 / perSecond - performance.now()))
      }
    }))
    await until('all changes to have arrived', () => editors.every(editor => editor.content.length === strokes), { ms: 30_000 })
    const microseconds = cpu(server.pid) - before
    for (const editor of editors) editor.terminate()
    return { microseconds, deliveries }
  } finally {
    await server.dispose()
  }
}

/** CPU time of a process so far, in microseconds. */
function cpu (pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond * 1e6
}
