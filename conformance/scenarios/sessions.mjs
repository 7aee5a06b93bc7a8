// The sessions dialect: raw Yjs updates and JSON about who is there, in development and in production mode. The statements are in sessions/.

import assert from 'node:assert/strict'
import { Admin, secret } from '../lib/access.mjs'
import { inOrder, proveWithNames } from '../lib/any_editor_statements.mjs'
import * as entry from '../sessions/entry.mjs'
import * as messages from '../sessions/messages.mjs'
import * as time from '../sessions/time.mjs'

export const name = 'sessions'
export const seconds = 150
export const needsBinary = true

export async function run ({ server: startServer, seed, log }) {
  const servers = []
  const start = async (env = {}) => servers[servers.push(await startServer({ env })) - 1]
  const [development, production] = [await start(), await start({ CONCORD_AUTH_SECRET: secret, CONCORD_ADMIN_LISTEN: '127.0.0.1:0' })]
  const admin = await Admin.of(production)
  await inOrder(
    () => proveWithNames({ ...entry.inDevelopment, ...messages.inDevelopment, ...time.together }, { server: development, log }),
    () => proveWithNames(entry.inProduction, { server: production, admin, log }),
    () => proveWithNames({ ...entry.inEachOwn, ...time.inEachOwn }, { server: development, startServer: start, seed, log })
  )
  const errors = servers.flatMap(one => one.errors())
  assert.deepEqual(errors, [], 'errors in a log of the server')
}
