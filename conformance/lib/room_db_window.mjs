// A Chromium window with the console of a room database in it, a browser process of its own, and what is asked of one: sign up, make a table, insert, look.
// Called by the scenario `console-page`. Reads what people see (the DOM), not what the page believes.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { chromiumPath } from './browser.mjs'
import { until } from './until.mjs'

const packages = createRequire(new URL('../pages/package.json', import.meta.url))
const size = { width: 1_200, height: 720 } // of a window, in pixels
const startMs = 60_000 // a browser's first start, on a machine that does other things as well

export class ConsoleWindow {
  /** @param {{user: string, color: string}} person */
  constructor ({ user, color }) {
    this.user = user
    this.color = color
    this.problems = []
    /** While there is no server, the browser itself reports each attempt to reach it. */
    this.serverMayBeAway = false
  }

  /** @param {string} address of the page @param {{server: string, room: string}} where */
  async open (address, where) {
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
    await this.page.goto(`${address}?${new URLSearchParams({ ...where, color: this.color })}`)
  }

  complain (problem) {
    if (!(this.serverMayBeAway && /WebSocket connection to '.*' failed/.test(problem))) this.problems.push(problem)
  }

  /** Writes into the fields of a form by their names, and sends it. */
  async send (form, fields) {
    for (const [name, text] of Object.entries(fields)) {
      const field = await this.page.waitForSelector(`${form} input[name="${name}"]`, { visible: true })
      await field.click({ count: 3 })
      await field.type(text)
    }
    await this.page.keyboard.press('Enter')
  }

  signUp (email, password) { return this.send('#sign-up', { name: this.user, email, password }) }
  create (table, columns) { return this.send('#create', { table, columns }) }
  insert (row) { return this.send('#insert', row) }
  watch (sql) { return this.send('#query', { sql }) }

  /** Another table, from the list. */
  choose (table) { return this.click('#tables button', text => text.startsWith(`${table} `)) }

  /** The cell with this text. */
  point (cell) { return this.click('#rows tbody td', text => text === cell) }

  /** What the page draws anew meanwhile is looked for again. */
  async click (selector, is) {
    await until(`a place to click in ${this.user}'s window: ${selector} with ${is}`, async () => {
      for (const element of await this.page.$$(selector)) {
        if (!is(await element.evaluate(element => [...element.childNodes].filter(node => !node.classList?.contains('frame')).map(node => node.textContent).join('')))) continue
        await element.click()
        return true
      }
    }, { everyMs: 20 })
  }

  look () { return this.page.evaluate(look) }

  /** Waits until what is seen satisfies `check`. */
  async shows (what, check, options) {
    let seen
    const failure = () => `${this.user}'s window to show ${what}; it shows ${JSON.stringify(seen)}; problems: ${JSON.stringify(this.problems)}`
    return await until(failure, async () => check(seen = await this.look()) && seen, { everyMs: 20, ...options })
  }

  async cookies () { return await this.browser.cookies() }
  reload () { return this.page.reload() }
  screenshot (path) { return this.page.screenshot({ path }) }
  hadNoProblems () { assert.deepEqual(this.problems, [], `${this.user}'s window had problems`) }
  async close () { await this.browser?.close() }
}

/** Runs in the page. */
function look () {
  const texts = selector => [...document.querySelectorAll(selector)].map(element => element.textContent)
  const own = cell => [...cell.childNodes].filter(node => node.nodeType === 3).map(node => node.data).join('')
  const rowsOf = table => [...document.querySelectorAll(`${table} tbody tr`)].map(line => [...line.cells].map(own))
  const color = element => `#${getComputedStyle(element).backgroundColor.match(/\d+/g).slice(0, 3).map(part => Number(part).toString(16).padStart(2, '0')).join('')}`
  const shown = element => {
    const { left, top, right, bottom, width } = element.getBoundingClientRect()
    return width > 0 && left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight
  }
  return {
    signedIn: document.getElementById('sign-up').hidden,
    state: document.getElementById('connection').dataset.state,
    people: [...document.querySelectorAll('#people li')].map(item => item.dataset.name).sort(),
    tables: texts('#tables button').map(text => text.split(' ')[0]).sort(),
    table: document.getElementById('title').textContent,
    rows: rowsOf('#rows'),
    result: rowsOf('#result'),
    changes: texts('#changes li'),
    cursors: [...document.querySelectorAll('#rows td .name')].map(label => ({ name: label.textContent, color: color(label), on: own(label.closest('td')), visible: shown(label) })),
    problems: texts('.problem').filter(text => text !== '')
  }
}
