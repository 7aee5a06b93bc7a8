// The console of a room database in two browsers, each with a session of its own: one makes a table, both insert, each sees at once what the other does and where
// the other is; a live query; the server restarts in between. Screenshots go to the folder CONFORMANCE_SCREENSHOTS, else to a temporary one.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { whatIsMissing } from '../lib/browser.mjs'
import { buildPages, servePages } from '../lib/browser_files.mjs'
import { cookieName, password } from '../lib/room_db_accounts.mjs'
import { ConsoleWindow } from '../lib/room_db_window.mjs'

export const name = 'console-page'
export const seconds = 120
export const needsBinary = true

const backMs = 30_000 // the wrapper tries every 3 s
const counted = 'SELECT city, COUNT(*) AS n FROM people GROUP BY city'

const open = []

export async function run ({ server: startServer, log }) {
  const missing = whatIsMissing()
  if (missing !== undefined) return missing
  buildPages()
  const pages = await servePages()
  open.push(pages)
  const server = await startServer({ env: { CONCORD_ORIGINS_ALLOWED: pages.address.replace(/\/$/, '') } })
  const screenshots = screenshotFolder()
  const [ann, ben] = [new ConsoleWindow({ user: 'Ann', color: '#b42318' }), new ConsoleWindow({ user: 'Ben', color: '#175cd3' })]
  const both = act => Promise.all([ann, ben].map(act))
  open.push(ann, ben)

  await both(window => window.open(`${pages.address}console.html`, { server: server.url, room: 'console' }))
  await both(async window => {
    await window.shows('the form', ({ signedIn }) => !signedIn)
    await window.signUp(`${window.user.toLowerCase()}@people.example`, password)
    await window.shows('both people, connected', ({ state, people }) => state === 'connected' && people.join() === 'Ann,Ben')
  })
  for (const window of [ann, ben]) {
    const cookie = (await window.cookies()).find(({ name }) => name === cookieName)
    assert.ok(cookie !== undefined && cookie.httpOnly, 'the session is a cookie that no script reads')
  }

  await ann.create('people', 'name, city, age INTEGER')
  await ann.shows('the new table, in which she is', ({ tables, table }) => tables.join() === 'people,tasks' && table === 'people')
  await ben.shows('the new table', ({ tables, table }) => tables.join() === 'people,tasks' && table === 'tasks')
  await ben.choose('people')
  await ben.shows('it', ({ table }) => table === 'people')
  await ben.watch(counted)
  await ann.insert({ name: 'Mia', city: 'Bern', age: '31' })
  await ben.insert({ name: 'Jan', city: 'Oslo', age: '45' })
  await ann.insert({ name: 'Eva', city: 'Oslo', age: '27' })
  const rows = [['1', 'Mia', 'Bern', '31'], ['2', 'Jan', 'Oslo', '45'], ['3', 'Eva', 'Oslo', '27']]
  await both(window => window.shows('three rows and their changes', seen =>
    seen.changes.length === 3 && seen.changes.every(change => change.startsWith('addedpeople: ')) && seen.rows.map(([, ...row]) => row.join()).sort().join(';') === rows.map(([, ...row]) => row.join()).sort().join(';')))
  await ben.shows('the live result', ({ result }) => JSON.stringify(result) === '[["Bern","1"],["Oslo","2"]]')

  await ann.point('Mia')
  await ben.point('45')
  const isOn = (name, color, on) => ({ cursors }) => cursors.length === 1 && cursors[0].name === name && cursors[0].color === color && cursors[0].on === on && cursors[0].visible
  await ben.shows('where Ann is', isOn('Ann', ann.color, 'Mia'))
  await ann.shows('where Ben is', isOn('Ben', ben.color, '45'))

  for (const window of [ann, ben]) window.serverMayBeAway = true
  await server.kill9()
  await both(window => window.shows('that it is not connected', ({ state }) => state === 'connecting'))
  await server.start()
  const began = performance.now()
  await both(window => window.shows('that it is connected again, with both people and their places', ({ state, people, cursors }) => state === 'connected' && people.length === 2 && cursors.length === 1, { ms: backMs }))
  log(`both are back ${((performance.now() - began) / 1_000).toFixed(1)} s after the server`)
  for (const window of [ann, ben]) window.serverMayBeAway = false
  await ann.insert({ name: 'Leo', city: 'Bern', age: '52' })
  await both(window => window.shows('the fourth row', seen => seen.rows.length === 4 && seen.changes[0].includes('Leo')))
  await ben.shows('the live result', ({ result }) => JSON.stringify(result) === '[["Bern","2"],["Oslo","2"]]')
  await ann.watch(counted)
  await ann.shows('the live result', ({ result }) => result.length === 2)
  await both(window => window.screenshot(join(screenshots, `console-${window.user.toLowerCase()}.png`)))

  await ann.reload()
  await ann.shows('the same rows after a reload, without signing in', ({ signedIn, rows, state }) => signedIn && state === 'connected' && rows.length === 4)
  for (const window of [ann, ben]) {
    window.hadNoProblems()
    assert.deepEqual((await window.look()).problems, [])
  }
  await both(window => window.close())
  assert.deepEqual(server.errors(), [], 'errors in the log of the server')
  log(`screenshots are in ${screenshots}`)
}

function screenshotFolder () {
  const folder = process.env.CONFORMANCE_SCREENSHOTS
  if (folder === undefined) return mkdtempSync(join(tmpdir(), 'concord-screenshots-'))
  mkdirSync(folder, { recursive: true })
  return resolve(folder)
}

/** Also after a failure, and when the time was over. */
export async function cleanUp () {
  await Promise.all(open.map(one => one.close()))
}
