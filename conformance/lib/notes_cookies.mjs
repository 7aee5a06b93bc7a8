// What a browser keeps of a server's cookies and shows again: by name, until they end. With it a WebSocket as a page has it. Called by the clients of the
// notes dialect. One host only; it does not look at paths and sites.

import { readFileSync } from 'node:fs'
import WebSocket from 'ws'

export class CookieJar {
  constructor () {
    this.cookies = new Map() // name -> {value, endsMs, attributes}
  }

  /** @param {string} line of a Set-Cookie header */
  take (line) {
    const { name, value, attributes } = parseCookie(line)
    const endsMs = attributes['max-age'] !== undefined ? Date.now() + 1_000 * attributes['max-age'] : attributes.expires !== undefined ? Date.parse(attributes.expires) : Infinity
    if (endsMs <= Date.now()) this.cookies.delete(name)
    else this.cookies.set(name, { value, endsMs, attributes })
  }

  /** The Cookie header of the next request; undefined without one. */
  get header () {
    const live = [...this.cookies].filter(([, { endsMs }]) => endsMs > Date.now())
    return live.length === 0 ? undefined : live.map(([name, { value }]) => `${name}=${value}`).join('; ')
  }
}

/** @returns {{name: string, value: string, attributes: Record<string, string | true>}} attributes by their names in small letters */
export function parseCookie (line) {
  const [pair, ...rest] = line.split(';').map(part => part.trim())
  const at = pair.indexOf('=')
  const attributes = Object.fromEntries(
    rest.map(part => {
      const [name, ...value] = part.split('=')
      return [name.toLowerCase(), value.length === 0 ? true : value.join('=')]
    })
  )
  return { name: pair.slice(0, at), value: pair.slice(at + 1), attributes }
}

/** The WebSocket of a page of this origin: it takes and shows the cookies of the jar, with every connection. */
export function browserSocket ({ server, jar = new CookieJar(), origin = originOf(server) }) {
  return class BrowserSocket extends WebSocket {
    constructor (url, protocols) {
      const { header } = jar
      super(url, protocols, {
        origin,
        ...(header === undefined ? {} : { headers: { cookie: header } }),
        ...(server.certificate === undefined ? {} : { ca: readFileSync(server.certificate) })
      })
      this.on('error', () => {}) // a page whose listeners are gone is told nothing, and goes on
      BrowserSocket.opened.push({ protocols: protocols === undefined ? [] : [protocols].flat(), cookie: header })
      this.on('upgrade', response => {
        for (const line of response.headers['set-cookie'] ?? []) jar.take(line)
      })
    }

    /** Each attempt: what was offered, and with which cookies. */
    static opened = []
  }
}

/** The origin of a page that the server itself might have sent. */
export const originOf = server => server.url.replace(/^ws/, 'http')
