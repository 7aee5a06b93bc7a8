// Two minutes in which nobody says anything. A lone provider stays connected, with and without presence, in both dialects of the stock providers; a silent
// connection gets the empty awareness message; presence that is not renewed ends; a connection that died without a word is noticed.

import { HocuspocusEditor, versionNames as hocuspocusVersions } from '../lib/hocuspocus.mjs'
import { RawHocuspocus } from '../lib/hocuspocus_client.mjs'
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
  const documents = hocuspocusVersions.flatMap(version => [true, false].map(awareness => new HocuspocusEditor(version, server.url, `silent/${process.pid}/hocuspocus/${version}/${awareness}`, { awareness })))
  await Promise.all([...editors, ...documents].map(editor => editor.synced()))
  const listener = await RawClient.open(room('raw'))
  await listener.barrier()
  const reader = await RawHocuspocus.open(`${server.url}/`)
  await reader.enter('silent', { version: null })

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
  for (const { told, connects, closings, forbidden, status, provider } of documents) {
    const awareness = provider.awareness === null ? 'without presence' : 'with presence'
    if (connects !== 1 || closings.length > 0 || status !== 'connected') throw new Error(`${told}; ${awareness} it was connected ${connects} times in ${silenceMs / 1000} s of silence`)
    if (forbidden.length > 0) throw new Error(`${told}; it got messages that it must never get: ${forbidden}`)
  }
  const kept = listener.frames.filter(frame => frame.hex === keepAlive).length
  const keptReader = reader.messages.filter(message => message.hex === `0673696c656e74${keepAlive}`).length
  for (const [who, count] of [['a silent connection', kept], ['a silent Hocuspocus connection of 3.x', keptReader]]) {
    if (count < 4 || count > 7) throw new Error(`${who} got ${count} empty awareness messages in ${silenceMs / 1000} s; one after each 20 s of silence was expected`)
  }
  log(`${editors.length + documents.length} providers connected for ${silenceMs / 1000} s, ${kept} and ${keptReader} keep-alive messages`)
  for (const editor of [...editors, ...documents]) editor.destroy()
}
