// The process under test of documents.mjs and traces.mjs: a document store that answers requests on its standard input.
// Request: 1 byte op, u32 LE length, payload. Response: u32 LE length, payload; in the order of the requests, so many can be
// under way. The process must flush its answers when no further request is waiting. Does not know what the ops mean.

import { spawn } from 'node:child_process'

const flushBytes = 1 << 16

export class StoreProcess {
  /** @param {string} path an executable, or a .mjs file for node */
  constructor (path) {
    const [command, args] = path.endsWith('.mjs') ? [process.execPath, [path]] : [path, []]
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.waiting = []
    this.first = 0
    this.out = []
    this.outBytes = 0
    this.received = []
    this.receivedBytes = 0
    this.failure = null
    this.ended = new Promise(resolve => this.child.once('close', (code, signal) => {
      this.fail(new Error(`the process under test ended (code ${code}, signal ${signal})`))
      resolve(code)
    }))
    this.child.once('error', error => this.fail(new Error(`cannot run ${path}: ${error.message}`)))
    this.child.stdin.on('error', () => {}) // the 'close' event tells
    this.child.stdout.on('data', chunk => this.receive(chunk))
  }

  /** @returns {Promise<Buffer>} the response's payload */
  request (op, payload = new Uint8Array(0)) {
    if (this.failure) return Promise.reject(this.failure)
    const header = Buffer.allocUnsafe(5)
    header.write(op, 0, 'latin1')
    header.writeUInt32LE(payload.length, 1)
    this.out.push(header, payload)
    this.outBytes += 5 + payload.length
    if (this.outBytes >= flushBytes) this.flush()
    else if (this.out.length === 2) setImmediate(() => this.flush())
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  flush () {
    if (this.out.length === 0) return
    this.child.stdin.write(Buffer.concat(this.out))
    this.out = []
    this.outBytes = 0
  }

  receive (chunk) {
    this.received.push(chunk)
    this.receivedBytes += chunk.length
    // Joining is put off until a whole answer can be there: a large one arrives in many chunks.
    if (this.receivedBytes < (this.needed ?? 4)) return
    const bytes = Buffer.concat(this.received)
    let at = 0
    while (bytes.length - at >= 4) {
      const length = bytes.readUInt32LE(at)
      if (bytes.length - at - 4 < length) break
      this.answer(Buffer.from(bytes.subarray(at + 4, at + 4 + length)))
      at += 4 + length
    }
    this.received = [bytes.subarray(at)]
    this.receivedBytes = bytes.length - at
    this.needed = this.receivedBytes >= 4 ? 4 + bytes.readUInt32LE(at) : 4
  }

  answer (payload) {
    const request = this.waiting[this.first++]
    if (request === undefined) return this.fail(new Error('the process under test sent an answer that nobody asked for'))
    if (this.first > 1000) {
      this.waiting = this.waiting.slice(this.first)
      this.first = 0
    }
    request.resolve(payload)
  }

  fail (error) {
    this.failure ??= error
    for (const { reject } of this.waiting.splice(this.first)) reject(this.failure)
  }

  /** Closes the input and waits for the end of the process. */
  async end () {
    this.flush()
    this.child.stdin.end()
    return await this.ended
  }
}

/** One document in the process; each `open` starts afresh, because a process holds one document at a time. */
export class StoredDocument {
  /** @param {StoreProcess} store */
  constructor (store, { keepDeleted = false } = {}) {
    this.store = store
    this.opened = store.request('N', Uint8Array.of(keepDeleted ? 1 : 0))
  }

  async add (update) { return readAdded(await this.store.request('A', update)) }
  diff (stateVector = Uint8Array.of(0)) { return this.store.request('D', stateVector) }
  stateVector () { return this.store.request('V') }
  snapshot () { return this.store.request('S') }
  compact () { return this.store.request('C') }
}

const statuses = ['accepted', 'duplicate', 'rejected']

function readAdded (response) {
  const kind = statuses[response[0] & 0x7f]
  if (kind === undefined || response.length < 5) throw new Error(`unreadable answer to 'A': ${response.toString('hex')}`)
  const relayed = []
  let at = 5
  for (let left = response.readUInt32LE(1); left > 0; left--) {
    const length = response.readUInt32LE(at)
    relayed.push(response.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  if (at !== response.length) throw new Error(`an answer to 'A' has ${response.length - at} bytes too many`)
  return { kind, parked: (response[0] & 0x80) !== 0, relayed }
}
