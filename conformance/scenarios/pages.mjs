// TipTap with the Hocuspocus provider and CodeMirror with y-websocket, in two browsers, on the same text; then each editor with the other's provider; then
// TipTap with formatting, over both. Screenshots go to the folder CONFORMANCE_SCREENSHOTS, else to a temporary one.

import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { whatIsMissing } from '../lib/browser.mjs'
import { buildPages, servePages } from '../lib/browser_files.mjs'
import { Meeting } from '../lib/browser_meeting.mjs'
import { shareRichText } from '../lib/browser_rich_text.mjs'
import { shareText } from '../lib/browser_shared_text.mjs'

export const name = 'pages'
export const seconds = 180
export const needsBinary = true

/** Room: what happens there, and who sits where. */
const meetings = {
  'pages/text': { story: shareText, ann: { editor: 'tiptap', provider: 'hocuspocus' }, ben: { editor: 'codemirror', provider: 'y-websocket' } },
  'pages/exchanged': { story: shareText, ann: { editor: 'tiptap', provider: 'y-websocket' }, ben: { editor: 'codemirror', provider: 'hocuspocus' } },
  'pages/rich text': { story: shareRichText, ann: { editor: 'rich-text', provider: 'hocuspocus' }, ben: { editor: 'rich-text', provider: 'y-websocket' } }
}

const open = []

export async function run ({ server: startServer, log }) {
  const missing = whatIsMissing()
  if (missing !== undefined) return missing
  const screenshots = screenshotFolder()
  const server = await startServer()
  buildPages()
  const pages = await servePages()
  open.push(pages)
  for (const [room, { story, ann, ben }] of Object.entries(meetings)) {
    const meeting = new Meeting({ server, address: pages.address, room, ann, ben, log, screenshots })
    open.push(meeting)
    await story(meeting)
    await meeting.close()
  }
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
