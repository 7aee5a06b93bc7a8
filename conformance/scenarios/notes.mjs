// The notes dialect: whole notes as JSON, newest wins, one notebook a user; with the token in the subprotocol, the cookie, and REST. The statements are in notes/.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin } from '../lib/access.mjs'
import { atOnce, inOrder } from '../lib/any_editor_statements.mjs'
import { proveNotes } from '../lib/notes_statements.mjs'
import * as administration from '../notes/admin.mjs'
import * as badInput from '../notes/bad_input.mjs'
import * as entry from '../notes/entry.mjs'
import * as joining from '../notes/joining.mjs'
import * as kills from '../notes/kills.mjs'
import * as limits from '../notes/limits.mjs'
import * as messages from '../notes/messages.mjs'
import * as random from '../notes/random.mjs'
import * as rest from '../notes/rest.mjs'
import * as storage from '../notes/storage.mjs'
import * as time from '../notes/time.mjs'

export const name = 'notes'
export const seconds = 300
export const needsBinary = true

/** Nothing that a client shows to get in is in a log, at its most talkative. */
const neverLogged = ['token-', 'notes_session']
const strict = { ...time.withTokens, CONCORD_AUTH_LEEWAY_S: '0', CONCORD_LOG_LEVEL: 'trace' }

export async function run ({ server: startServer, seed, log }) {
  const servers = []
  const start = async (env = {}, more = {}) => servers[servers.push(await startServer({ env: { ...time.withTokens, ...env }, neverLogged, ...more })) - 1]
  const open = await startServer({ neverLogged })
  const server = await start({ ...strict, CONCORD_ADMIN_LISTEN: '127.0.0.1:0' })
  const admin = await Admin.of(server)
  const options = { server, startServer: start, admin, seed, log }
  const all = inOrder(
    () => proveNotes(entry.withTokens, options),
    () => oneByOne(entry.withoutTokens, { server: open, log }),
    async () => proveNotes(entry.withListedOrigins, { ...options, server: await start({ CONCORD_ORIGINS_ALLOWED: entry.page }) }),
    () => overTls(start, log),
    () => proveNotes({ ...messages.statements, ...messages.outcomes, ...messages.marks, ...messages.races }, options),
    () => proveNotes(badInput.statements, options),
    () => proveNotes({ ...joining.statements, ...rest.statements }, options),
    () => proveNotes({ ...limits.statements, ...administration.statements }, options),
    () => oneByOne({ ...messages.alone, ...limits.alone }, options),
    () => proveNotes({ ...time.heartbeats, ...random.statements }, options),
    () => proveNotes(storage.statements, options),
    () => proveNotes(kills.statements, options)
  )
  await atOnce(all, proveNotes(storage.slow, options))
  const metrics = await admin.ask('GET', '/metrics')
  assert.equal(metrics.status, 200)
  for (const secret of neverLogged) assert.ok(!metrics.body.includes(secret), `${secret} is in the metrics`)
  assert.ok(server.linesLogged > 0)
  // Where the disk was full, and where a kill came in the middle of a write.
  const isExpected = (one, line) => (!one.ownData && line.includes('storage failed')) || line.includes('torn off at the end of the log')
  const errors = [open, ...servers].flatMap(one => one.errors().filter(line => !isExpected(one, line)))
  assert.deepEqual(errors, [], 'errors in a log of the server')
}

/** Those that share something, or measure time. */
const oneByOne = (statements, options) => inOrder(...Object.entries(statements).map(([what, holds]) => () => proveNotes({ [what]: holds }, options)))

async function overTls (start, log) {
  if (spawnSync('openssl', ['version']).status !== 0) return log('without the command openssl, nothing is shown about TLS')
  const folder = mkdtempSync(join(tmpdir(), 'concord-notes-tls-'))
  try {
    const [certificate, key] = ['certificate.pem', 'key.pem'].map(file => join(folder, file))
    const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate], { encoding: 'utf8' })
    assert.equal(made.status, 0, made.stderr)
    const server = await start({ CONCORD_TLS_CERTIFICATE: certificate, CONCORD_TLS_KEY: key })
    await proveNotes(entry.withTls, { server, log, trusting: { ca: readFileSync(certificate) } })
    await server.terminate() // before its certificate goes
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Also after a failure: what is on a disk of its own. */
export const cleanUp = async () => storage.unmountAll()
