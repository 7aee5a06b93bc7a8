// People of room databases: they sign up and in over HTTP, keep the cookie as a browser does, and make API keys. Called by the scenarios and by
// bench/room_db.mjs. Opens no socket; says only with what one is opened.

import { ask } from './any_editor_http.mjs'

export const cookieName = 'better-auth.session_token'
export const password = 'correct horse battery staple'

/** A request with a JSON body. @returns {Promise<{status: number, headers: object, text: string, json: any}>} */
export const post = (server, path, body, headers = {}) =>
  ask(server, 'POST', path, { headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body) })

/** The cookies that an answer sets, by name, with their attributes in lower case. */
export function cookiesOf (answer) {
  return Object.fromEntries((answer.headers['set-cookie'] ?? []).map(line => {
    const [pair, ...attributes] = line.split(';').map(part => part.trim())
    const end = pair.indexOf('=')
    return [pair.slice(0, end), { value: pair.slice(end + 1), attributes: attributes.map(attribute => attribute.toLowerCase()) }]
  }))
}

const own = server => `http://127.0.0.1:${server.port}`

/** Who is signed in, with one session; `origin` is the page from which they act, one of the server's own unless something else is said. */
export class Account {
  constructor (server, email, answer, origin) {
    if (answer.status !== 200) throw new Error(`${email} could not sign up or in: ${answer.status} ${answer.text}`)
    this.server = server
    this.email = email
    this.origin = origin
    this.user = answer.json.user
    this.token = answer.json.token
    const cookie = cookiesOf(answer)[cookieName]
    if (cookie === undefined) throw new Error(`no cookie ${cookieName} for ${email}: ${JSON.stringify(answer.headers['set-cookie'])}`)
    this.cookie = `${cookieName}=${cookie.value}`
  }

  static async signUp (server, name, { email = `${name}@people.example`, origin = own(server) } = {}) {
    return new Account(server, email, await post(server, '/api/auth/sign-up/email', { name, email, password }, { origin }), origin)
  }

  static async signIn (server, email, { origin = own(server) } = {}) {
    return new Account(server, email, await post(server, '/api/auth/sign-in/email', { email, password }, { origin }), origin)
  }

  get id () { return this.user.id }
  get parameters () { return {} }
  /** As the page asks, and as it opens a socket. */
  get headers () { return { cookie: this.cookie, origin: this.origin } }
  get socketOptions () { return { headers: { cookie: this.cookie }, origin: this.origin } }

  get (path) { return ask(this.server, 'GET', path, { headers: this.headers }) }
  post (path, body) { return post(this.server, path, body, this.headers) }
  signOut () { return this.post('/api/auth/sign-out', {}) }

  /** @returns {Promise<Key>} */
  async makeKey (spec = {}) {
    const answer = await this.post('/api/keys/generate', spec)
    if (answer.status !== 200) throw new Error(`no key for ${this.email}: ${answer.status} ${answer.text}`)
    return new Key(answer.json.id, answer.json)
  }
}

/** An API key, as a parameter of the address. */
export class Key {
  constructor (text, answer = {}) {
    this.text = text
    this.answer = answer
  }

  get parameters () { return { key: this.text } }
  get socketOptions () { return {} }
}

/** Everybody who takes part on one server. Each signs up when first asked for; statements share people, but not rooms. */
export class People {
  constructor (server) {
    this.server = server
    this.known = new Map()
  }

  /** @returns {Promise<Account>} */
  get (name) {
    if (!this.known.has(name)) this.known.set(name, Account.signUp(this.server, name))
    return this.known.get(name)
  }
}

/** What administrators decide about rooms of databases. */
export class Rights {
  /** @param {import('./access.mjs').Admin} admin */
  constructor (admin) { this.admin = admin }

  /** @param {{read: boolean, write: boolean}} right */
  permit (room, user, table, { read = false, write = false }) { return this.do('PUT', room, ['permissions', user, table], { can_read: read, can_write: write }) }
  forbid (room, user, table) { return this.do('DELETE', room, ['permissions', user, table]) }
  protect (room, table) { return this.do('PUT', room, ['protected', table], {}) }
  unprotect (room, table) { return this.do('DELETE', room, ['protected', table]) }
  do (method, room, parts, body) { return this.admin.do(method, ['/api/admin/databases', ...[room, ...parts].map(encodeURIComponent)].join('/'), body) }
}
