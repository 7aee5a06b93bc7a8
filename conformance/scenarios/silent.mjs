// Two minutes in which nobody says anything. A lone provider stays connected, with and without presence; a silent connection gets the
// empty awareness message; presence that is not renewed ends; a connection that died without a word is noticed.

import { Editor, versionNames } from '../lib/provider.mjs'
import { RawClient, awarenessMessage } from '../lib/raw_client.mjs'
import { pause, until } from '../lib/until.mjs'

export const name = 'silent'
export const seconds = 160

const silenceMs = 120_000
const keepAlive = '010100'
const pingMs = 30_000
const presenceMs = 30_000

export async function run ({ server: startServer, log }) {
  const server = await startServer()
  const room = kind => `${server.url}/silent/${process.pid}/${kind}`
  const started = performance.now()

  const editors = versionNames.flatMap(version => [true, false].map(awareness => new Editor(version, server.url, `silent/${process.pid}/${version}/${awareness}`, { awareness })))
  await Promise.all(editors.map(editor => editor.synced()))
  const listener = await RawClient.open(room('raw'))
  await listener.barrier()

  // Neither renews its presence, and the dead one answers no ping. The witness hears only what the server concludes.
  const witness = await RawClient.open(room('dead'))
  const dead = await RawClient.open(room('dead'), { autoPong: false })
  dead.send(awarenessMessage([{ id: 77, clock: 1, json: '{"n":1}' }]))
  const shows = present => frame => frame.isAwareness && frame.awareness.some(({ id, state }) => id === 77 && (state !== null) === present)
  await witness.frame('the presence of the one that dies', shows(true))
  await Promise.all([
    witness.frame('the null for presence that was not renewed', shows(false), { ms: presenceMs + 5000 }),
    until('the dead connection to be dropped', () => dead.closed, { ms: 2 * pingMs + 5000, everyMs: 100 })
  ])

  await pause(silenceMs - (performance.now() - started)) // the passing of time itself is what is tested here
  for (const { version, provider, connects } of editors) {
    const awareness = provider.awareness.getLocalState() === null ? 'without presence' : 'with presence'
    if (connects !== 1 || !provider.wsconnected) throw new Error(`provider ${version} ${awareness} was connected ${connects} times in ${silenceMs / 1000} s of silence`)
  }
  const kept = listener.frames.filter(frame => frame.hex === keepAlive).length
  if (kept < 4 || kept > 7) throw new Error(`a silent connection got ${kept} empty awareness messages in ${silenceMs / 1000} s; one after each 20 s of silence was expected`)
  log(`${editors.length} providers connected for ${silenceMs / 1000} s, ${kept} keep-alive messages`)
  for (const editor of editors) editor.destroy()
}
