// A random history of a shared document, made with the real Yjs: who wrote what, in which bytes it was sent, and how the
// document looked to some of its authors at some earlier moment. The same seed gives the same history.
// Called by documents.mjs. Does not judge anything.

import * as Y from 'yjs'
import { Random } from './random.mjs'
import { roots } from './description.mjs'

const words = ['a', 'b', ' ', 'word', 'two words', 'é', 'ß', '漢字', '😀', '👩‍👩‍👧', 'x😀y', '😀😀', '𝒳𝒴', 'e\u0301', '\n', '"\\', '\u0000', '\uffff', 'long '.repeat(12)]
const keys = ['a', 'b', 'c', 'k-d', '', 'schlüssel', '😀']
const remote = { toString: () => 'remote' }

/**
 * @returns {{
 *   updates: Uint8Array[],                             // what each author sent, in order: all of it makes the document
 *   extras: Uint8Array[],                              // more bytes of the same history: whole states, merged, cut, with holes
 *   moments: {gc: boolean, update: Uint8Array, stateVector: Uint8Array, snapshot: Y.Snapshot}[],
 *   authors: number[],                                 // author of each of `updates`
 *   allKeepDeleted: boolean                            // no author collected garbage
 * }}
 */
export function randomDocument (seed) {
  const random = new Random(seed)
  const history = new History(random)
  const operations = random.between(20, 150)
  for (let done = 0; done < operations;) {
    const author = random.pick(history.authors)
    const group = random.chance(0.25) ? random.between(2, 6) : 1
    author.edit(group)
    done += group
    if (random.chance(0.3)) history.exchange()
    if (random.chance(0.04)) history.remember()
  }
  if (random.chance(0.5)) for (let i = 0; i < 3; i++) history.exchange()
  history.remember()
  history.makeExtras()
  return {
    updates: history.sent.map(({ update }) => update),
    authors: history.sent.map(({ author }) => author),
    extras: history.extras,
    moments: history.moments,
    allKeepDeleted: history.authors.every(author => !author.doc.gc)
  }
}

class History {
  constructor (random) {
    this.random = random
    this.sent = []
    this.extras = []
    this.moments = []
    const ids = new Set()
    for (let n = random.between(1, 5); ids.size < n;) {
      ids.add(random.chance(0.3) ? random.between(1, 200) : random.chance(0.05) ? 2 ** 53 - 1 - random.below(4) : random.word())
    }
    const keepDeleted = random.chance(0.25)
    this.authors = [...ids].map(id => new Author(this, id, !keepDeleted && random.chance(0.6)))
  }

  /** One author learns something of another: all, or some single messages, perhaps out of order. */
  exchange () {
    const { random } = this
    const from = random.pick(this.authors)
    const to = random.pick(this.authors)
    if (from === to) return
    if (random.chance(0.6)) {
      to.receive(Y.encodeStateAsUpdate(from.doc, Y.encodeStateVector(to.doc)))
    } else if (this.sent.length > 0) {
      for (let i = random.between(1, 4); i > 0; i--) to.receive(random.pick(this.sent).update)
    }
  }

  remember () {
    const { doc } = this.random.pick(this.authors)
    this.moments.push({ gc: doc.gc, update: Y.encodeStateAsUpdate(doc), stateVector: Y.encodeStateVector(doc), snapshot: Y.snapshot(doc) })
  }

  makeExtras () {
    const { random, extras } = this
    const updates = this.sent.map(({ update }) => update)
    for (const { doc } of this.authors) {
      extras.push(Y.encodeStateAsUpdate(doc))
      for (const moment of random.some(this.moments, 0.5)) extras.push(Y.encodeStateAsUpdate(doc, moment.stateVector))
      if (random.chance(0.3)) extras.push(Y.convertUpdateFormatV2ToV1(Y.encodeStateAsUpdateV2(doc)))
    }
    for (const moment of random.some(this.moments, 0.5)) {
      extras.push(moment.update)
      extras.push(Y.diffUpdate(random.pick(extras), moment.stateVector))
    }
    for (let i = 0; i < 4; i++) extras.push(Y.mergeUpdates(random.some(updates, random.pick([0.1, 0.5, 0.9])).concat(random.pick(updates))))
    extras.push(Y.mergeUpdates([random.pick(extras), random.pick(updates)]))
  }
}

class Author {
  constructor (history, clientId, gc) {
    this.random = history.random
    this.doc = new Y.Doc({ gc, guid: `doc-${clientId}` })
    this.doc.clientID = clientId
    for (const [name, type] of Object.entries(roots)) this.doc.get(name, type)
    this.subdocs = 0
    this.doc.on('update', (update, origin) => {
      if (origin !== remote) history.sent.push({ author: clientId, update })
      else if (this.random.chance(0.1)) history.extras.push(update)
    })
    if (this.random.chance(0.4)) {
      this.undoManager = new Y.UndoManager([...this.doc.share.values()], { captureTimeout: 0 })
    }
  }

  receive (update) { Y.applyUpdate(this.doc, update, remote) }

  edit (operations) {
    if (this.undoManager && this.random.chance(0.12)) {
      return this.random.chance(0.65) ? this.undoManager.undo() : this.undoManager.redo()
    }
    this.doc.transact(() => { for (let i = 0; i < operations; i++) this.editOnce() })
  }

  editOnce () {
    const type = this.random.pick(livingTypes(this.doc))
    if (type instanceof Y.Text) this.editText(type)
    else if (type instanceof Y.Map) this.editMap(type)
    else if (type instanceof Y.Array) this.editArray(type)
    else this.editXml(type)
  }

  editText (text) {
    const { random } = this
    const length = text.length
    const at = random.below(length + 1)
    switch (random.weighted({ type: 40, insert: 20, remove: 25, format: 14, embed: 4, typeEmbed: 2, attribute: 1, delta: 3 })) {
      case 'type': // one key after the other, as people do
        for (let i = random.between(1, 5), p = at; i > 0; i--, p++) text.insert(p, random.pick('abcde '))
        break
      case 'insert': text.insert(at, random.pick(words), random.chance(0.2) ? this.format() : undefined); break
      case 'remove': if (length > 0) this.removeRange(text, length); break
      case 'format': if (length > 0) this.formatRange(text); break
      case 'embed': text.insertEmbed(at, random.pick([{ image: 'a.png' }, { n: 1.5 }, 'text', [1, null]]), random.chance(0.2) ? this.format() : undefined); break
      case 'typeEmbed': text.insertEmbed(at, this.newType(), {}); break
      case 'attribute': text.setAttribute(random.pick(keys), random.pick(['x', 1, null, { o: 1 }])); break
      case 'delta': {
        const delta = at > 0 ? [{ retain: at }] : []
        delta.push({ insert: random.pick(words), attributes: this.format() })
        if (length > at) delta.push({ delete: random.between(1, Math.min(3, length - at)) })
        text.applyDelta(delta)
      }
    }
  }

  removeRange (list, length) {
    const at = this.random.below(length)
    list.delete(at, this.random.chance(0.05) ? length - at : this.random.between(1, Math.min(length - at, 6)))
  }

  // Yjs splits a surrogate pair at the edge of a format even when nothing comes of it, and then disagrees with itself.
  formatRange (text) {
    const plain = text.toDelta().map(({ insert }) => typeof insert === 'string' ? insert : '\ufffc').join('')
    const whole = at => at > 0 && at < plain.length && /[\ud800-\udbff]/.test(plain[at - 1]) && /[\udc00-\udfff]/.test(plain[at]) ? at - 1 : at
    const from = whole(this.random.below(plain.length))
    const to = whole(this.random.between(from + 1, plain.length))
    if (to > from) text.format(from, to - from, this.format())
  }

  format () {
    return this.random.pick([{ bold: true }, { bold: null }, { italic: true }, { bold: true, italic: null }, { color: '#f00' }, { color: '#0f0' }, { color: null }, { link: { href: 'a"b' } }])
  }

  editMap (map) {
    const { random } = this
    const key = random.pick(keys)
    switch (random.weighted({ set: 60, remove: 18, nested: 14, json: 3, clear: 1 })) {
      case 'set': map.set(key, random.chance(0.1) ? this.newSubdoc() : this.mapValue()); break
      case 'remove': map.delete(random.chance(0.5) && map.size > 0 ? random.pick([...map.keys()]) : key); break
      case 'nested': map.set(key, this.newType()); break
      case 'json': this.insertLegacyJson(map, map._map.get(key) ?? null, null, key); break
      case 'clear': map.clear()
    }
  }

  editArray (array) {
    const { random } = this
    const at = random.below(array.length + 1)
    switch (random.weighted({ insert: 40, remove: 25, nested: 18, subdoc: 4, bytes: 6, json: 6 })) {
      case 'insert': array.insert(at, Array.from({ length: random.between(1, 4) }, () => this.jsonValue())); break
      case 'remove': if (array.length > 0) this.removeRange(array, array.length); break
      case 'nested': array.insert(at, [this.newType(), ...random.some([1, 'x'], 0.3)]); break
      case 'subdoc': array.insert(at, [this.newSubdoc()]); break
      case 'bytes': array.insert(at, [random.bytes(random.below(20))]); break
      case 'json': {
        const last = lastItem(array)
        this.insertLegacyJson(array, last, null, null)
      }
    }
  }

  editXml (xml) {
    const { random } = this
    const at = random.below(xml.length + 1)
    const element = xml instanceof Y.XmlElement
    switch (random.weighted({ element: 25, text: 20, hook: 4, remove: 15, attribute: element ? 25 : 0, removeAttribute: element ? 6 : 0 })) {
      case 'element': {
        const child = new Y.XmlElement(random.pick(['p', 'div', 'H1', 'ünder']))
        if (random.chance(0.4)) child.setAttribute('class', random.pick(words))
        if (random.chance(0.4)) child.insert(0, [new Y.XmlText(random.pick(words)), new Y.XmlElement('br')])
        xml.insert(at, [child])
        break
      }
      case 'text': xml.insert(at, [new Y.XmlText(random.pick(words))]); break
      case 'hook': xml.insert(at, [new Y.XmlHook(random.pick(['video', 'chart']))]); break
      case 'remove': if (xml.length > 0) this.removeRange(xml, xml.length); break
      case 'attribute': xml.setAttribute(random.pick(keys.slice(0, 4)), random.pick(['x', 'y"<', 7, true, null, { o: [1] }])); break
      case 'removeAttribute': xml.removeAttribute(random.pick(keys.slice(0, 4)))
    }
  }

  newType () {
    const { random } = this
    switch (random.below(7)) {
      case 0: return new Y.Text(random.pick(words))
      case 1: return new Y.Map(random.chance(0.5) ? [['k', this.jsonValue()], ['t', new Y.Text('in')]] : undefined)
      case 2: return Y.Array.from(random.chance(0.5) ? [1, 'two'] : [])
      case 3: return new Y.XmlElement('section')
      case 4: return new Y.XmlText(random.pick(words))
      case 5: return new Y.XmlFragment()
      default: return new Y.Array()
    }
  }

  newSubdoc () {
    const { random } = this
    const options = { guid: `sub-${this.doc.clientID}-${this.subdocs++}` }
    if (random.chance(0.5)) options.meta = random.pick([{ title: 'ü' }, 'text', 7, { deep: [{ a: null }] }])
    if (random.chance(0.5)) options.autoLoad = true
    if (random.chance(0.3)) options.gc = false
    return new Y.Doc(options)
  }

  jsonValue () {
    return this.random.pick([null, true, false, 0, -0, 1, -1, 63, 64, 2 ** 31 - 1, 2 ** 31, -(2 ** 40), 1.5, 0.1, NaN, -Infinity, '', 'text', '😀', 'x'.repeat(200),
      [], {}, [1, [2, [3]]], { a: { b: [null, { c: 'd' }] }, '': 1 }, [undefined, 5n, -(2n ** 60n)], { u: undefined, bytes: Uint8Array.of(1, 2) }])
  }

  mapValue () {
    return this.random.chance(0.15) ? this.random.pick([undefined, 7n, -(2n ** 63n), this.random.bytes(this.random.below(9))]) : this.jsonValue()
  }

  // The JSON content of documents from before 2020, which Yjs still reads but no longer writes.
  insertLegacyJson (parent, left, right, key) {
    const content = new Y.ContentJSON(key === null ? [{ old: 1 }, undefined, 'ä', 1.25, null].slice(this.random.below(4)) : [this.random.pick([undefined, 'old', { old: [1] }])])
    this.doc.transact(transaction => {
      const id = Y.createID(this.doc.clientID, Y.getState(this.doc.store, this.doc.clientID))
      new Y.Item(id, left, left && left.lastId, right, right && right.id, parent, key, content).integrate(transaction, 0)
    })
  }
}

function lastItem (type) {
  let last = type._start
  while (last !== null && last.right !== null) last = last.right
  return last
}

/** The shared roots and all types inside them that are not deleted. */
function livingTypes (doc) {
  const found = [...doc.share.values()]
  for (let i = 0; i < found.length; i++) {
    const type = found[i]
    for (let item = type._start; item !== null; item = item.right) {
      if (!item.deleted && item.content instanceof Y.ContentType) found.push(item.content.type)
    }
    for (const item of type._map.values()) {
      if (!item.deleted && item.content instanceof Y.ContentType) found.push(item.content.type)
    }
  }
  return found
}
