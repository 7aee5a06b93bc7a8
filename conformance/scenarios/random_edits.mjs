// Five editors of different provider versions edit one document at random, go offline and come back. All must end equal: state
// vector, content as Yjs 13 reads it, and text as each one's own library reads it.

import { content, load, stateVector } from '../lib/description.mjs'
import { Editor, versionNames } from '../lib/provider.mjs'
import { Random } from '../lib/random.mjs'
import { breathe, pause, until } from '../lib/until.mjs'

export const name = 'random-edits'
export const seconds = 150

const seeds = 50
const atOnce = 5
const steps = 120

export async function run ({ server: startServer, seed: first, log }) {
  const server = await startServer()
  const queue = Array.from({ length: seeds }, (_, i) => first + i)
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let seed = queue.shift(); seed !== undefined; seed = queue.shift()) {
      try {
        await oneRoom(server.url, seed)
      } catch (error) {
        error.message = `seed ${seed} (alone: --seed ${seed}): ${error.message}`
        throw error
      }
    }
  }))
  log(`seeds ${first} to ${first + seeds - 1}`)
}

async function oneRoom (url, seed) {
  const random = new Random(seed)
  const room = `random-edits/${seed}/${process.pid}`
  const editors = [...versionNames, random.pick(versionNames)].map((version, i) =>
    new Editor(version, url, room, { clientId: random.word() + (i === 3 ? 2 ** 40 : 0), maxBackoffTime: 200 }))
  await Promise.all(editors.map(editor => editor.synced()))
  for (let step = 0; step < steps; step++) {
    const editor = random.pick(editors)
    switch (random.weighted({ edit: 80, disconnect: 6, connect: 10, wait: 4 })) {
      case 'edit': edit(editor, random); break
      case 'disconnect': editor.provider.disconnect(); break
      case 'connect': editor.provider.connect(); break
      case 'wait': await pause(random.below(4))
    }
    if (random.chance(0.4)) await breathe()
  }
  for (const editor of editors) editor.provider.connect()
  await Promise.all(editors.map(editor => editor.synced()))
  await until(() => `all editors to be equal:\n${editors.map(summary).join('\n')}`, () => {
    const vectors = new Set(editors.map(editor => stateVector(editor.stateVector())))
    return vectors.size === 1 && new Set(editors.map(contentOf)).size === 1 && new Set(editors.map(editor => String(editor.get('t')))).size === 1
  }, { everyMs: 20 })
  for (const editor of editors) editor.destroy()
}

const contentOf = editor => content(load([editor.state()]))
const summary = editor => `    ${editor.version}: ${stateVector(editor.stateVector())}\n      ${contentOf(editor).slice(0, 400).replaceAll('\n', '\n      ')}`

// The two generations of Yjs name the operations on maps and elements differently.
const setEntry = ({ modern }, map, key, value) => modern ? map.setAttr(key, value) : map.set(key, value)
const deleteEntry = ({ modern }, map, key) => modern ? map.deleteAttr(key) : map.delete(key)
const setAttribute = ({ modern }, element, key, value) => modern ? element.setAttr(key, value) : element.setAttribute(key, value)
const newElement = ({ modern, Y }, name) => modern ? new Y.Type(name) : new Y.XmlElement(name)

// No surrogate pairs: a format that begins inside one makes Yjs documents differ, whatever the server does.
const words = ['a', 'b', 'word', 'é', '漢字', ' ', '\n', 'long '.repeat(20)]
const values = [null, true, 7, -1.5, 'text', [1, [2]], { a: { b: null } }]

function edit (editor, random) {
  const root = random.pick(['t', 't', 't', 'u', 'm', 'a', 'x'])
  const type = editor.get(root)
  const at = random.below(type.length + 1)
  if (root !== 'm' && type.length > 0 && random.chance(0.3)) {
    const from = random.below(type.length)
    return type.delete(from, random.between(1, Math.min(4, type.length - from)))
  }
  switch (root) {
    case 'm': {
      const key = random.pick(['a', 'b', 'c'])
      return random.chance(0.25) ? deleteEntry(editor, type, key) : setEntry(editor, type, key, random.pick(values))
    }
    case 'a': return type.insert(at, Array.from({ length: random.between(1, 3) }, () => random.pick(values)))
    case 'x': {
      const child = type.length > 0 ? type.get(random.below(type.length)) : null
      return child !== null && random.chance(0.4)
        ? setAttribute(editor, child, random.pick(['id', 'class']), random.pick(words))
        : type.insert(at, [newElement(editor, random.pick(['p', 'div']))])
    }
    default:
      if (type.length > 1 && random.chance(0.15)) return type.format(at % type.length, 1, random.pick([{ bold: true }, { bold: null }, { link: { href: 'x' } }]))
      return type.insert(at, random.pick(words))
  }
}
