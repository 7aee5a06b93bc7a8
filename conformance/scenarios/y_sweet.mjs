// The unmodified Y-Sweet client and SDK, and the frames and calls between them, in open and in signed mode. The statements are in y_sweet/.

import assert from 'node:assert/strict'
import { secret } from '../lib/access.mjs'
import { atOnce, inOrder, proveWithNames } from '../lib/any_editor_statements.mjs'
import { serverToken, signingKey } from '../lib/y_sweet.mjs'
import * as calls from '../y_sweet/calls.mjs'
import * as errors from '../y_sweet/errors.mjs'
import { Mode } from '../y_sweet/modes.mjs'
import * as provider from '../y_sweet/provider.mjs'
import * as restarts from '../y_sweet/restarts.mjs'
import * as syncStatus from '../y_sweet/sync_status.mjs'

export const name = 'y-sweet'
export const seconds = 150
export const needsBinary = true

const all = (...kinds) => Object.assign({}, ...kinds)

export async function run ({ server: startServer, seed, log }) {
  const [open, signed] = await Promise.all([false, true].map(isSigned => Mode.start(isSigned, startServer)))
  const made = [] // servers that statements have started, whose logs are looked at too
  const startKept = async options => made[made.push(await startServer(options)) - 1]
  for (const mode of [open, signed]) mode.startAnother = env => Mode.start(mode.isSigned, startKept, env)
  const withoutKey = await startServer({ env: { CONCORD_AUTH_SECRET: secret } })
  const [stranger, twin] = await Promise.all([
    Mode.start(true, startServer, { CONCORD_Y_SWEET_SIGNING_KEY: [...signingKey].reverse().join('') }),
    Mode.start(true, startServer)
  ])

  const inBothModes = all(calls.inBothModes, errors.inBothModes, syncStatus.inBothModes, provider.inBothModes)
  const tools = mode => ({ server: mode.server, mode, seed, log: text => log(`${mode.isSigned ? 'signed' : 'open'}: ${text}`) })
  const inEachOwn = all(calls.inEachOwn, syncStatus.inEachOwn, restarts.inEachOwn)
  await inOrder(
    () =>
      atOnce(
        proveWithNames(all(inBothModes, calls.openOnly), tools(open)),
        proveWithNames(all(inBothModes, calls.signedOnly, errors.signedOnly, syncStatus.signedOnly, provider.signedOnly), { ...tools(signed), stranger, twin }),
        proveWithNames(calls.withoutKey, { server: withoutKey, log })
      ),
    () => atOnce(proveWithNames(inEachOwn, tools(open)), proveWithNames(inEachOwn, tools(signed))),
    () => proveWithNames(provider.crowded, tools(signed))
  )
  for (const { log: lines } of [open.server, signed.server, stranger.server, twin.server, withoutKey, ...made]) {
    assert.ok(
      lines.every(line => !line.includes(serverToken) && !line.includes(signingKey)),
      'the server token or the signing key is in a log'
    )
  }
}
