// Chromium windows with the page of pages/ in them, each a browser process of its own, and what is asked of one: type, show, reload.
// Called by lib/browser_meeting.mjs. Reads what people see (the DOM), not what the page believes.

import assert from 'node:assert/strict'
import { accessSync, constants, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { until } from './until.mjs'

const packages = createRequire(new URL('../pages/package.json', import.meta.url))
const size = { width: 1_000, height: 470 } // of a window, in pixels
const focusMs = 20 // after which ProseMirror puts the selection where it was before it had the focus
const startMs = 60_000 // a browser's first start, on a machine that does other things as well

/** The browser: what the variable CHROMIUM names, or the first that is found in PATH. @returns {string|undefined} */
export function chromiumPath () {
  if (process.env.CHROMIUM !== undefined) return process.env.CHROMIUM
  const folders = (process.env.PATH ?? '').split(delimiter)
  return folders.flatMap(folder => ['chromium', 'chromium-browser', 'google-chrome'].map(name => join(folder, name))).find(isExecutable)
}

/** What is not installed, and how to get it; undefined when there is all. */
export function whatIsMissing () {
  if (!existsSync(new URL('../pages/node_modules/puppeteer-core', import.meta.url))) return 'the packages of conformance/pages are not installed; run `npm ci` there'
  const path = chromiumPath()
  if (path === undefined) return 'chromium is not installed; install it (Debian: `apt-get install chromium`), or name a browser in the variable CHROMIUM'
  if (!isExecutable(path)) return `CHROMIUM is ${path}, which cannot be run; name a Chromium, or unset it to take the one in PATH`
}

function isExecutable (path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** One window of one author. */
export class Window {
  /** @param {{user: string, color: string, provider: string, editor: string}} author */
  constructor (author) {
    this.author = author
    this.name = `${author.user}'s window (${author.editor} over ${author.provider})`
    /** What the page's console and the page itself complained of. */
    this.problems = []
    /** While there is no server, the browser itself reports each attempt to connect. */
    this.serverMayBeAway = false
  }

  /** @param {string} address where the built page is served @param {{server: string, room: string}} meeting */
  async open (address, meeting) {
    const { default: puppeteer } = await import(packages.resolve('puppeteer-core'))
    this.browser = await puppeteer.launch({
      executablePath: chromiumPath(), timeout: startMs, defaultViewport: size,
      args: ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--hide-scrollbars', `--window-size=${size.width},${size.height}`]
    })
    ;[this.page] = await this.browser.pages()
    this.page.on('console', message => {
      if (['error', 'warn', 'warning', 'assert'].includes(message.type())) this.complain(`console.${message.type()}: ${message.text()}`)
    })
    this.page.on('pageerror', error => this.complain(error.stack ?? String(error)))
    this.page.on('requestfailed', request => this.complain(`${request.url()}: ${request.failure()?.errorText}`))
    await this.page.goto(`${address}?${new URLSearchParams({ ...meeting, ...this.author })}`)
  }

  complain (problem) {
    if (!(this.serverMayBeAway && /WebSocket connection to '.*' failed/.test(problem))) this.problems.push(problem)
  }

  /** Everything a person can see of the document and the others. */
  look () { return this.page.evaluate(look) }

  /** Waits until what is seen satisfies `check`. */
  async shows (what, check, options) {
    let seen
    const failure = () => `${this.name} to show ${what}; it shows ${JSON.stringify(seen)}; problems: ${JSON.stringify(this.problems)}`
    return await until(failure, async () => check(seen = await this.look()) && seen, { everyMs: 20, ...options })
  }

  /** Into the editor, by the keys that people would press: `Control+Home`, `End`. */
  async press (...keys) {
    await this.page.evaluate(focus, focusMs)
    for (const chord of keys) {
      const held = chord.split('+')
      const key = held.pop()
      for (const modifier of held) await this.page.keyboard.down(modifier)
      await this.page.keyboard.press(key)
      for (const modifier of held) await this.page.keyboard.up(modifier)
    }
  }

  /** Key by key. */
  async type (text) {
    for (const key of text) await this.page.keyboard.press(key === '\n' ? 'Enter' : key === ' ' ? 'Space' : key)
  }

  reload () { return this.page.reload() }
  screenshot (path) { return this.page.screenshot({ path }) }
  hadNoProblems () { assert.deepEqual(this.problems, [], `${this.name} had problems`) }
  async close () { await this.browser?.close() }
}

/** Runs in the page. The second timer is set later, so ProseMirror's has run when it ends. */
async function focus (focusMs) {
  const editor = document.querySelector('[contenteditable="true"]')
  if (document.activeElement === editor) return
  editor.focus()
  await new Promise(resolve => setTimeout(resolve, focusMs + 1))
}

/** Runs in the page. */
function look () {
  const caretOfOthers = '.collaboration-carets__caret, .cm-ySelectionCaret'
  const notText = `${caretOfOthers}, img, br` // the editors put empty images and line breaks beside carets
  const label = '.collaboration-carets__label, .cm-ySelectionInfo'
  const editor = document.querySelector('[contenteditable="true"]')
  if (editor === null) return { text: null, carets: [], people: [] }
  const plain = nodes => {
    for (const node of nodes.querySelectorAll(notText)) node.remove()
    return [...nodes.children].map(line => line.textContent).join('\n')
  }
  const copy = editor.cloneNode(true)
  const carets = [...editor.querySelectorAll(caretOfOthers)].map(caret => {
    const before = document.createRange()
    before.setStart(editor, 0)
    before.setEndBefore(caret)
    const name = caret.querySelector(label)
    const { left, top, right, bottom, width, height } = name.getBoundingClientRect()
    const inWindow = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight && width > 0 && height > 0
    const [red, green, blue] = getComputedStyle(name).backgroundColor.match(/\d+/g).map(Number)
    return {
      name: name.textContent,
      color: `#${[red, green, blue].map(part => part.toString(16).padStart(2, '0')).join('')}`,
      visible: inWindow && name.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && getComputedStyle(name).opacity === '1',
      before: plain(before.cloneContents())
    }
  })
  return {
    text: plain(copy),
    html: copy.innerHTML,
    document: window.page?.text,
    turns: window.page?.turns,
    state: document.getElementById('connection').dataset.state,
    saved: document.getElementById('connection').dataset.saved,
    people: [...document.querySelectorAll('#people li')].map(item => item.dataset.name).sort(),
    carets
  }
}
