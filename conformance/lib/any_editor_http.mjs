// HTTP requests as they are on the wire: with any Host, any method, and as an upgrade that may be refused. Called by the scenarios; `fetch` allows none of
// the three.

import { randomBytes } from 'node:crypto'
import { request } from 'node:http'

/**
 * @param {{port: number}} server
 * @param {{headers?: Record<string, string>, body?: Uint8Array | string, waits?: boolean}} options `waits`: the body is sent when the server says that it goes
 * on reading, or after a second, so that an answer from the headers alone is not lost
 * @returns {Promise<Answer>}
 */
export function ask (server, method, path, { headers = {}, body, waits = false } = {}) {
  return new Promise((resolve, reject) => {
    const asked = request({
      host: '127.0.0.1',
      port: server.port,
      method,
      path,
      headers: {
        ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
        ...(waits ? { expect: '100-continue' } : {}),
        ...headers
      },
      agent: false
    })
    asked.once('upgrade', (response, socket) => {
      socket.destroy()
      resolve(new Answer(response, []))
    })
    asked.once('response', response => {
      const parts = []
      response.on('data', part => parts.push(part))
      response.once('end', () => resolve(new Answer(response, parts)))
      response.once('error', reject)
    })
    asked.once('error', reject)
    if (!waits) return asked.end(body)
    const timer = setTimeout(() => asked.end(body), 1_000)
    asked.once('response', () => clearTimeout(timer))
    asked.once('continue', () => {
      clearTimeout(timer)
      asked.end(body)
    })
    asked.flushHeaders()
  })
}

/** What a WebSocket's first request is answered with; 101 is hung up at once. */
export const askUpgrade = (server, path, headers = {}) =>
  ask(server, 'GET', path, {
    headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64'), ...headers }
  })

class Answer {
  constructor (response, parts) {
    this.status = response.statusCode
    this.headers = response.headers
    this.bytes = new Uint8Array(Buffer.concat(parts))
  }

  get text () {
    return Buffer.from(this.bytes).toString()
  }
  get json () {
    return JSON.parse(this.text)
  }
  get type () {
    return this.headers['content-type'] ?? ''
  }
}
