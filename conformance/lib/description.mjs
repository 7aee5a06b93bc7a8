// What a Y.Doc says, in a form that two documents can be compared by: content, the order of all items
// (deleted ones too: later edits refer to them), state vector, and delete set.
// Called by every test that says "equal". Does not load or change documents, except `load`.

import * as Y from 'yjs'

export const roots = { t: Y.Text, u: Y.Text, m: Y.Map, a: Y.Array, x: Y.XmlFragment }

/**
 * A fresh document with the shared roots that has read the given updates. Yjs tidies superfluous format marks after a
 * remote edit, each reader in its own way; that is switched off here, so that only what was sent counts.
 */
export function load (updates, { gc = true } = {}) {
  const doc = new Y.Doc({ gc })
  doc.on('afterTransaction', transaction => { transaction._needFormattingCleanup = false })
  for (const [name, type] of Object.entries(roots)) doc.get(name, type)
  for (const update of updates) Y.applyUpdate(doc, update)
  return doc
}

/**
 * Applies an update, and of all that waits the largest part whose dependencies are there. Yjs alone is less eager: it lets structs
 * wait behind one that it already knows from another update, and leaves a part waiting until the next update comes.
 */
export function applyFully (doc, update) {
  Y.applyUpdate(doc, update)
  for (let before = null; doc.store.pendingStructs !== null && before !== (before = stateVector(Y.encodeStateVector(doc)));) {
    const { update: waiting } = doc.store.pendingStructs
    doc.store.pendingStructs = null
    Y.applyUpdateV2(doc, Y.diffUpdateV2(waiting, Y.encodeStateVector(doc)))
  }
}

/** Everything comparable, as one string per aspect. */
export function describe (doc) {
  return {
    content: content(doc),
    order: order(doc),
    stateVector: stateVector(Y.encodeStateVector(doc)),
    deleteSet: deleteSet(Y.createDeleteSetFromStructStore(doc.store)),
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null ? 'something is pending' : ''
  }
}

/** The first difference of two descriptions in words, or null. */
export function difference (expected, actual, aspects = Object.keys(expected)) {
  for (const aspect of aspects) {
    if (expected[aspect] === actual[aspect]) continue
    let at = 0
    while (expected[aspect][at] === actual[aspect][at]) at++
    const part = text => JSON.stringify(text.slice(Math.max(0, at - 60), at + 120))
    return `${aspect} differs at ${at}:\n    expected … ${part(expected[aspect])}\n    actual   … ${part(actual[aspect])}`
  }
  return null
}

export function content (doc) {
  return Object.keys(roots).map(name => {
    const type = doc.share.get(name)
    return `${name}: ${JSON.stringify(value(type))} ${JSON.stringify(value(type.toJSON()))}`
  }).join('\n')
}

function value (v) {
  if (v === undefined) return { undefined: true }
  if (v === null || typeof v === 'boolean' || typeof v === 'string') return v
  if (typeof v === 'number') return Object.is(v, -0) || !Number.isFinite(v) ? { number: Object.is(v, -0) ? '-0' : String(v) } : v
  if (typeof v === 'bigint') return { bigint: String(v) }
  if (v instanceof Uint8Array) return { bytes: Buffer.from(v).toString('hex') }
  if (v instanceof Y.Doc) return { doc: v.guid, meta: value(v.meta), autoLoad: v.autoLoad, gc: v.gc }
  if (v instanceof Y.Text) return { text: v.toDelta().map(value), attributes: value(v.getAttributes()), xml: v instanceof Y.XmlText }
  if (v instanceof Y.XmlHook) return { hook: v.hookName, map: entries(v) }
  if (v instanceof Y.Map) return { map: entries(v) }
  if (v instanceof Y.Array) return { array: v.toArray().map(value) }
  if (v instanceof Y.XmlElement) return { element: v.nodeName, attributes: value(v.getAttributes()), children: v.toArray().map(value) }
  if (v instanceof Y.XmlFragment) return { fragment: v.toArray().map(value) }
  if (Array.isArray(v)) return v.map(value)
  return Object.fromEntries(Object.keys(v).sort().map(key => [key, value(v[key])]))
}

const entries = map => Object.fromEntries([...map.entries()].sort(([a], [b]) => a < b ? -1 : 1).map(([key, v]) => [key, value(v)]))

/** The ids of all items of each living type, in their order, neighbours joined. */
function order (doc) {
  const lines = []
  const open = Object.keys(roots).map(name => [name, doc.share.get(name)])
  while (open.length > 0) {
    const [path, type] = open.shift()
    lines.push(path + ': ' + chain(itemsFrom(type._start, 'right'), path, open))
    for (const key of [...type._map.keys()].sort()) {
      lines.push(path + '.' + key + ': ' + chain(itemsFrom(type._map.get(key), 'left').reverse(), path, open))
    }
  }
  return lines.join('\n')
}

function itemsFrom (first, direction) {
  const items = []
  for (let item = first; item !== null; item = item[direction]) items.push(item)
  return items
}

function chain (items, path, open) {
  const runs = []
  for (const item of items) {
    const { client, clock } = item.id
    const last = runs.at(-1)
    if (last && last.client === client && last.end === clock) last.end += item.length
    else runs.push({ client, clock, end: clock + item.length })
    if (!item.deleted && item.content instanceof Y.ContentType) open.push([`${path}/${client}:${clock}`, item.content.type])
  }
  return runs.map(run => `${run.client}:${run.clock}-${run.end}`).join(' ')
}

export function stateVector (bytes) {
  return [...Y.decodeStateVector(bytes)].filter(([, clock]) => clock > 0).sort(([a], [b]) => a - b).map(pair => pair.join(':')).join(' ')
}

/** A delete set as "client:from-to …", ranges sorted and joined. */
export function deleteSet (ds) {
  return [...ranges(ds)].sort(([a], [b]) => a - b).map(([client, list]) => list.map(([from, to]) => `${client}:${from}-${to}`).join(' ')).join(' ')
}

/** A delete set as client -> [[from, to], …], sorted and joined. */
export function ranges (ds) {
  const result = new Map()
  for (const [client, deletes] of ds.clients) {
    const list = []
    for (const { clock, len } of [...deletes].sort((a, b) => a.clock - b.clock)) {
      const last = list.at(-1)
      if (last && clock <= last[1]) last[1] = Math.max(last[1], clock + len)
      else list.push([clock, clock + len])
    }
    if (list.length > 0) result.set(client, list)
  }
  return result
}
