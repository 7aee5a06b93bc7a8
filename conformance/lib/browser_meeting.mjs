// Two authors, each in a window of their own, in one room. What holds whenever they rest: the same text in both windows, both people once, the other's caret.
// Called by lib/browser_shared_text.mjs and lib/browser_rich_text.mjs, which say what they type. Knows no editor and no provider, and asks of a server only {url, kill9, start}.

import { join } from 'node:path'
import { Window } from './browser.mjs'
import { until } from './until.mjs'

const agreeMs = 30_000 // with the longest pause of a provider before it comes back, 2.5 s, and a machine that does other things as well

const authors = { ann: { user: 'Ann', color: '#b42318' }, ben: { user: 'Ben', color: '#175cd3' } }

const everybody = 'Ann,Ben'
/** Whoever is shown as present, it is no matter. */
export const anybody = null

export class Meeting {
  /**
   * @param {{server: object, address: string, room: string, ann: {editor: string, provider: string}, ben: {editor: string, provider: string},
   *   log: (text: string) => void, screenshots: string}} options `address` is where the page is served, `screenshots` a folder
   */
  constructor ({ server, address, room, ann, ben, log, screenshots }) {
    Object.assign(this, { server, address, room, screenshots })
    this.log = text => log(`${room}: ${text}`)
    this.ann = new Window({ ...authors.ann, ...ann })
    this.ben = new Window({ ...authors.ben, ...ben })
    this.windows = [this.ann, this.ben]
  }

  open () { return this.both(window => window.open(this.address, { server: this.server.url, room: this.room })) }

  other (window) { return window === this.ann ? this.ben : this.ann }

  /** Moves the caret with keys, if any, and waits until the other sees it behind the text `before`. */
  async place (window, keys, before) {
    await window.press(...keys)
    await this.other(window).shows(`the caret of ${window.author.user} behind ${JSON.stringify(before)}`, ({ carets }) => carets.some(caret => caret.before === before))
  }

  /** Both type as fast as they can. @param {{ann: string, ben: string}} texts */
  typeAtOnce (texts) { return Promise.all([this.ann.type(texts.ann), this.ben.type(texts.ben)]) }

  /** Both type at the same time, each word after the one before has reached the other. */
  typeWordByWord (texts) {
    return Promise.all([[this.ann, texts.ann], [this.ben, texts.ben]].map(async ([window, text]) => {
      let typed = ''
      for (const [word] of text.matchAll(/\S+\s*/g)) {
        await window.type(word)
        typed += word
        await this.other(window).shows(`"${typed}"`, seen => seen.text.includes(typed))
      }
    }))
  }

  /**
   * Waits until both windows show the same text, which satisfies `check` and is the document's, and saved as far as a window is told.
   * @param {{same?: string[], people?: string|null}} [options] what else of what they show is the same, and whom they show
   * @returns {Promise<object[]>} what the two show
   */
  async agree (what, check, { same = ['text'], people: wanted = everybody } = {}) {
    let seen
    const failure = () => `${this.room}: ${what} in both windows; they show ${JSON.stringify(seen)}; problems: ${JSON.stringify(this.windows.map(window => window.problems))}`
    return await until(failure, async () => {
      seen = await this.both(window => window.look())
      const each = ({ state, saved, people, text, document }) => state === 'synced' && saved !== 'saving' && (wanted === anybody || people.join() === wanted) && text === document && check(text)
      return seen.every(each) && same.every(key => seen[0][key] === seen[1][key]) && seen
    }, { ms: agreeMs, everyMs: 20 })
  }

  /** Each sees the other's caret, with name and colour. */
  async carets () {
    await Promise.all([[this.ann, authors.ben], [this.ben, authors.ann]].map(async ([window, { user, color }]) => {
      const matches = caret => caret.name === user && caret.color === color && caret.visible
      await window.shows(`the caret of ${user} in ${color}, and no other`, ({ carets }) => carets.length === 1 && carets.every(matches))
    }))
  }

  /** Who reloads sees the same text, and the other does not see them twice. */
  async reload (same) {
    const { text } = await this.ann.look()
    for (const window of this.windows) {
      await window.reload()
      await this.agree('the same text after a reload', shown => shown === text, { same })
    }
  }

  /** Kills the server, lets them act without it, and starts it again. */
  async withoutServer (act) {
    for (const window of this.windows) window.serverMayBeAway = true
    await this.server.kill9()
    await this.both(window => window.shows('that it is not connected', seen => seen.state === 'connecting'))
    await act()
    await this.server.start()
    const began = performance.now()
    await this.both(window => window.shows('that it is connected again', seen => seen.state === 'synced', { ms: agreeMs }))
    this.log(`both are back ${((performance.now() - began) / 1_000).toFixed(1)} s after the server`)
    for (const window of this.windows) window.serverMayBeAway = false
  }

  screenshot () { return this.both(window => window.screenshot(join(this.screenshots, `${window.author.editor}-${window.author.provider}.png`))) }
  hadNoProblems () { for (const window of this.windows) window.hadNoProblems() }
  both (act) { return Promise.all(this.windows.map(act)) }
  close () { return this.both(window => window.close()) }
}
