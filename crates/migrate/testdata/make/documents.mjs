// The documents of the fixtures: each as the updates that its editors sent, in order, and what a reader of all of them sees.
// The client ids are fixed, so that every fixture holds the same documents. Used by the scripts beside this one.

import * as Y from 'yjs'
import { mkdirSync, writeFileSync } from 'node:fs'

const editor = clientId => {
  const doc = new Y.Doc()
  doc.clientID = clientId
  const updates = []
  doc.on('update', update => updates.push(update))
  return { doc, updates }
}

/** Text with emoji, formats and a deletion, by two authors at the same time. */
function notes () {
  const one = editor(101)
  const two = editor(102)
  const text = one.doc.getText('t')
  text.insert(0, 'Shopping: milk, 🥚🥚, bread')
  text.format(0, 8, { bold: true })
  Y.applyUpdate(two.doc, Y.encodeStateAsUpdate(one.doc))
  two.updates.length = 0
  text.delete(10, 6)
  two.doc.getText('t').insert(0, '👋 ')
  return [...one.updates, ...two.updates]
}

/** Maps in maps, an array, XML, all kinds of plain values, a key that was written twice. */
function board () {
  const { doc, updates } = editor(201)
  const map = doc.getMap('m')
  doc.transact(() => {
    map.set('title', 'Plan')
    map.set('lists', new Y.Map())
    map.get('lists').set('todo', new Y.Array())
    map.get('lists').get('todo').push([{ what: 'call', at: 17.5, done: false, tags: ['a', null] }, 'plain', 42, { big: -7n }, new Uint8Array([1, 2, 255])])
  })
  map.set('title', 'The plan ✅')
  map.get('lists').get('todo').delete(1)
  doc.transact(() => {
    const paragraph = new Y.XmlElement('paragraph')
    paragraph.setAttribute('align', 'left')
    paragraph.push([new Y.XmlText('Привет')])
    doc.getXmlFragment('x').push([paragraph])
  })
  map.set('gone', 1)
  map.delete('gone')
  return updates
}

/** A change a keystroke, as an editor sends them. */
function typed () {
  const { doc, updates } = editor(301)
  const text = doc.getText('t')
  const words = 'the quick brown fox jumps over the lazy dog; '
  for (let i = 0; i < 600; i++) {
    if (i % 50 === 49) text.delete(text.length - 3, 3)
    else text.insert(text.length, words[i % words.length])
  }
  return updates
}

/** One update is missing in the middle: what came after it waits. */
function waiting () {
  const { doc, updates } = editor(401)
  for (const word of ['first', ' second', ' third']) doc.getText('t').insert(doc.getText('t').length, word)
  updates.splice(1, 1)
  return updates
}

function plan () {
  const { doc, updates } = editor(501)
  doc.getArray('a').push(['ä', 'slash and space'])
  return updates
}

export const documents = { notes: notes(), board: board(), typed: typed(), waiting: waiting(), 'team/plan 7 ä': plan() }

export function load (updates) {
  const doc = new Y.Doc()
  for (const [name, type] of Object.entries({ t: Y.Text, m: Y.Map, a: Y.Array, x: Y.XmlFragment })) doc.get(name, type)
  for (const update of updates) Y.applyUpdate(doc, update)
  return doc
}

// `node documents.mjs FOLDER` writes what is expected of all of them.
if (process.argv[1] === new URL(import.meta.url).pathname) {
  const folder = process.argv[2]
  mkdirSync(folder, { recursive: true })
  const expected = {}
  for (const [name, updates] of Object.entries(documents)) {
    const doc = load(updates)
    const file = name.replaceAll(/[^a-z]+/g, '-').replace(/-$/, '')
    writeFileSync(`${folder}/${file}.update`, Y.encodeStateAsUpdate(doc))
    expected[name] = {
      file: `${file}.update`,
      stateVector: Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(doc))),
      text: doc.getText('t').toString(),
      delta: doc.getText('t').toDelta(),
      map: doc.getMap('m').toJSON(),
      array: doc.getArray('a').toJSON(),
      xml: doc.getXmlFragment('x').toString(),
      waits: doc.store.pendingStructs !== null
    }
  }
  const plain = (_, value) => typeof value === 'bigint' ? `${value}n` : value instanceof Uint8Array ? [...value] : value
  writeFileSync(`${folder}/expected.json`, JSON.stringify(expected, plain, 1) + '\n')
}
