// Many statements about one server, proved side by side: each is a function with a room of its own. Called by the scenarios about access, where a
// refusal alone takes the seconds for which the server holds the refused.

import assert from 'node:assert/strict'
import { Editor, versionNames } from './provider.mjs'
import { RawClient } from './raw_client.mjs'
import { until, within } from './until.mjs'

const heldMs = 3_000 // for which the server holds whoever is refused
const earlyMs = 100 // timers of two processes

const warn = console.warn
const denials = [] // [room, reason]
let proofs = 0

/** Providers tell of a denial by a warning, and in no other way. */
function heed (text) {
  const [, url, reason] = /^Permission denied to access (.*)\.\n(.*)$/.exec(text) ?? []
  if (url === undefined) warn(text)
  else denials.push([decodeURIComponent(new URL(url).pathname.slice(1)), reason])
}

/**
 * Runs all statements at the same time; fails when one does not hold.
 * @param {Record<string, (tools: object) => Promise<void>>} statements
 */
export async function prove (statements, { server, log, ms = 60_000, ...more }) {
  if (proofs++ === 0) console.warn = heed
  const names = Object.keys(statements)
  try {
    const results = await Promise.all(names.map(async (statement, i) => {
      const room = `${names.length}-statements/${process.pid}/${i}`
      const used = []
      const keep = one => used[used.push(one) - 1]
      const tools = {
        server,
        room,
        ...more,
        /** A provider. */
        edit: (version, options) => keep(new Visitor(version, server.url, options.room ?? room, options)),
        /** A client that speaks frame by frame. */
        open: async (options, name = room) => keep(await RawClient.open(`${server.url}/${name}`, options)),
        /** The reasons of denials that providers were told in a room. */
        denials: name => denials.filter(([denied]) => denied === name).map(([, reason]) => reason)
      }
      try {
        await within(ms, 'the statement', statements[statement](tools))
        return null
      } catch (error) {
        log(`does not hold: ${statement}\n    ${(process.env.CONFORMANCE_STACKS ? error.stack : error.message).replaceAll('\n', '\n    ')}`)
        return statement
      } finally {
        for (const one of used) one.terminate()
      }
    }))
    const failures = results.filter(result => result !== null)
    log(`${names.length - failures.length} of ${names.length} statements hold`)
    if (failures.length > 0) throw new Error(`${failures.length} statements do not hold`)
  } finally {
    if (--proofs === 0) console.warn = warn
  }
}

/** An editor that keeps how its connections ended. */
class Visitor extends Editor {
  constructor (version, url, room, { room: _, token, ...options } = {}) {
    super(version, url, room, { params: token === undefined ? {} : { token }, ...options })
    /** {code, reason, atMs} of each connection that the server has closed. */
    this.ends = []
    /** What 3.1 says when it gives up. */
    this.gaveUp = null
    this.provider.on('connection-close', event => { if (event !== null) this.ends.push({ code: event.code, reason: event.reason, atMs: performance.now() }) })
    this.provider.on('closed', why => { this.gaveUp = why })
  }

  get text () { return this.get('t').toString() }
  /** Since 3.1, codes from 4400 to 4499 are the end. */
  get knowsTheEnd () { return this.version.startsWith('3.1') }
  type (text) { this.get('t').insert(this.get('t').length, text) }
  terminate () { this.destroy() }
}

/** The same with each version of the provider, at the same time. */
export const each = act => Promise.all(versionNames.map(act))

/** The server closes the editor's connection with this code and reason. */
export async function ended (editor, code, reason, ms) {
  const end = await until(() => `provider ${editor.version} to be closed with ${code} ${reason}; it was closed ${JSON.stringify(editor.ends)}`,
    () => editor.ends.find(end => end.code === code && end.reason === reason), { ms })
  if (editor.knowsTheEnd && code >= 4400 && code < 4500) assert.deepEqual(editor.gaveUp, { code, reason }, 'what `closed` was emitted with')
  return end
}

/** A provider is refused: 3.1 gives up at once, older ones come back, but not before they have been held. */
export async function refused (editor, code, reason) {
  const began = performance.now()
  await ended(editor, code, reason)
  if (editor.knowsTheEnd) {
    assert.equal(editor.provider.shouldConnect, false, 'provider 3.1 stops')
  } else {
    await until(`provider ${editor.version} to be refused again`, () => editor.ends.length >= 2)
    const [first, second] = editor.ends
    assert.equal(second.code, code)
    assert.ok(second.atMs - first.atMs >= heldMs - earlyMs, `provider ${editor.version} was sent away ${second.atMs - first.atMs} ms after the last time`)
    assert.ok(editor.connects <= 3, `provider ${editor.version} connected ${editor.connects} times in ${performance.now() - began} ms`)
  }
  assert.equal(editor.provider.synced, false)
  assert.equal(editor.text, '', 'nothing of the document reached somebody who was refused')
}
