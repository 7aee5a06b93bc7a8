// Many databases on the disk, of which a few are in use: what the server has in memory, and how many files it has open. Called by bench/room_db.mjs.

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { RoomDbClient } from '../../conformance/lib/room_db.mjs'
import { inTurn, openAll } from './inserts.mjs'
import { cpuUs, openFiles, residentMiB, threads } from './machine_time.mjs'

const atOnce = 32
const rowsOfEach = 20
const rounds = 5

/** Makes `count` databases, restarts, uses `used` of them. @returns {Promise<object>} */
export async function measureMany (server, who, count, used, restart) {
  const fresh = state(server)
  const began = { at: performance.now(), cpu: cpuUs(server.pid) }
  await inTurn(Array.from({ length: count }, (_, i) => i), atOnce, async i => {
    const client = await RoomDbClient.open(server, `many-${i}`, who)
    await client.call('createTable', { tableName: 'log', columns: [{ name: 'text' }] }, { ms: 60_000 })
    await client.call('batchInsert', { table: 'log', rows: Array.from({ length: rowsOfEach }, (_, n) => ({ text: `${i}-${n}` })) }, { ms: 60_000 })
    client.terminate()
  })
  const made = { perSecond: count / (performance.now() - began.at) * 1_000, cpuMsEach: (cpuUs(server.pid) - began.cpu) / 1_000 / count }
  const afterMaking = state(server)
  const restartMs = await restart()
  const started = state(server)
  const clients = await openAll(server, who, used, i => `many-${i * Math.floor(count / used)}`)
  for (let round = 0; round < rounds; round++) {
    await Promise.all(clients.map(async client => {
      await client.call('batchInsert', { table: 'log', rows: [{ text: 'more' }] }, { ms: 60_000 })
      const rows = await client.select('SELECT COUNT(*) AS n FROM log')
      if (rows[0].n !== rowsOfEach + round + 1) throw new Error(`a room has ${rows[0].n} rows instead of ${rowsOfEach + round + 1}`)
    }))
  }
  const inUse = state(server)
  for (const client of clients) client.terminate()
  return { count, used, madePerSecond: made.perSecond, cpuMsEach: made.cpuMsEach, restartMs, diskMiB: sizeOf(server.data) / 2 ** 20, fresh, afterMaking, started, inUse }
}

const state = server => ({ residentMiB: residentMiB(server.pid), openFiles: openFiles(server.pid), threads: threads(server.pid) })

function sizeOf (folder) {
  return readdirSync(folder, { recursive: true }).map(name => statSync(join(folder, name))).filter(stat => stat.isFile()).reduce((sum, { blocks }) => sum + blocks * 512, 0)
}
