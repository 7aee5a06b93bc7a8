// Credentials for scenarios about access: tokens signed with node:crypto, API keys by the command line, the admin API, and an application that answers
// the server's questions. Knows nothing of rooms.

import { execFile } from 'node:child_process'
import { createHmac, sign } from 'node:crypto'
import { createServer } from 'node:http'
import { promisify } from 'node:util'
import WebSocket from 'ws'
import { until } from './until.mjs'

export const secret = 'conformance-secret-of-more-than-32-bytes'
export const now = () => Math.floor(Date.now() / 1000)

const part = value => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

const signers = {
  HS256: (text, key) => createHmac('sha256', key).update(text).digest(),
  RS256: (text, key) => sign('sha256', Buffer.from(text), key),
  ES256: (text, key) => sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
}

/** A token of these claims, with `iat` and an hour's `exp` unless they are given. */
export function makeToken (claims, { algorithm = 'HS256', key = secret, kid } = {}) {
  const text = `${part({ alg: algorithm, typ: 'JWT', kid })}.${part({ iat: now(), exp: now() + 3600, ...claims })}`
  return `${text}.${signers[algorithm](text, key).toString('base64url')}`
}

/** `concord …` beside a running server, with its data and environment. @returns {Promise<string>} what it prints */
export async function concord (server, ...args) {
  const { stdout } = await promisify(execFile)(server.binary, [...args, '--data', server.data], { env: { ...process.env, ...server.env } })
  return stdout.trim()
}

/** An API key by the command line, once the running server knows it. @returns {Promise<{id: string, key: string}>} */
export async function makeKey (server, ...args) {
  const [key, note] = (await concord(server, 'key', 'create', ...args)).split('\n')
  return { key, id: /^id ([^;]+);/.exec(note)[1] }
}

/** The admin API of a server that was started with CONCORD_ADMIN_LISTEN. */
export class Admin {
  static async of (server) {
    const admin = new Admin()
    const start = await until('the start of the server in its log', () => server.log.find(line => line.includes('"server.start"')))
    admin.url = `http://${JSON.parse(start).admin}`
    admin.key = (await makeKey(server, '--name', 'conformance', '--owner', 'conformance', '--scope', 'admin')).key
    await until('the admin key to count', async () => (await admin.ask('GET', '/api/admin/keys')).status === 200)
    return admin
  }

  /** @returns {Promise<{status: number, body: any}>} */
  async ask (method, path, body, { key = this.key } = {}) {
    const headers = key === null ? {} : { authorization: `Bearer ${key}` }
    const response = await fetch(this.url + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
    const text = await response.text()
    return { status: response.status, body: response.headers.get('content-type').startsWith('application/json') ? JSON.parse(text) : text }
  }

  /** As `ask`, for what must be done. */
  async do (method, path, body) {
    const { status, body: answer } = await this.ask(method, path, body)
    if (status !== 200) throw new Error(`${method} ${path} was answered with ${status} ${JSON.stringify(answer)}`)
    return answer
  }
}

/** A WebSocket as a browser opens it: with the cookies of the page. */
export const browser = (cookie, origin) => class extends WebSocket {
  constructor (url, protocols) { super(url, protocols, { headers: { cookie }, origin }) }
}

/** An HTTP server of the scenario, which can go down and come back at the same port. */
export class Application {
  /** @param {(request: {path: string, headers: object, body: string}) => {status?: number, body?: any} | Promise<{status?: number, body?: any}>} answer */
  constructor (answer) {
    this.answer = answer
    this.port = 0
    this.asked = 0
  }

  get url () { return `http://127.0.0.1:${this.port}` }

  async up () {
    this.server = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', text => { body += text })
      request.on('end', async () => {
        this.asked++
        const { status = 200, body: answer = {} } = await this.answer({ path: request.url, headers: request.headers, body })
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
      })
    })
    await new Promise((resolve, reject) => this.server.once('error', reject).listen(this.port, '127.0.0.1', resolve))
    this.port = this.server.address().port
    return this
  }

  async down () {
    if (!this.server.listening) return
    const closed = new Promise(resolve => this.server.close(resolve))
    this.server.closeAllConnections()
    await closed
  }
}
