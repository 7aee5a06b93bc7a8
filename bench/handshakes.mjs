// What it costs to find out who comes: the server's CPU time for a handshake, without authentication and with each kind of credential.
//   node bench/handshakes.mjs target/release/concord [--count 3000] [--runs 5]
// Each server has a fresh data folder, runs on the first core, and is ended by its own process id. Handshakes come one after the other from eight
// sockets at a time, to ten rooms that are in memory; the connection is reset after the first message. CPU is that of all its threads, from /proc.

import { execFileSync, spawn } from 'node:child_process'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { freePort, pinning } from './compare/machine.mjs'
import { median } from './compare/report.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { count: { type: 'string', default: '3000' }, runs: { type: 'string', default: '5' } }
})
if (positionals.length !== 1) {
  console.error('usage: node bench/handshakes.mjs PATH_TO_CONCORD_BINARY [--count 3000] [--runs 5]')
  process.exit(2)
}
const [binary, count, runs] = [resolve(positionals[0]), Number(values.count), Number(values.runs)]
const atOnce = 8
const secret = 'a secret for measuring, of 32 bytes or more'
const folder = mkdtempSync(join(tmpdir(), 'concord-handshakes-'))
const pin = pinning()

const part = value => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const claims = () => ({ userId: 'u1', name: 'Ann', rooms: [{ name: 'room*', permission: 'write' }], iat: seconds(), exp: seconds() + 3600 })
const seconds = () => Math.floor(Date.now() / 1000)

/** Name, settings of the server, and how a token is made. */
const kinds = [
  { name: 'none', environment: {} },
  { name: 'HS256', environment: { CONCORD_AUTH_SECRET: secret }, token: () => signed('HS256', text => createHmac('sha256', secret).update(text).digest()) },
  issuer('EdDSA', 'ed25519', {}, (key, text) => sign(null, text, key)),
  issuer('ES256', 'ec', { namedCurve: 'P-256' }, (key, text) => sign('sha256', text, { key, dsaEncoding: 'ieee-p1363' })),
  issuer('RS256', 'rsa', { modulusLength: 2048 }, (key, text) => sign('sha256', text, key)),
  {
    name: 'API key',
    environment: { CONCORD_AUTH_API_KEYS: 'true' },
    token: data => execFileSync(binary, ['key', 'create', '--name', 'bench', '--owner', 'u1', '--data', data]).toString().split('\n')[0]
  }
]

function signed (alg, signer) {
  const text = `${part({ alg, typ: 'JWT' })}.${part(claims())}`
  return `${text}.${signer(Buffer.from(text)).toString('base64url')}`
}

function issuer (alg, type, options, signer) {
  const { publicKey, privateKey } = generateKeyPairSync(type, options)
  const path = join(folder, `${alg}.json`)
  writeFileSync(path, JSON.stringify({ ...publicKey.export({ format: 'jwk' }), alg }))
  return { name: alg, environment: { CONCORD_AUTH_KEYS_FILE: path }, token: () => signed(alg, text => signer(privateKey, text)) }
}

async function measure (kind) {
  const data = mkdtempSync(join(folder, 'data-'))
  const token = kind.token?.(data)
  const port = await freePort()
  const command = [binary, '--listen', `127.0.0.1:${port}`, '--data', data, '--log-level', 'warn']
  if (pin !== null) command.unshift(...pin(0))
  const server = spawn(command[0], command.slice(1), { stdio: 'ignore', env: { ...process.env, ...kind.environment } })
  try {
    await answers(port)
    await handshakes(port, token, 200)
    const [before, began] = [cpuUs(server.pid), performance.now()]
    await handshakes(port, token, count)
    return { us: (cpuUs(server.pid) - before) / count, perSecond: count / (performance.now() - began) * 1000 }
  } finally {
    server.kill('SIGKILL')
    rmSync(data, { recursive: true, force: true })
  }
}

async function handshakes (port, token, count) {
  let left = count
  const worker = async () => { while (left-- > 0) await handshake(port, `/room${left % 10}${token === undefined ? '' : `?token=${token}`}`) }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

/** Done with the first byte behind the response: who is refused gets one too, so the status and the kind of message are looked at. */
function handshake (port, target) {
  return new Promise((resolve, reject) => {
    let heard = Buffer.alloc(0)
    const socket = connect(port, '127.0.0.1', () => socket.write(`GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`))
    socket.on('error', reject)
    socket.on('data', bytes => {
      heard = Buffer.concat([heard, bytes])
      const end = heard.indexOf('\r\n\r\n')
      if (end < 0 || heard.length < end + 7) return
      socket.resetAndDestroy()
      // A step 1 begins with 0 0; a refusal with 2.
      if (heard.includes('HTTP/1.1 101') && heard[end + 6] === 0) resolve()
      else reject(new Error(`refused: ${heard.toString('latin1').slice(0, 300)}`))
    })
  })
}

/** Of all threads, in us: the first number of schedstat is nanoseconds on a CPU. */
function cpuUs (pid) {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]), 0) / 1000
}

async function answers (port) {
  for (;;) {
    try { return await fetch(`http://127.0.0.1:${port}/ready`) } catch { await new Promise(resolve => setTimeout(resolve, 20)) }
  }
}

const results = new Map(kinds.map(kind => [kind.name, []]))
try {
  for (let run = 0; run < runs; run++) for (const kind of kinds) results.get(kind.name).push(await measure(kind))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
const without = median(results.get('none').map(result => result.us))
console.log(`medians of ${runs} runs of ${count} handshakes${pin === null ? '' : ', the server on one core'}`)
console.log('| credential | CPU us a handshake | more than without | handshakes a second |')
console.log('|---|---|---|---|')
for (const [name, runs] of results) {
  const us = median(runs.map(run => run.us))
  console.log(`| ${name} | ${us.toFixed(0)} | ${(us - without).toFixed(0)} | ${median(runs.map(run => run.perSecond)).toFixed(0)} |`)
}
