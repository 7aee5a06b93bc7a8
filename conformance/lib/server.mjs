// A Concord server as a child process: started, asked for its health, killed and started again at the same port and data.
// Called by run.mjs for each scenario. Does not speak the protocols.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until, within } from './until.mjs'

const linesKept = 200

export class Server {
  /** @param {{binary: string, data?: string, args?: string[], env?: Record<string, string>, neverLogged?: string[]}} options */
  constructor ({ binary, data, args = [], env = {}, neverLogged = [] }) {
    this.binary = binary
    this.ownData = data === undefined
    this.data = data ?? mkdtempSync(join(tmpdir(), 'concord-conformance-'))
    this.args = args
    this.env = env
    this.neverLogged = neverLogged
    this.log = []
    this.linesLogged = 0
    this.errorLines = []
    /** Lines of the log with a secret in them; no scenario passes with one. */
    this.leaks = []
    this.child = null
    this.canRestart = true
  }

  /** With a certificate of its own it speaks TLS, and is `localhost`. */
  get certificate () { return this.env.CONCORD_TLS_CERTIFICATE }
  get url () { return this.certificate === undefined ? `ws://127.0.0.1:${this.port}` : `wss://localhost:${this.port}` }
  get pid () { return this.child.pid }

  async start () {
    this.port ??= await freePort()
    const child = spawn(this.binary, ['serve', '--listen', `127.0.0.1:${this.port}`, '--data', this.data, ...this.args], {
      stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...this.env }
    })
    this.child = child
    this.ended = new Promise(resolve => {
      child.once('exit', (code, signal) => resolve({ code, signal }))
      child.once('error', error => resolve({ code: null, signal: null, error }))
    })
    let partial = ''
    child.stderr.setEncoding('utf8').on('data', text => {
      const lines = (partial + text).split('\n')
      partial = lines.pop()
      this.log = [...this.log, ...lines].slice(-linesKept)
      this.linesLogged += lines.length
      if (this.errorLines.length < linesKept) this.errorLines.push(...lines.filter(isError))
      this.leaks.push(...lines.filter(line => this.hasSecret(line)))
    })
    let ended = null
    this.ended.then(result => { ended = result })
    await until(`the server at port ${this.port} to be healthy`, async () => {
      if (ended !== null) return true
      return await this.isHealthy()
    }, { ms: 30_000 })
    if (ended !== null) throw new Error(`the server ended at its start (${ended.error?.message ?? `code ${ended.code}, signal ${ended.signal}`}):\n${this.log.slice(-5).join('\n')}`)
    return this
  }

  /** @returns {Promise<{connections: number, rooms: number}>} */
  async isHealthy () {
    if (this.certificate === undefined) {
      const response = await fetch(`http://127.0.0.1:${this.port}/health`)
      await response.arrayBuffer()
      return response.status === 200
    }
    return await new Promise((resolve, reject) => {
      const request = get(`https://localhost:${this.port}/health`, { ca: readFileSync(this.certificate) }, response => {
        response.resume()
        resolve(response.statusCode === 200)
      })
      request.once('error', reject)
    })
  }

  async health () {
    const response = await fetch(`http://127.0.0.1:${this.port}/health`)
    return (await response.json()).websocket
  }

  errors () { return this.errorLines }

  hasSecret (line) {
    const secrets = Object.entries(this.env).filter(([name]) => /SECRET$/.test(name)).map(([, value]) => value)
    return tokenOrKey.test(line) || [...secrets, ...this.neverLogged].some(secret => line.includes(secret))
  }

  residentBytes () {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))[1]) * 1024
  }

  /** As a power switch for the process: nothing is told to anybody. */
  async kill9 () {
    this.child.kill('SIGKILL')
    await this.ended
  }

  /** As an operator stops it. @returns {Promise<{code: number|null, signal: string|null}>} */
  async terminate () {
    this.child.kill('SIGTERM')
    return await within(35_000, 'the end of the server after SIGTERM', this.ended)
  }

  async dispose () {
    if (this.child !== null && this.child.exitCode === null && this.child.signalCode === null) await this.kill9()
    if (this.ownData) rmSync(this.data, { recursive: true, force: true })
  }
}

/** A server that somebody else started: for scenarios that neither restart it nor look at its process. */
export class ForeignServer {
  constructor (url) {
    this.url = url.replace(/\/$/, '')
    this.port = Number(new URL(url).port)
    this.canRestart = false
  }

  async start () { return this }
  errors () { return [] }
  async dispose () {}
}

/** A signed token, or an API key with its secret. */
const tokenOrKey = /eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*|concord_[a-z2-7]{12}_[\w-]{20,}/

function isError (line) { return /"level"\s*:\s*"ERROR"/.test(line) }

function freePort () {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}
