// One text, in TipTap in one window and in CodeMirror in the other: both write into lines of their own, into the same place, while there is no server, and
// after it came back. Called by the scenario `pages`.

import assert from 'node:assert/strict'
import { anybody } from './browser_meeting.mjs'

/** Whose letters are whose can be read off the text. */
const letters = { ann: /[A-Z]/g, ben: /[a-z]/g }
const own = {
  ann: 'I WRITE IN CAPITALS,\nTWO LINES OF MINE',
  ben: 'while i write in small letters,\nas if nobody else were here'
}
const together = { ann: 'BOTH OF US TYPE AT THE END ', ben: 'and neither waits for the other ' }
const alone = { ann: 'NOBODY LISTENS NOW ', ben: 'this waits for the server ' }
const back = { ann: 'IT IS BACK', ben: 'we go on' }

const annsPart = `Ann: ${own.ann}`
const ownLines = `${annsPart}\nBen: ${own.ben}`
const [firstLine] = annsPart.split('\n')
const turnsMin = 3 // of which the first may be between what was loaded and what is typed

/** @param {import('./browser_meeting.mjs').Meeting} meeting */
export async function shareText (meeting) {
  await meeting.open()
  await meeting.agree('the first lines', text => text === 'Ann: \nBen: \nBoth: ')
  await linesOfTheirOwn(meeting)
  let typed = await atTheEnd(meeting, together, { ann: '', ben: '' })
  await meeting.carets()
  await meeting.screenshot()
  await meeting.reload()
  await bothToTheEnd(meeting)
  await meeting.withoutServer(async () => {
    await meeting.typeAtOnce(alone)
    const [ann, ben] = await meeting.both(window => window.look())
    assert.ok(ann.text.includes(alone.ann) && !ann.text.includes(alone.ben) && ben.text.includes(alone.ben) && !ben.text.includes(alone.ann),
      `without a server each sees what they type themselves; Ann sees ${ann.text}, Ben ${ben.text}`)
  })
  typed = { ann: typed.ann + alone.ann, ben: typed.ben + alone.ben }
  // Whose presence did not change in between is shown by nobody for up to 15 s: a client takes a state that it has dropped only with a higher clock.
  await agreeOnAll(meeting, typed, { people: anybody })
  for (const window of meeting.windows) await meeting.place(window, ['Control+Home', 'End'], firstLine)
  await atTheEnd(meeting, back, typed)
  await meeting.carets()
  await meeting.reload()
  meeting.hadNoProblems()
}

async function linesOfTheirOwn (meeting) {
  const before = await meeting.both(window => window.look())
  await meeting.place(meeting.ann, ['Control+Home', 'End'], 'Ann: ')
  await meeting.place(meeting.ben, ['Control+Home', 'ArrowDown', 'End'], 'Ann: \nBen: ')
  await meeting.typeWordByWord(own)
  const after = await meeting.agree('the lines of both', text => text === `${ownLines}\nBoth: `)
  const turns = after.map((seen, i) => seen.turns - before[i].turns)
  meeting.log(`${own.ann.length} and ${own.ben.length} keys at the same time; changes of one and the other took turns ${turns.join(' and ')} times`)
  assert.ok(turns.every(count => count >= turnsMin), `changes of the other came in between one's own, in both windows: ${turns}`)
  await meeting.carets()
  await meeting.place(meeting.ann, [], annsPart) // each caret stands behind what its author has typed
  await meeting.place(meeting.ben, [], ownLines)
}

/** Both type at the end of the text. @returns what each has typed there in all */
async function atTheEnd (meeting, texts, before) {
  await bothToTheEnd(meeting)
  await meeting.typeAtOnce(texts)
  const typed = { ann: before.ann + texts.ann, ben: before.ben + texts.ben }
  await agreeOnAll(meeting, typed)
  return typed
}

async function bothToTheEnd (meeting) {
  const { text } = await meeting.ann.look()
  for (const window of meeting.windows) await meeting.place(window, ['Control+End'], text)
}

/** Behind the lines of their own there is what both typed, each in its order and nothing else; how the two are mixed is open. */
async function agreeOnAll (meeting, typed, options) {
  const start = `${ownLines}\nBoth: `
  await meeting.agree(`what each typed, in its order: ${JSON.stringify(typed)}`, text => {
    const mixed = text.slice(start.length)
    return text.startsWith(start) && mixed.length === typed.ann.length + typed.ben.length &&
      Object.entries(letters).every(([author, own]) => lettersOf(mixed, own) === lettersOf(typed[author], own))
  }, options)
}

const lettersOf = (text, letters) => text.match(letters)?.join('')
