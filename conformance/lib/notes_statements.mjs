// Statements about the notes dialect: gives each a user of its own, connections and calls of this user, and fails it when a server message would have been dropped by
// the app. Called by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { makeToken } from './access.mjs'
import { proveWithNames } from './any_editor_statements.mjs'
import { NotesClient } from './notes.mjs'
import { NotesApi } from './notes_http.mjs'

/**
 * As `proveWithNames`; each statement also gets
 * - `user`: a user that nobody else is, and `token` of this user,
 * - `connect(options)`: a connection whose first message has come,
 * - `join(options)`: one that has received the whole replay,
 * - `api(user)`: the HTTP calls, as this user.
 */
export function proveNotes (statements, options) {
  return proveWithNames(
    Object.fromEntries(
      Object.entries(statements).map(([what, holds]) => [
        what,
        async tools => {
          const { id: user, keep } = tools
          const token = makeToken({ userId: user })
          const connections = []
          const connect = async ({ server = tools.server, ...options } = {}) => {
            const client = keep(new NotesClient(server, { token, ...options }))
            connections.push(client)
            await client.some('a first message', () => true)
            return client
          }
          await holds({
            ...tools,
            user,
            token,
            connect,
            join: async options => await (await connect(options)).barrier(),
            api: (name = user, server = tools.server) => new NotesApi(server, { token: makeToken({ userId: name }) })
          })
          for (const { problems } of connections) assert.deepEqual(problems, [], 'messages that the app drops, or that no server may send (11.11)')
        }
      ])
    ),
    options
  )
}
