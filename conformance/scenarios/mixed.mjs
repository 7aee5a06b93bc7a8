// Two editors of each of the five dialects type into one document as people do: bursts, corrections, moved cursors; they lose their connections, go on
// offline, and come back. In the end all ten documents are equal, everybody sees the same people, and nobody was sent away.
// CONFORMANCE_MIXED_S sets for how many seconds they type.

import assert from 'node:assert/strict'
import * as Y from 'yjs'
import { allDialects, kinds, makeDocument, openEditor } from '../lib/any_editor.mjs'
import { newName } from '../lib/any_editor_statements.mjs'
import { describe, difference, load } from '../lib/description.mjs'
import { Random } from '../lib/random.mjs'
import { pause, until } from '../lib/until.mjs'
import { quiet } from '../lib/y_sweet.mjs'

const typingS = Number(process.env.CONFORMANCE_MIXED_S ?? 10)

export const name = 'mixed'
export const seconds = typingS + 80
export const needsBinary = true

const perDialect = 2
const burstMax = 12
const pauseMs = [10, 120] // between two strokes, and two bursts
const offlineMs = [100, 1_500]
const people = ['Ann', 'Ben', 'Cid', 'Dan', 'Eva', 'Fay', 'Gus', 'Hal', 'Ida', 'Jon']

export async function run ({ server: startServer, seed, log }) {
  quiet()
  const server = await startServer({ env: allDialects })
  const id = newName()
  await makeDocument(server, id)
  const dialects = [...new Set(Object.values(kinds))]
  const chosen = dialects.flatMap(dialect =>
    Array.from({ length: perDialect }, (_, i) => {
      const own = Object.keys(kinds).filter(kind => kinds[kind] === dialect)
      return own[i % own.length]
    })
  )
  const editors = chosen.map((kind, i) => openEditor(kind, server, id, people[i]))
  const total = { bursts: 0, strokes: 0, breaks: 0 }
  try {
    await Promise.all(editors.map(editor => editor.synced()))
    const random = new Random(seed)
    const end = performance.now() + typingS * 1000
    await Promise.all(editors.map(editor => sit(editor, new Random(random.word()), () => performance.now() < end, total)))
    for (const editor of editors) if (!editor.isOnline) editor.comeBack()
    await Promise.all(editors.map(editor => editor.synced(30_000)))
    await allEqual(editors)
    await allPresent(editors.filter(editor => editor.hasPresence))
    assert.deepEqual(
      editors.flatMap(editor => editor.surprises),
      [],
      'nobody is sent away'
    )
    assert.deepEqual(
      editors.flatMap(editor => (editor.errors ?? []).map(error => `${editor.words}: ${JSON.stringify(error)}`)),
      [],
      'nobody is told of an error'
    )
    log(
      `${editors.length} editors, ${typingS} s, ${total.bursts} bursts with ${total.strokes} strokes, ${total.breaks} breaks; ` +
        `${editors[0].text.length} characters, equal everywhere`
    )
  } catch (error) {
    error.message = `seed ${seed}: ${error.message}`
    throw error
  } finally {
    for (const editor of editors) editor.terminate()
  }
}

/** One person at work. */
async function sit (editor, random, atWork, total) {
  let cursor = 0
  while (atWork()) {
    switch (random.weighted({ type: 70, correct: 15, move: 20, break: 3 })) {
      case 'type':
        cursor = Math.min(cursor, editor.content.length)
        for (let strokes = random.between(1, burstMax); strokes > 0 && atWork(); strokes--, total.strokes++) {
          const text = random.pick(['a', 'e', 'n', 'r', ' ', 'th', '\n', 'é', '漢'])
          editor.insert(Math.min(cursor, editor.content.length), text)
          cursor += text.length
          await pause(random.between(0, pauseMs[0]))
        }
        total.bursts++
        break
      case 'correct': {
        const length = Math.min(random.between(1, 6), cursor, editor.content.length)
        const at = Math.min(cursor, editor.content.length) - length
        if (length > 0) editor.delete(at, length)
        cursor = at
        break
      }
      case 'move':
        cursor = random.below(editor.content.length + 1)
        editor.present(cursor)
        break
      case 'break':
        await editor.goOffline()
        total.breaks++
        if (random.chance(0.7)) {
          cursor = Math.min(cursor, editor.content.length)
          editor.insert(cursor, `[offline ${editor.name}]`)
        }
        await pause(random.between(...offlineMs))
        editor.comeBack()
    }
    await pause(random.between(...pauseMs))
  }
}

async function allEqual (editors) {
  const vectorOf = editor => Buffer.from(Y.encodeStateVector(editor.doc)).toString('hex')
  const words = editor =>
    `    ${editor.words}: ${editor.text.length} characters, ${vectorOf(editor).slice(0, 80)}, its connections ended ${JSON.stringify(editor.ends)}`
  const equal = () =>
    new Set(editors.map(editor => editor.text)).size === 1 && editors.every(editor => Y.equalSnapshots(Y.snapshot(editor.doc), Y.snapshot(editors[0].doc)))
  await until(() => `all to be equal:\n${editors.map(words).join('\n')}`, equal, { everyMs: 20 })
  const [first, ...others] = editors.map(editor => describe(load([Y.encodeStateAsUpdate(editor.doc)])))
  others.forEach((other, i) => assert.equal(difference(first, other), null, `${editors[0].words} and ${editors[i + 1].words}`))
}

async function allPresent (editors) {
  editors.forEach((editor, i) => editor.present(1_000 + i))
  await agree(editors)
  const staying = editors.filter((_, i) => i % perDialect > 0)
  for (const editor of editors) if (!staying.includes(editor)) await editor.goOffline()
  await agree(staying)
}

/** Each of them sees all of them, and nobody else. */
async function agree (editors) {
  const expected = JSON.stringify(editors.map(editor => [editor.id, `${editor.name}@${editor.place}`]).sort(([a], [b]) => a - b))
  const seen = editor => JSON.stringify(editor.presence)
  await until(
    () => `everybody to see ${expected}:\n${editors.map(editor => `    ${editor.words}: ${seen(editor)}`).join('\n')}`,
    () => editors.every(editor => seen(editor) === expected),
    { everyMs: 20 }
  )
}
