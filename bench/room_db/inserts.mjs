// Durable inserts: rows that were answered with success, into one room and into many. Called by bench/room_db.mjs.

import { RoomDbClient } from '../../conformance/lib/room_db.mjs'
import { cpuUs, ownCpuUs } from './machine_time.mjs'

const openingAtOnce = 32
const manyRooms = 1_000
const text = 'x'.repeat(80)

/** Rows in a call, connections and rooms of each kind of run. Every connection has one call under way. createTask is limited by user and room, batchInsert is not. */
export const insertions = {
  'one room, 50 rows a call, 32 connections': { rows: 50, connections: 32, rooms: 1 },
  'one room, 1 row a call, 32 connections': { rows: 1, connections: 32, rooms: 1 },
  'one room, 1 row a call, 256 connections': { rows: 1, connections: 256, rooms: 1 },
  '50 rooms, 1 row a call, 250 connections': { rows: 1, connections: 250, rooms: 50 },
  '1,000 rooms, 50 rows a call, a connection each': { rows: 50, connections: manyRooms, rooms: manyRooms },
  '1,000 rooms, 1 row a call, a connection each': { rows: 1, connections: manyRooms, rooms: manyRooms },
  '1,000 rooms, 1 row a call, all open at a time (`room_db.open_max`)': { rows: 1, connections: manyRooms, rooms: manyRooms, env: { CONCORD_ROOM_DB_OPEN_MAX: String(manyRooms) } }
}

/** A row of each room exists before anything is measured: what it costs to make a database is another question. */
export async function measureInserts (server, who, { rows, connections, rooms }, run, seconds) {
  const clients = await openAll(server, who, connections, i => `insert-${run}-${i % rooms}`)
  const firsts = clients.slice(0, rooms)
  await inTurn(firsts, openingAtOnce, async client => {
    await client.call('createTable', { tableName: 'log', columns: [{ name: 'text' }, { name: 'n', type: 'INTEGER' }] }, { ms: 60_000 })
  })
  const call = JSON.stringify({ action: 'rpc', method: 'batchInsert', payload: { table: 'log', rows: Array.from({ length: rows }, (_, n) => ({ text, n })) } })
  let [answered, failed, running] = [0, 0, true]
  const waits = []
  const done = Promise.all(clients.map(client => new Promise(resolve => {
    let sentAt = 0
    const next = () => {
      if (!running) return resolve()
      sentAt = performance.now()
      client.send(call)
    }
    client.onmessage = ({ type }) => {
      client.messages.length = 0
      if (type === 'mutation_success') {
        answered += rows
        waits.push(performance.now() - sentAt)
      } else if (type === 'mutation_error') failed++
      else return
      next()
    }
    next()
  })))
  await new Promise(resolve => setTimeout(resolve, 500)) // to get going
  const before = { answered, cpu: cpuUs(server.pid), own: ownCpuUs(), at: performance.now(), waits: waits.length }
  await new Promise(resolve => setTimeout(resolve, seconds * 1_000))
  const tookS = (performance.now() - before.at) / 1_000
  const counted = answered - before.answered
  const figures = {
    rowsPerSecond: counted / tookS,
    cpuUsPerRow: (cpuUs(server.pid) - before.cpu) / counted,
    serverCpuPercent: (cpuUs(server.pid) - before.cpu) / tookS / 1e4,
    loadCpuPercent: (ownCpuUs() - before.own) / tookS / 1e4,
    waitMsMedian: percentile(waits.slice(before.waits), 0.5),
    waitMs99: percentile(waits.slice(before.waits), 0.99),
    failed
  }
  running = false
  await done
  for (const client of clients) client.terminate()
  return figures
}

/** So many connections, some at a time. */
export async function openAll (server, who, count, roomOf) {
  const clients = []
  await inTurn(Array.from({ length: count }, (_, i) => i), openingAtOnce, async i => { clients[i] = await RoomDbClient.open(server, roomOf(i), who) })
  return clients
}

/** Each, so many at a time. */
export async function inTurn (list, atOnce, act) {
  let next = 0
  await Promise.all(Array.from({ length: Math.min(atOnce, list.length) }, async () => { while (next < list.length) await act(list[next++]) }))
}

function percentile (values, part) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}
