// The statements of the Hocuspocus protocol: frame by frame, with the unmodified providers of both versions, and together with y-websocket providers. Each is a
// function in hocuspocus/ and has documents of its own; the servers differ in what they ask for and how much time they leave.

import { Admin, secret } from '../lib/access.mjs'
import { proveDocuments } from '../lib/hocuspocus_statements.mjs'
import { within } from '../lib/until.mjs'
import { statements as access } from '../hocuspocus/access.mjs'
import { statements as badInput } from '../hocuspocus/bad_input.mjs'
import { statements as documents } from '../hocuspocus/documents.mjs'
import { statements as editors } from '../hocuspocus/editors.mjs'
import { floodsLeaveNothing, hurriedStatements, hurry, statements as limits } from '../hocuspocus/limits.mjs'
import { statements as names } from '../hocuspocus/names.mjs'
import { statements as order } from '../hocuspocus/order.mjs'
import { statements as restarts } from '../hocuspocus/restarts.mjs'
import { freshness, freshnessStatements, statements as rights } from '../hocuspocus/rights.mjs'
import { statements as stateless } from '../hocuspocus/stateless.mjs'

export const name = 'hocuspocus'
export const seconds = 180
export const needsBinary = true

const statementMs = 90_000

export async function run (context) {
  // What one part fails with is told at its end; the others are proved whatever becomes of it.
  const failures = []
  const part = async act => { try { await act() } catch (error) { failures.push(error.message) } }
  await Promise.all([open, restarted, asked, fresh].map(act => part(() => act(context, part))))
  // Alone, because it is about short times.
  await part(() => hurried(context))
  if (failures.length > 0) throw new Error(failures.join('; '))
}

/** Whoever comes may write. */
async function open ({ server: startServer, log, seed }, part) {
  const server = await startServer()
  for (const [theme, statements] of Object.entries({ order, badInput, names, documents, stateless, limits, editors })) {
    await part(() => proveDocuments(theme, statements, { server, log, seed }))
  }
  await floodsLeaveNothing({ server, log })
}

async function asked ({ server: startServer, log }) {
  const server = await startServer({ env: { CONCORD_AUTH_SECRET: secret, CONCORD_ADMIN_LISTEN: '127.0.0.1:0' } })
  await proveDocuments('access', { ...access, ...rights }, { server, log, admin: await Admin.of(server) })
}

async function hurried ({ server: startServer, log }) {
  await proveDocuments('hurried', hurriedStatements, { server: await startServer({ env: hurry }), log })
}

async function fresh ({ server: startServer, log }) {
  const server = await startServer({ env: { CONCORD_AUTH_SECRET: secret, ...freshness.env } })
  await proveDocuments('fresh tokens', freshnessStatements, { server, log })
}

async function restarted ({ server: startServer, log, seed }) {
  const server = await startServer()
  const failures = []
  for (const [i, [statement, holds]] of Object.entries(restarts).entries()) {
    try {
      await within(statementMs, 'the statement', holds({ server, seed, log, room: `restarts/${process.pid}/${i}` }))
    } catch (error) {
      failures.push(statement)
      log(`restarts: does not hold: ${statement}\n    ${(process.env.CONFORMANCE_STACKS ? error.stack : error.message).replaceAll('\n', '\n    ')}`)
    }
  }
  log(`restarts: ${Object.keys(restarts).length - failures.length} of ${Object.keys(restarts).length} statements hold`)
  if (failures.length > 0) throw new Error(`${failures.length} statements do not hold`)
}
