// The json-yjs dialect: Yjs updates as JSON, one draft a socket, drafts that belong to firms. The statements are in json_yjs/.

import assert from 'node:assert/strict'
import { Admin, secret } from '../lib/access.mjs'
import { inOrder, proveWithNames } from '../lib/any_editor_statements.mjs'
import * as entry from '../json_yjs/entry.mjs'
import * as messages from '../json_yjs/messages.mjs'
import * as rest from '../json_yjs/rest.mjs'
import * as rights from '../json_yjs/rights.mjs'
import * as time from '../json_yjs/time.mjs'

export const name = 'json-yjs'
export const seconds = 150
export const needsBinary = true

export async function run ({ server: startServer, seed, log }) {
  const servers = []
  const start = async (env = {}) => servers[servers.push(await startServer({ env: { CONCORD_AUTH_SECRET: secret, ...env } })) - 1]
  const server = await start({ CONCORD_ADMIN_LISTEN: '127.0.0.1:0' })
  const admin = await Admin.of(server)
  await inOrder(
    () => proveWithNames({ ...entry.statements, ...rights.statements, ...messages.statements, ...rest.statements, ...time.together }, { server, admin, log }),
    () => proveWithNames({ ...entry.inEachOwn, ...time.inEachOwn }, { server, startServer: start, adminOf: one => Admin.of(one), seed, log })
  )
  const errors = servers.flatMap(one => one.errors())
  assert.deepEqual(errors, [], 'errors in a log of the server')
}
