// Room databases: a SQL database in each room, for consoles with a session and programs with a key. The statements are in room_db/.

import assert from 'node:assert/strict'
import { Admin } from '../lib/access.mjs'
import { atOnce, inOrder, proveWithNames } from '../lib/any_editor_statements.mjs'
import { People, Rights } from '../lib/room_db_accounts.mjs'
import { byMallory } from '../room_db/attacks.mjs'
import { inEachOwnChanges, onChanges } from '../room_db/changes.mjs'
import { inAMinute, inEachOwnClosing, inSilence, onClosing } from '../room_db/closing.mjs'
import { atTheDoor, ofOwners, ofStrangers } from '../room_db/entry.mjs'
import { inEachOwnHttp, overHttp } from '../room_db/http.mjs'
import { inEachOwnMemory, inMemory, inTime } from '../room_db/memory.mjs'
import { inMessages } from '../room_db/messages.mjs'
import { onLongQueries, onQueries } from '../room_db/queries.mjs'
import { atRandom } from '../room_db/random_calls.mjs'
import { onConsoles, onKills } from '../room_db/restarts.mjs'
import { onRights } from '../room_db/rights.mjs'
import { inEachOwnStorage } from '../room_db/storage.mjs'
import { onTables } from '../room_db/tables.mjs'
import { onTasks } from '../room_db/tasks.mjs'

export const name = 'room-db'
export const seconds = 280
export const needsBinary = true

const minutesMs = 120_000 // of statements that wait for the server's own times

export async function run ({ server: startServer, seed, log }) {
  const servers = []
  const start = async (env = {}) => servers[servers.push(await startServer({ env })) - 1]
  const furnished = async env => {
    const server = await start({ CONCORD_ADMIN_LISTEN: '127.0.0.1:0', ...env })
    const people = new People(server)
    const admin = await Admin.of(server)
    const annsKey = people.get('ann').then(ann => ann.makeKey({ name: 'of ann', scopes: ['read', 'write', 'admin'] }))
    return { server, people, admin, rights: new Rights(admin), annsKey, startServer: start, seed, log }
  }
  const [open, owned] = [await furnished(), await furnished({ CONCORD_ROOMS_ACCESS: 'owner' })]
  // What waits does so beside what works; what wants a core for itself comes one after the other.
  await atOnce(
    proveWithNames({ ...inAMinute, ...inTime, ...inSilence }, { ...open, ms: minutesMs }),
    proveWithNames(ofOwners, { ...owned, ms: minutesMs }),
    inOrder(
      () => proveWithNames(atTheDoor, open),
      () => proveWithNames(overHttp, open),
      () => proveWithNames(inMessages, open),
      () => proveWithNames({ ...onTasks, ...onQueries }, open),
      () => proveWithNames(onTables, open),
      () => proveWithNames({ ...inMemory, ...onRights }, open),
      () => proveWithNames({ ...onChanges, ...atRandom }, open),
      ...Object.entries(onClosing).map(([what, holds]) => () => proveWithNames({ [what]: holds }, open)),
      ...Object.entries(onLongQueries).map(([what, holds]) => () => proveWithNames({ [what]: holds }, open)),
      () => proveWithNames(byMallory, { ...open, ms: minutesMs }),
      () => proveWithNames({ ...ofStrangers, ...inEachOwnHttp, ...inEachOwnMemory, ...inEachOwnClosing, ...inEachOwnStorage }, open),
      () => proveWithNames(inEachOwnChanges, open),
      () => proveWithNames(onConsoles, open),
      () => proveWithNames(onKills, { ...open, ms: minutesMs })
    )
  )
  assert.deepEqual(servers.flatMap(one => one.errors()), [], 'errors in a log of the server')
}
