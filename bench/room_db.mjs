// Room databases: durable inserts, change events beside a document's fan-out, and many databases on the disk.
//   node bench/room_db.mjs target/release/concord [--seconds 5] [--runs 3] [--rooms 10000] [--only inserts,events,many] [--json FILE]
// The server has a fresh data folder and the first core, the load the second; CPU is that of all threads of the server, from /proc. Kinds take turns within a
// run, and medians are told. Everything is on loopback; every process is ended by its own id. With all parts and three runs it takes about seven minutes.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Account } from '../conformance/lib/room_db_accounts.mjs'
import { Server } from '../conformance/lib/server.mjs'
import { machine, pinning } from './compare/machine.mjs'
import { median, short } from './compare/report.mjs'
import { eventKinds, fanoutKinds, measureEvents, measureFanout } from './room_db/events.mjs'
import { insertions, measureInserts } from './room_db/inserts.mjs'
import { measureMany } from './room_db/many.mjs'

const used = 100
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '5' }, runs: { type: 'string', default: '3' }, rooms: { type: 'string', default: '10000' }, only: { type: 'string', default: 'inserts,events,many' }, json: { type: 'string' } }
})
if (positionals.length !== 1) {
  console.error('usage: node bench/room_db.mjs PATH_TO_CONCORD_BINARY [--seconds 5] [--runs 3] [--rooms 10000] [--only inserts,events,many] [--json FILE]')
  process.exit(2)
}
const [binary, seconds, runs, rooms] = [resolve(positionals[0]), Number(values.seconds), Number(values.runs), Number(values.rooms)]
const parts = values.only.split(',')
const pin = pinning()
if (pin !== null) pinTo(1, process.pid)
process.setMaxListeners(0)
const started = new Set()
process.on('exit', () => { for (const server of started) server.child?.kill('SIGKILL') })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const results = {
  machine: machine(), dataOn: execFileSync('stat', ['-f', '-c', '%T', tmpdir()], { encoding: 'utf8' }).trim(), pinned: pin !== null,
  version: execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim(), date: new Date().toISOString().slice(0, 10), seconds, runs, inserts: {}, events: {}, fanout: {}, many: null
}
for (let run = 0; run < runs; run++) {
  if (parts.includes('inserts')) for (const [kind, spec] of Object.entries(insertions)) await note('inserts', kind, run, () => withServer((server, who) => measureInserts(server, who, spec, run, seconds), spec.env))
  if (!parts.includes('events')) continue
  for (const kind of eventKinds) await note('events', kind, run, () => withServer((server, who) => measureEvents(server, who, kind, run, seconds)))
  for (const kind of fanoutKinds) await note('fanout', kind, run, () => measureFanout(binary, kind, seconds, pin))
}
if (parts.includes('many')) results.many = await withServer((server, who) => measureMany(server, who, rooms, used, () => restarted(server)))

console.log(report())
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(results, null, 1) + '\n')
process.exit(0)

/** One run of one kind; one that fails is told, and the others go on. */
async function note (part, kind, run, measure) {
  try {
    const figures = await measure()
    ;(results[part][kind] ??= []).push(figures)
    console.error(`run ${run + 1}: ${part}: ${kind}: ${Object.entries(figures).map(([name, value]) => `${name} ${typeof value === 'number' ? short(value) : value}`).join(', ')}`)
  } catch (error) {
    (results[part][kind] ??= []).push({ error: error.message })
    console.error(`run ${run + 1}: ${part}: ${kind}: failed: ${error.message.slice(0, 300)}`)
  }
}

async function withServer (act, env = {}) {
  const server = new Server({ binary, env: { CONCORD_LOG_LEVEL: 'warn', CONCORD_LIMITS_USER_CONNECTIONS_MAX: '100000', CONCORD_LIMITS_USER_ROOMS_PER_H: '1000000', ...(pin === null ? {} : { CONCORD_WORKERS: '1' }), ...env } })
  started.add(server)
  try {
    await server.start()
    if (pin !== null) pinTo(0, server.pid)
    const account = await Account.signUp(server, 'bench')
    return await act(server, await account.makeKey())
  } finally {
    await server.dispose()
    started.delete(server)
  }
}

/** Ends the server as an operator does, and starts it again. @returns {Promise<number>} milliseconds until it was healthy */
async function restarted (server) {
  await server.terminate()
  const began = performance.now()
  await server.start()
  const tookMs = performance.now() - began
  if (pin !== null) pinTo(0, server.pid)
  return tookMs
}

function pinTo (core, pid) { execFileSync('taskset', ['-a', '-cp', String(core), String(pid)], { stdio: 'ignore' }) }

function report () {
  const { machine: { cpu, cores, memoryGiB, kernel }, dataOn } = results
  const lines = [`${results.date}, ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${kernel}, data on ${dataOn}${results.pinned ? ', server and load on a core each' : ''}. ${results.version}. Medians of ${runs} runs of ${seconds} s. Where the load's core is full, throughput is the load's own.`]
  const middle = (list, name) => median(list.map(figures => figures[name]))
  const figure = (list, name, unit = '') => { const value = middle(list, name); return value === undefined ? '–' : `${short(value)}${unit}` }
  const failures = list => { const failed = list.filter(({ error }) => error !== undefined); return failed.length === 0 ? '' : ` (${failed.length} of ${list.length} runs failed: ${failed[0].error.replaceAll(/\s+/g, ' ').slice(0, 80)})` }
  if (Object.keys(results.inserts).length > 0) {
    lines.push('', '| durable inserts | rows/s | server CPU us a row | answer ms, median and p99 | server CPU % | load CPU % |', '|---|---|---|---|---|---|')
    for (const [kind, list] of Object.entries(results.inserts)) {
      lines.push(`| ${kind}${failures(list)} | ${figure(list, 'rowsPerSecond')} | ${figure(list, 'cpuUsPerRow')} | ${figure(list, 'waitMsMedian')}, ${figure(list, 'waitMs99')} | ${figure(list, 'serverCpuPercent')} | ${figure(list, 'loadCpuPercent')} |`)
    }
  }
  if (Object.keys(results.events).length > 0) {
    lines.push('', '| to 1,000 | deliveries/s | server CPU us a delivery | bytes | load CPU % | lost |', '|---|---|---|---|---|---|')
    for (const [name, part] of [['change events', results.events], ['document', results.fanout]]) {
      for (const [kind, list] of Object.entries(part)) {
        lines.push(`| ${name}: ${kind}${failures(list)} | ${figure(list, 'deliveriesPerSecond')} | ${figure(list, 'cpuUsPerDelivery')} | ${figure(list, 'bytesPerDelivery')} | ${figure(list, 'loadCpuPercent')} | ${Math.max(0, ...list.map(({ lost }) => lost ?? 0))} |`)
      }
    }
  }
  if (results.many !== null) {
    const { count, used, madePerSecond, cpuMsEach, restartMs, diskMiB, ...states } = results.many
    lines.push('', `${count} databases with a table of 20 rows: ${short(madePerSecond)} made a second, ${short(cpuMsEach)} ms of CPU each, ${short(diskMiB)} MiB on the disk; healthy ${short(restartMs)} ms after a restart.`,
      '', '| server | resident MiB | open files | threads |', '|---|---|---|---|')
    const names = { fresh: 'empty', afterMaking: `all ${count} made`, started: 'restarted', inUse: `restarted, ${used} in use` }
    for (const [name, { residentMiB, openFiles, threads }] of Object.entries(states)) lines.push(`| ${names[name]} | ${short(residentMiB)} | ${openFiles} | ${threads} |`)
  }
  return lines.join('\n')
}
