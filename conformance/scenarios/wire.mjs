// The statements of the y-websocket protocol, one by one, frame by frame. Each is a function in wire/ and has rooms of its own.

import { RawClient } from '../lib/raw_client.mjs'
import { within } from '../lib/until.mjs'
import * as badInput from '../wire/bad_input.mjs'
import * as presence from '../wire/presence.mjs'
import * as restarts from '../wire/restarts.mjs'
import * as rooms from '../wire/rooms.mjs'
import * as updates from '../wire/updates.mjs'

export const name = 'wire'
export const seconds = 180

const statementMs = 20_000

export async function run ({ server: startServer, log }) {
  const server = await startServer()
  const failures = []
  let count = 0
  for (const { statements, needsRestart } of [rooms, updates, presence, badInput, restarts]) {
    if (needsRestart && !server.canRestart) continue
    for (const [statement, holds] of Object.entries(statements)) {
      const room = `wire/${process.pid}/${count++}`
      const clients = []
      const open = async (url = `${server.url}/${room}`, options) => {
        const client = await RawClient.open(url, options)
        clients.push(client)
        return client
      }
      try {
        await within(statementMs, 'the statement', holds({ server, room, open }))
      } catch (error) {
        failures.push(statement)
        log(`does not hold: ${statement}\n    ${error.message.replaceAll('\n', '\n    ')}`)
      }
      for (const client of clients) client.terminate()
    }
  }
  log(`${count - failures.length} of ${count} statements hold`)
  const errors = server.errors()
  if (errors.length > 0) log(`errors in the server's log: ${errors[0]}`)
  if (failures.length > 0) throw new Error(`${failures.length} statements do not hold`)
}
