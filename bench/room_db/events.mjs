// Change events to everybody who has subscribed to one table, beside the fan-out of a document of the same size. Called by bench/room_db.mjs.

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { databaseUrl, RoomDbClient } from '../../conformance/lib/room_db.mjs'
import { freePort } from '../compare/machine.mjs'
import { inTurn } from './inserts.mjs'
import { Listener } from '../../conformance/lib/room_db_listener.mjs'
import { cpuUs, ownCpuUs } from './machine_time.mjs'

const subscribers = 1_000
const deliveriesPerSecond = 10_000
const writers = 10
const textBytes = 80
const arriveMs = 20_000

/** Rows in a call, and rows a second of all writers; without those, each writer goes on when everybody has what is under way of the others. */
const paces = {
  'open loop, 10,000 deliveries/s': { rowsPerSecond: deliveriesPerSecond / subscribers, rows: 1 },
  'open loop, 10,000 deliveries/s, the writers have subscribed too': { rowsPerSecond: deliveriesPerSecond / subscribers, rows: 1, everybody: true },
  'saturated, 10 writers, 1 row under way': { rows: 1 },
  'saturated, 10 writers, 50 rows a call': { rows: 50 },
  'saturated, 10 writers, 50 rows a call, the writers have subscribed too': { rows: 50, everybody: true }
}
/** The same of a document, by `concord bench fanout`. */
const fanouts = {
  'open loop, 10,000 deliveries/s': ['--rate', String(deliveriesPerSecond)],
  'saturated, 10 writers, 1 update under way': ['--in-flight', '1', '--rate', '0'],
  'saturated, 10 writers, 4 updates under way': ['--in-flight', '4', '--rate', '0']
}
export const eventKinds = Object.keys(paces)
export const fanoutKinds = Object.keys(fanouts)

export async function measureEvents (server, who, kind, run, seconds) {
  const { rows, rowsPerSecond, everybody = false } = paces[kind]
  const room = `events-${eventKinds.indexOf(kind)}-${run}`
  const writing = []
  for (let i = 0; i < writers; i++) writing.push(await RoomDbClient.open(server, room, who))
  await writing[0].call('createTable', { tableName: 'log', columns: [{ name: 'text' }, { name: 'n', type: 'INTEGER' }] }, { ms: 60_000 })
  const path = databaseUrl({ url: '' }, room, who.parameters)
  const listening = Array.from({ length: subscribers })
  await inTurn([...listening.keys()], 32, async i => { listening[i] = await new Listener(server.port, path, [{ action: 'subscribe', table: 'log' }, { action: 'ping' }]).opened })
  if (everybody) for (const client of writing) client.send({ action: 'subscribe', table: 'log' })
  const total = () => listening.reduce((sum, one) => sum + one.frames, 0)
  await arrived(total, 2 * subscribers) // reset and pong: all have subscribed
  let [sent, running] = [0, true]
  const row = 'x'.repeat(textBytes)
  const insert = async client => {
    sent += rows
    await client.call('batchInsert', { table: 'log', rows: Array.from({ length: rows }, (_, n) => ({ text: row, n })) }, { ms: 60_000 })
    client.messages.length = 0
  }
  const work = Promise.all(writing.map(async (client, i) => {
    if (rowsPerSecond === undefined) {
      while (running) {
        await insert(client)
        // As `concord bench fanout` does: what is under way is what has not reached everybody.
        await behind(() => !running || total() - 2 * subscribers >= (sent - rows * writers) * subscribers)
      }
    } else {
      for (let next = performance.now() + i * 1_000 / rowsPerSecond; running; next += writers * 1_000 / rowsPerSecond) {
        await new Promise(resolve => setTimeout(resolve, Math.max(0, next - performance.now())))
        if (running) await insert(client)
      }
    }
  }))
  await new Promise(resolve => setTimeout(resolve, 1_000)) // to get going
  const before = { total: total(), cpu: cpuUs(server.pid), own: ownCpuUs(), at: performance.now(), bytes: listening.reduce((sum, one) => sum + one.bytes, 0) }
  await new Promise(resolve => setTimeout(resolve, seconds * 1_000))
  const after = { total: total(), cpu: cpuUs(server.pid), own: ownCpuUs(), at: performance.now(), bytes: listening.reduce((sum, one) => sum + one.bytes, 0) }
  running = false
  await work
  await arrived(total, (2 + sent) * subscribers)
  const [deliveries, tookS] = [after.total - before.total, (after.at - before.at) / 1_000]
  const closed = listening.filter(one => one.closed).length
  const lost = (2 + sent) * subscribers - total()
  for (const one of [...listening, ...writing]) one.terminate()
  return {
    deliveriesPerSecond: deliveries / tookS,
    cpuUsPerDelivery: (after.cpu - before.cpu) / deliveries,
    bytesPerDelivery: (after.bytes - before.bytes) / deliveries,
    serverCpuPercent: (after.cpu - before.cpu) / tookS / 1e4,
    loadCpuPercent: (after.own - before.own) / tookS / 1e4,
    lost,
    closed
  }
}

async function arrived (total, wanted) {
  const end = performance.now() + arriveMs
  while (total() < wanted && performance.now() < end) await new Promise(resolve => setTimeout(resolve, 5))
}

async function behind (is) { while (!is()) await new Promise(resolve => setImmediate(resolve)) }

/** The same of a document, by the load generator of the binary, with a server of its own. */
export async function measureFanout (binary, kind, seconds, pin) {
  const folder = mkdtempSync(join(tmpdir(), 'concord-room-db-fanout-'))
  try {
    const json = join(folder, 'figures.json')
    const port = await freePort()
    const start = [...pin?.(0) ?? [], binary, '--listen', `127.0.0.1:${port}`, '--data', join(folder, 'data'), '--log-level', 'warn'].join(' ')
    const words = [...pin?.(1) ?? [], binary, 'bench', 'fanout', '--clients', String(subscribers), '--writers', String(writers), ...fanouts[kind], '--text-bytes', String(textBytes),
      '--seconds', String(seconds), '--warm-up-s', '1', '--url', `ws://127.0.0.1:${port}`, '--start', start, '--json', json, '--quiet']
    await promisify(execFile)(words[0], words.slice(1), { timeout: 120_000 })
    const { results } = JSON.parse(readFileSync(json, 'utf8'))
    return { deliveriesPerSecond: results.deliveries.median, cpuUsPerDelivery: results.cpu_per_delivery.median, loadCpuPercent: results.load_cpu?.median, lost: results.lost?.max ?? 0 }
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}
