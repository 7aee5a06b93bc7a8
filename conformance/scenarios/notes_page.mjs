// The notes page in two browsers of one user: changes both ways, a deletion, a server that is killed while both write the same note, and the way back with
// nothing but the cookie. Screenshots go to the folder CONFORMANCE_SCREENSHOTS, else to a temporary one.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { makeToken, secret } from '../lib/access.mjs'
import { whatIsMissing } from '../lib/browser.mjs'
import { buildPages, servePages } from '../lib/browser_files.mjs'
import { NotesWindow } from '../lib/notes_window.mjs'

export const name = 'notes-page'
export const seconds = 150
export const needsBinary = true

const backMs = 40_000 // with the longest pause of the client before it comes back, 30 s
const opened = []
const keep = one => opened[opened.push(one) - 1]

export async function run ({ server: startServer, log }) {
  const missing = whatIsMissing()
  if (missing !== undefined) return missing
  const folder = process.env.CONFORMANCE_SCREENSHOTS === undefined ? mkdtempSync(join(tmpdir(), 'concord-screenshots-')) : resolve(process.env.CONFORMANCE_SCREENSHOTS)
  mkdirSync(folder, { recursive: true })
  buildPages()
  const pages = keep(await servePages())
  // The page comes from another port than the server, so its origin has to be listed for the cookie to count.
  const server = await startServer({ env: { CONCORD_AUTH_SECRET: secret, CONCORD_ORIGINS_ALLOWED: new URL(pages.address).origin }, neverLogged: ['token-', 'notes_session'] })
  const token = makeToken({ userId: 'ann' })
  const [laptop, phone] = [keep(new NotesWindow('the laptop', '#175cd3')), keep(new NotesWindow('the phone', '#b42318'))]
  const both = act => Promise.all([laptop, phone].map(act))
  const screenshot = moment => both(window => window.screenshot(join(folder, `notes-${window.author.user.split(' ')[1]}-${moment}.png`)))
  await both(window => window.open(pages.address, server, token))

  await live(laptop, phone)
  await screenshot('live')
  await withoutServer({ laptop, phone, server, screenshot, log })
  await screenshot('back')

  for (const window of [laptop, phone]) {
    const [first, ...later] = window.offers
    assert.equal(first, `token-${token}`)
    assert.ok(later.length > 0 && later.every(offer => offer === undefined), `the token is offered once, and never again: ${later}`)
    // Authentication is on, so who came back without a token has shown the cookie.
    assert.deepEqual(await window.cookies(), { kept: [{ name: 'notes_session', httpOnly: true, path: '/', sameSite: 'Lax' }], readable: '' })
    assert.deepEqual((await window.look()).dropped, [])
    window.hadNoProblems()
  }
  log(`screenshots are in ${folder}`)
}

async function live (laptop, phone) {
  await laptop.write('Groceries', 'home, shop', 'milk\nbread')
  await phone.hasNote('Groceries', ({ tags }) => tags === 'home, shop')
  await phone.pick('Groceries')
  await phone.reads('milk\nbread')
  await phone.append('\neggs')
  await laptop.reads('milk\nbread\neggs')
  await phone.write('Trip to Lisbon', 'travel', 'book the train\nask Ben for the keys')
  await laptop.write('An idea from last year', '', 'nobody needs this')
  await laptop.hasNote('Trip to Lisbon')
  await phone.hasNote('An idea from last year')
  await phone.pick('An idea from last year')
  await phone.remove()
  await laptop.lacksNote('An idea from last year')
  await laptop.happens('deleted')
  for (const window of [laptop, phone]) {
    await window.pick('Groceries')
    const { count, list } = await window.look()
    assert.deepEqual([count, list.map(({ title }) => title).sort()], [2, ['Groceries', 'Trip to Lisbon']])
  }
}

/** Both write the same note while there is no server; the later one stays, and both see it. */
async function withoutServer ({ laptop, phone, server, screenshot, log }) {
  const windows = [laptop, phone]
  for (const window of windows) window.serverMayBeAway = true
  await server.kill9()
  for (const window of windows) await window.shows('that it is not connected', ({ state }) => state === 'reconnecting')
  await laptop.append('\nbutter')
  await phone.append('\ncoffee, from the shop at the corner')
  for (const window of windows) await window.hasNote('Groceries', ({ unsent }) => unsent)
  await screenshot('away')
  await server.start()
  const began = performance.now()
  for (const window of windows) await window.shows('that it is connected again', ({ state }) => state === 'connected', { ms: backMs })
  log(`both are back ${((performance.now() - began) / 1_000).toFixed(1)} s after the server`)
  for (const window of windows) {
    await window.reads('milk\nbread\neggs\ncoffee, from the shop at the corner')
    await window.shows('nothing that waits', ({ unsent, list }) => unsent === 0 && list.length === 2)
    window.serverMayBeAway = false
  }
  await laptop.happens('conflict')
  await laptop.append('\nand butter after all')
  await phone.reads('milk\nbread\neggs\ncoffee, from the shop at the corner\nand butter after all')
  assert.ok(!(await phone.look()).happened.some(({ kind }) => kind === 'conflict'), 'whose version is kept has no conflict to hear of')
}

/** Also after a failure, and when the time was over. */
export async function cleanUp () {
  await Promise.all(opened.map(one => one.close()))
}
