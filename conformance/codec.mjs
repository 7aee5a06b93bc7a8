// The WebSocket codec, through its echo server, against the rules of RFC 6455 and RFC 7692, in the order of the Autobahn suite's chapters:
//   node codec.mjs PATH_TO_ECHO_EXECUTABLE [statement …]
// What is said and expected is in codec/cases.mjs. Each statement has a connection of its own; what is short enough is said in one write and then
// again byte by byte, where the answer has to be the same.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { cases } from './codec/cases.mjs'
import { Connection } from './codec/connection.mjs'
import { close, opcodes } from './codec/frames.mjs'
import { within } from './lib/until.mjs'

const answerWithinMs = 30_000
const cutBytesMax = 2_000

const [executable, ...chosen] = process.argv.slice(2)
if (executable === undefined) {
  console.error('usage: node codec.mjs PATH_TO_ECHO_EXECUTABLE [statement …]')
  process.exit(2)
}
const server = spawn(executable, ['127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] })
const port = await within(answerWithinMs, 'the echo server', firstLine(server.stdout).then(line => Number(line.match(/:(\d+)$/)[1])))
let [passed, failed] = [0, 0]
for (const statement of cases.filter(({ name }) => chosen.length === 0 || chosen.some(part => name.includes(part)))) {
  try {
    const sent = Buffer.concat(statement.send)
    await within(answerWithinMs, 'the answers', hold(statement, [sent]))
    if (sent.length <= cutBytesMax) await within(answerWithinMs, 'the answers to single bytes', hold(statement, [...sent].map(byte => Buffer.of(byte))))
    passed++
  } catch (error) {
    failed++
    console.log(`${statement.name}: ${error.message}`)
  }
}
server.kill()
console.log(`codec: ${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)

async function firstLine (stream) {
  for await (const line of createInterface({ input: stream })) return line
}

/** Says what the statement says in these pieces, and holds everything that comes until the end of the connection against it. */
async function hold ({ send, answers = [], closed, extensions, accepted }, pieces) {
  const connection = new Connection(port)
  try {
    const head = await connection.upgrade(extensions)
    assert.equal(head.match(/^sec-websocket-extensions: (.*)\r$/mi)?.[1] ?? null, accepted ?? null, 'the extensions')
    for (const piece of pieces) await connection.write(piece)
    // The client's own close marks the end of what is said; its answer comes behind all others.
    if (closed === undefined) await connection.write(close(1000))
    const frames = await connection.frames()
    const last = frames.pop()
    assert.deepEqual(frames.map(({ opcode, payload }) => describe(opcode, payload)), answers.map(([opcode, payload]) => describe(opcode, payload)), 'the answers')
    assert.equal(last?.opcode, opcodes.close, 'a close at the end')
    assert.equal(last.payload.readUInt16BE(0), closed ?? 1000, `the code of the close (${last.payload.subarray(2)})`)
    assert.ok(accepted != null || frames.every(frame => !frame.compressed), 'compressed without an agreement')
  } finally {
    connection.socket.destroy()
  }
}

/** A frame in so few characters that a difference can be read. */
function describe (opcode, payload) {
  const bytes = Buffer.from(payload)
  if (bytes.length <= 40) return `${opcode} ${bytes.toString('hex')}`
  return `${opcode} ${bytes.length} bytes, ${bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) | 0, 7)}`
}
