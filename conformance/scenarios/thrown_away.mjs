// Clients that are thrown away during or right after the handshake, as a framework does that mounts a component twice: 1,000 of each
// kind of end. They must cost nothing: no connection and no room stays, nothing is logged as an error, memory comes back.

import { connect } from 'node:net'
import { RawClient, awarenessMessage } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'

export const name = 'thrown-away'
export const seconds = 90
export const needsBinary = true

const times = 1000
const warmUp = 200
const atOnce = 50
const growthMaxBytes = 48 << 20 // an allocator keeps some of what it once had; a leaked room or socket buffer would be far more

const ends = {
  'before the request': url => tcp(url, socket => socket.destroy()),
  'in the middle of the request': url => tcp(url, (socket, request) => socket.write(request.slice(0, 60), () => socket.destroy())),
  'after the request': url => tcp(url, (socket, request) => socket.write(request, () => socket.destroy())),
  'after half of a frame': url => tcp(url, (socket, request) => socket.write(request, () => socket.once('data', () => socket.write(Buffer.from([0x82, 0xfe, 0x10]), () => socket.destroy())))),
  'by termination when open': url => whenOpen(url, client => client.terminate()),
  'with close 1001 when open': url => whenOpen(url, client => client.socket.close(1001)),
  'without a close code when open': url => whenOpen(url, client => client.socket.close()),
  'after step 1': url => whenOpen(url, client => { client.sendStep1(); client.terminate() }),
  'after its presence': (url, i) => whenOpen(url, client => {
    client.sendStep1()
    client.send(awarenessMessage([{ id: i + 1, clock: 1, json: '{"user":"a"}' }]))
    client.socket.close(1001)
  })
}

export async function run ({ server: startServer, log }) {
  const server = await startServer({ env: { CONCORD_UNLOAD_AFTER_MS: '200' } })
  const start = await server.health()
  await throwAway(server, warmUp)
  const before = server.residentBytes()
  await throwAway(server, times)
  const after = server.residentBytes()
  const mebi = bytes => (bytes / (1 << 20)).toFixed(1)
  log(`${Object.keys(ends).length} kinds of end, ${times} each; memory ${mebi(before)} MiB before, ${mebi(after)} MiB after`)
  if (start.rooms !== 0 || start.connections !== 0) throw new Error(`a fresh server has ${JSON.stringify(start)}`)
  const errors = server.errors()
  if (errors.length > 0) throw new Error(`${errors.length} errors in the server's log, the first: ${errors[0]}`)
  if (after > before + growthMaxBytes) throw new Error(`the server's memory grew from ${mebi(before)} to ${mebi(after)} MiB`)
}

async function throwAway (server, count) {
  const queue = Object.values(ends).flatMap(end => Array.from({ length: count }, (_, i) => [end, i]))
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [end, i] = next
      await end(`${server.url}/thrown-away/${i}`, i)
    }
  }))
  let health
  await until(() => `no connection and no room to be left; there are ${JSON.stringify(health)}`, async () => {
    health = await server.health()
    return health.connections === 0 && health.rooms === 0
  }, { everyMs: 20 })
}

function tcp (url, act) {
  const { hostname, port, pathname } = new URL(url)
  const request = `GET ${pathname} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`
  return new Promise(resolve => {
    const socket = connect(Number(port), hostname, () => act(socket, request))
    socket.on('error', () => {})
    socket.on('close', resolve)
  })
}

function whenOpen (url, act) {
  return new Promise(resolve => {
    const client = new RawClient(url)
    client.socket.on('open', () => act(client))
    client.socket.on('close', resolve)
  })
}
