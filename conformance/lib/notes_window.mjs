// A window with the notes page: what is seen in it, clicked and typed, and how its WebSockets were opened. Called by the scenario `notes-page`.

import { Window } from './browser.mjs'

const size = { width: 1_120, height: 640 } // of a window, in pixels

export class NotesWindow extends Window {
  /** @param {string} device @param {string} color */
  constructor (device, color) {
    super({ user: device, color, editor: 'notes', provider: 'the browser\'s WebSocket' })
    this.name = `the notes on ${device}`
    /** The subprotocols offered with each attempt; undefined where there were none. */
    this.offers = []
  }

  /** @param {string} address where the built pages are served */
  async open (address, server, token) {
    await super.open(`${address}notes.html`, { server: server.url })
    await this.page.setViewport(size)
    const session = await this.page.createCDPSession()
    await session.send('Network.enable')
    session.on('Network.webSocketWillSendHandshakeRequest', ({ request: { headers } }) => {
      this.offers.push(Object.entries(headers).find(([name]) => name.toLowerCase() === 'sec-websocket-protocol')?.[1])
    })
    await this.page.type('#token', token)
    await this.page.click('#entry button')
    await this.shows('that it is connected', ({ state }) => state === 'connected')
  }

  /** What the browser keeps of the server's cookies, and what of it a script in the page can read. */
  async cookies () {
    const kept = await this.browser.cookies()
    return { kept: kept.map(({ name, httpOnly, path, sameSite }) => ({ name, httpOnly, path, sameSite })), readable: await this.page.evaluate(() => document.cookie) }
  }

  look () { return this.page.evaluate(look) }
  hasNote (title, more = () => true) { return this.shows(`the note "${title}"`, ({ list }) => list.some(note => note.title === title && more(note))) }
  lacksNote (title) { return this.shows(`no note "${title}"`, ({ list }) => list.every(note => note.title !== title)) }
  reads (content) { return this.shows(`a note with ${JSON.stringify(content)}`, ({ note }) => note.content === content) }
  happens (kind) { return this.shows(`that something is ${kind}`, ({ happened }) => happened.some(one => one.kind === kind)) }

  /** With the mouse, as a person would. */
  async pick (title) {
    const items = await this.page.$$('#list li')
    for (const item of items) {
      if (await item.$eval('.title', ({ textContent }) => textContent) === title) {
        await item.click()
        return await this.shows(`"${title}" in the form`, ({ note }) => note.title === title)
      }
    }
    throw new Error(`${this.name} has no note "${title}" to click on`)
  }

  /** Types a whole note, and saves it. */
  async write (title, tags, content) {
    await this.page.click('#new')
    for (const [field, text] of Object.entries({ title, tags, content })) {
      await this.page.focus(`#${field}`)
      await this.type(text)
    }
    await this.page.click('#save')
  }

  /** Types at the end of the note that is open, and saves it. */
  async append (text) {
    await this.page.focus('#content')
    await this.page.keyboard.down('Control')
    await this.page.keyboard.press('End')
    await this.page.keyboard.up('Control')
    await this.type(text)
    await this.page.click('#save')
  }

  /** Deletes the note that is open. */
  remove () { return this.page.click('#delete') }
}

/** Runs in the page. */
function look () {
  const text = id => document.getElementById(id).textContent
  const value = id => document.getElementById(id).value
  const part = (item, name) => item.querySelector(`.${name}`).textContent
  return {
    state: document.getElementById('connection').dataset.state,
    count: Number(text('count')),
    unsent: Number(text('unsent')),
    list: [...document.querySelectorAll('#list li')].map(item => ({ title: part(item, 'title'), tags: part(item, 'tags'), unsent: item.dataset.unsent === 'true' })),
    note: { title: value('title'), tags: value('tags'), content: value('content'), about: text('about') },
    happened: [...document.querySelectorAll('#happened li')].map(item => ({ kind: item.dataset.kind, what: part(item, 'what') })),
    dropped: window.page.dropped
  }
}
