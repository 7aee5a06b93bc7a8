// All workloads against all servers:
//   node bench/compare.mjs [--runs 3] [--only fanout-100,open] [--servers relay,relay-log,concord,y-websocket-server,hocuspocus,y-sweet]
//        [--modes] [--growth] [--all] [--seconds N] [--out target/compare] [--concord PATH] [--relay PATH] [--y-sweet PATH] [--install]
// --install first builds and fetches what is missing for that, and is all that is done if it stands alone; without it nothing is built. Each cell is a freshly
// started server with an empty data folder on core 0, and `concord bench` on core 1. Within a run the servers take turns at each workload, so that noise hits
// all of them alike. Writes results.json, results.md and chart.svg after each workload.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { commands, install, programs } from './compare/install.mjs'
import { freePort, machine, openFilesMax, pinning } from './compare/machine.mjs'
import { short, write } from './compare/report.mjs'
import { durabilities, servers } from './compare/servers.mjs'
import { growth, modes, wordsOf, workloads } from './compare/workloads.mjs'

/** Of one cell: the longest (a slow server with the trace, or one that has to catch up) takes about four minutes. */
const cellMs = 420_000

const root = fileURLToPath(new URL('..', import.meta.url))
const text = fallback => ({ type: 'string', default: fallback })
const flag = { type: 'boolean', default: false }
const { values } = parseArgs({
  options: {
    runs: text('3'),
    seconds: { type: 'string' },
    only: { type: 'string' },
    servers: { type: 'string' },
    modes: flag,
    growth: flag,
    all: flag,
    out: text(join(root, 'target/compare')),
    concord: text(programs.concord),
    relay: text(programs.relay),
    'y-sweet': text(programs.ySweet),
    install: flag
  }
})

const fail = message => {
  console.error(message)
  process.exit(2)
}
const number = (name, least) => {
  const value = Number(values[name])
  if (values[name] !== undefined && !(value >= least)) fail(`--${name} ${values[name]}: must be a number from ${least}`)
  return values[name] === undefined ? undefined : value
}
const [runs, seconds] = [number('runs', 1), number('seconds', 1)]
const out = resolve(values.out)
const traces = join(root, 'target/traces')
const paths = { relay: resolve(values.relay), concord: resolve(values.concord), ySweet: resolve(values['y-sweet']) }
/** What is to be measured, in words. */
const asked = process.argv.slice(2).filter(word => word !== '--install')
const pin = pinning()
const notes = pin === null ? ['two cores cannot be had here (taskset -c 0, taskset -c 1): load and server were not pinned, and share what there is'] : []
const results = { machine: machine(), date: new Date().toISOString().slice(0, 10), arguments: asked.map(word => relativeTo(word)), versions: {}, missing: {}, notes, tables: [] }

/** The cell that is being measured: a process group of its own, which is the load and the server that it starts. */
let cell = null
/** What it stores in. */
let folder = null
process.on('exit', () => {
  endCell()
  removeFolder()
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

if (values.install) {
  const failed = await install(needed(chosenTables()))
  if (asked.length === 0) process.exit(failed.length > 0 ? 1 : 0)
}
if (!existsSync(paths.concord)) fail(`${values.concord} is not there; it is the load as well: ${commands.server}, or --concord PATH`)
mkdirSync(out, { recursive: true })
for (const note of notes) console.log(note)
const tables = chosenTables()
for (const table of tables) await measure(table)
process.stdout.write(`\n${write(out, results)}\n`)
console.log(`written: ${['results.md', 'results.json', 'chart.svg'].map(name => relative(process.cwd(), join(out, name))).join(', ')}`)

function chosenTables () {
  const all = servers(paths)
  const chosen = list('servers', values.servers, Object.keys(all))
  const main = values.all || !(values.modes || values.growth)
  const candidates = [
    main && { name: 'servers', title: 'Servers', about: 'In brackets: the ratio to the relay in the same run.', baseline: 'relay', columns: pick(all, chosen), workloads },
    (values.all || values.modes) && { name: 'modes', title: 'Durability', about: 'Concord with each `--durability`; in brackets: the ratio to `ack` in the same run.', baseline: 'ack', columns: durabilities(paths), workloads: modes },
    (values.all || values.growth) && { name: 'growth', title: 'Growth', about: 'In brackets: the ratio to the relay in the same run.', baseline: 'relay', columns: pick(all, ['relay', 'concord']), workloads: growth }
  ].filter(Boolean)
  const only = list('only', values.only, [...new Set(candidates.flatMap(table => Object.keys(table.workloads)))])
  for (const table of candidates) table.workloads = pick(table.workloads, Object.keys(table.workloads).filter(name => only.includes(name)))
  return candidates
}

/** What has to be there for these. */
function needed (tables) {
  const names = tables.flatMap(({ name, columns }) => name === 'modes' ? ['concord'] : Object.keys(columns))
  const wanted = tables.flatMap(({ workloads }) => Object.values(workloads)).flatMap(({ trace }) => trace ?? [])
  return { servers: [...new Set(names)], traces: [...new Set(wanted)].map(name => join(traces, name)), paths }
}

function list (option, given, known) {
  const names = given?.split(',') ?? known
  const unknown = names.filter(name => !known.includes(name))
  if (unknown.length > 0) fail(`--${option} ${unknown.join(',')}: there are ${known.join(', ')}`)
  return names
}

function pick (object, names) {
  return Object.fromEntries(names.map(name => [name, object[name]]))
}

async function measure ({ columns, workloads, ...table }) {
  const present = Object.entries(columns).filter(([name, server]) => {
    if (server.missing === undefined) {
      if (table.name !== 'modes') results.versions[name] = server.version()
      else results.versions.concord ??= server.version()
      return true
    }
    if (results.missing[name] === undefined) console.log(`${name} is missing, and left out; install it with: ${server.missing}`)
    results.missing[name] = server.missing
    return false
  })
  const rows = Object.entries(workloads).map(([name, workload]) => ({ name, about: workload.about, figures: workload.figures, chart: workload.chart === true, cells: {} }))
  results.tables.push({ ...table, columns: Object.keys(columns), rows })
  for (let run = 1; run <= runs; run++) {
    for (const row of rows) {
      const workload = workloads[row.name]
      const { words, note, refused } = wordsFor(workload)
      const remark = refused ?? note
      if (remark !== undefined && !notes.includes(`${row.name}: ${remark}`)) notes.push(`${row.name}: ${remark}`)
      if (remark !== undefined && run === 1) console.log(`${row.name}: ${remark}`)
      if (refused !== undefined) continue
      for (const [name, server] of present.filter(([, server]) => workload.needs === undefined || server.can.includes(workload.needs))) {
        // Who was too slow for it once is not waited for again.
        if (row.cells[name]?.some(({ late }) => late)) continue
        const measured = await measureCell(server, workload, words)
        row.cells[name] = [...row.cells[name] ?? [], { run, ...measured }]
        console.log(`${table.name}, run ${run} of ${runs}, ${row.name}, ${name}: ${progressText(row, measured)}`)
      }
      write(out, results)
    }
  }
}

function wordsFor (workload) {
  if (workload.trace !== undefined && !existsSync(join(traces, workload.trace))) {
    return { refused: `${join('target/traces', workload.trace)} is not there; make it with: ${commands.traces} (after ${commands.conformance})` }
  }
  return wordsOf(workload, { seconds, traces, openFilesMax: openFilesMax() })
}

/** One run of one workload against one server: its figures, or why there are none. */
async function measureCell (server, workload, words) {
  folder = mkdtempSync(join(out, 'data-'))
  const json = join(folder, 'figures.json')
  try {
    const data = join(folder, 'data')
    mkdirSync(data)
    const port = await freePort()
    const start = [...pin?.(0) ?? [], ...server.command(port, data, workload)].map(quoted).join(' ')
    const command = [...pin?.(1) ?? [], paths.concord, 'bench', ...words, '--url', `ws://127.0.0.1:${port}`, '--dialect', server.dialect ?? 'y-websocket',
      '--stop-signal', server.stop ?? 'TERM', '--start', start, '--json', json, '--quiet']
    const { code, errors, late } = await ended(command)
    if (!existsSync(json)) return { error: errors ?? `the load ended with ${code}`, late }
    const { parameters, results } = JSON.parse(readFileSync(json, 'utf8'))
    parameters.start = relativeTo(parameters.start)
    if (parameters.file !== undefined) parameters.file = relativeTo(parameters.file)
    if (server.forgets && results.lost !== undefined && workload.needs === 'restarts') delete results.lost
    return { parameters, results }
  } finally {
    removeFolder()
  }
}

function removeFolder () {
  // What was just killed may still be writing.
  if (folder !== null) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  folder = null
}

/** Runs a command line in a process group of its own. Its exit code, and the last error that it told. */
function ended ([program, ...words]) {
  const child = spawn(program, words, { detached: true, stdio: ['ignore', 'ignore', 'pipe'], cwd: root })
  cell = child
  let output = ''
  child.stderr.setEncoding('utf8').on('data', part => { output = (output + part).slice(-4_000) })
  let late = false
  const timer = setTimeout(() => {
    late = true
    endCell()
  }, cellMs)
  return new Promise(resolve => {
    const done = (code, error) => {
      clearTimeout(timer)
      endCell()
      cell = null
      resolve({ code, late, errors: late ? `not done within ${cellMs / 1_000} s` : error ?? output.split('\n').findLast(line => line.startsWith('error:'))?.slice('error: '.length) })
    }
    child.once('error', error => done(null, error.message))
    child.once('close', code => done(code))
  })
}

/** Ends whatever is left of the cell, by the process group that was made for it. */
function endCell () {
  try {
    if (cell?.pid !== undefined) process.kill(-cell.pid, 'SIGKILL')
  } catch {
    // Everything has ended already.
  }
}

function progressText (row, { results, error }) {
  if (results === undefined) return `failed: ${error}`
  const figures = row.figures.map(([name, unit, label]) => `${label ?? name.replaceAll('_', ' ')} ${results[name]?.median == null ? 'unknown' : `${short(results[name].median)} ${unit}`}`)
  const lost = results.lost?.max > 0 ? [`lost ${results.lost.max}`] : []
  return [...figures, ...lost].join(', ')
}

/** As `concord bench --start` splits it again. */
function quoted (word) {
  return /[\s'"]/.test(word) ? `"${word}"` : word
}

/** Results say nothing about where a checkout lies. */
function relativeTo (text) {
  return text.replaceAll(root, '').replaceAll(out, relative(root, out))
}
