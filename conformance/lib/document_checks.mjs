// The statements about a document store that documents.mjs proves for one seed: one random history, fed to the store in many
// manners, and whatever comes out of the store compared with what Yjs makes of the same history. Each function of `manners`
// throws an Error that says what does not hold. Knows nothing of processes, workers, or the command line.

import * as Y from 'yjs'
import { Random } from './random.mjs'
import { randomDocument } from './random_document.mjs'
import { StoredDocument } from './store_process.mjs'
import { applyFully, content, describe, difference, load, ranges, stateVector } from './description.mjs'

/** One seed's history and what Yjs makes of it. */
export class Case {
  constructor (seed) {
    Object.assign(this, randomDocument(seed))
    this.seed = seed
    const kept = load(this.updates, { gc: false })
    const collected = load(this.updates, { gc: true })
    this.kept = kept
    this.expected = { false: describe(kept), true: describe(collected) }
    this.yjs = Y.encodeStateAsUpdate(load([Y.encodeStateAsUpdate(collected)]))
    this.knownDeletes = ranges(mergedDeletes([...this.updates, ...this.extras]))
    if (this.expected.false.pending) throw new Error('the generated history is not complete: the test itself is wrong')
  }
}

export const manners = {
  async in_order (store, { updates, seed, ...subject }, sizes) {
    const stored = new StoredDocument(store)
    await feed(stored, updates, { random: new Random(seed), repeat: 0.2 })
    await complete(stored, { ...subject, updates, seed })
    await reportAndMeasure(stored, subject, sizes)
  },

  async shuffled (store, subject) {
    const random = new Random(subject.seed * 7 + 1)
    const stored = new StoredDocument(store)
    await feed(stored, random.shuffled(subject.updates), { random, repeat: 1 })
    await complete(stored, subject)
  },

  async duplicated (store, subject) {
    const random = new Random(subject.seed * 7 + 2)
    const { updates, extras } = subject
    const stored = new StoredDocument(store)
    await feed(stored, random.shuffled([...updates, ...random.some(updates, 0.5), ...extras, ...random.some(extras, 0.3)]), { random, compact: 0.05, exact: false })
    await complete(stored, subject)
  },

  async merged (store, subject) {
    const random = new Random(subject.seed * 7 + 3)
    const groups = []
    for (const update of random.shuffled(subject.updates)) {
      if (groups.length === 0 || random.chance(0.3)) groups.push([])
      groups.at(-1).push(update)
      if (random.chance(0.2)) random.pick(groups).push(update)
    }
    const stored = new StoredDocument(store)
    await feed(stored, random.shuffled(groups.map(group => Y.mergeUpdates(group))), { random, compact: 0.1, repeat: 0.2 })
    await complete(stored, subject)
  },

  async mixed_states (store, subject) {
    const random = new Random(subject.seed * 7 + 4)
    const { updates, extras } = subject
    const stored = new StoredDocument(store)
    await feed(stored, random.shuffled([...random.some(extras, 0.8), ...random.some(updates, 0.3)]), { random, compact: 0.1, exact: false })
    await feed(stored, random.shuffled(updates), { random, check: false })
    await complete(stored, subject)
  },

  async with_holes (store, subject) {
    const random = new Random(subject.seed * 7 + 5)
    const there = random.some(subject.updates, random.pick([0.3, 0.6, 0.9]))
    const missing = subject.updates.filter(update => !there.includes(update))
    const order = random.shuffled(there)
    const stored = new StoredDocument(store)
    const { live } = await feed(stored, order, { random, compact: 0.1 })

    const yjs = load([], { gc: false })
    for (const update of order) applyFully(yjs, update)
    const expected = describe(yjs)
    same('state vector with parts missing', expected.stateVector, stateVector(await stored.stateVector()))
    const diff = await stored.diff()
    const reader = load([], { gc: false })
    applyFully(reader, diff)
    same('diff with parts missing', null, difference(expected, describe(reader), ['content', 'order', 'stateVector', 'deleteSet']))
    for (const update of missing) applyFully(reader, update)
    same('diff with parts missing, then the parts', null, difference(subject.expected.false, describe(reader)))

    // A member that is behind asks with its state vector, which stops before the gaps.
    const behind = load(random.some(there, 0.5), { gc: false })
    applyFully(behind, await stored.diff(Y.encodeStateVector(behind)))
    for (const update of random.shuffled(missing)) applyFully(behind, update)
    same('partial diff with parts missing, then the parts', null, difference(subject.expected.false, describe(behind)))

    await feed(stored, random.shuffled(missing), { random, compact: 0.1, repeat: 0.3, live, mirror: yjs })
    await complete(stored, subject)
  },

  async restarted (store, subject) {
    const random = new Random(subject.seed * 7 + 6)
    const cut = random.below(subject.updates.length + 1)
    const [before, after] = [subject.updates.slice(0, cut), subject.updates.slice(cut)]
    const first = new StoredDocument(store)
    await feed(first, before, { random, check: false })
    if (random.chance(0.5)) await first.compact()
    const snapshot = await first.snapshot()
    checkCompact(snapshot, ranges(mergedDeletes(before)))
    same('snapshot in the middle, then the rest', null, difference(subject.expected.false, describe(load([snapshot, ...after], { gc: false }))))

    const second = new StoredDocument(store)
    await feed(second, [snapshot, ...random.shuffled(after)], { random, compact: 0.05 })
    await complete(second, subject)
  },

  async keep_deleted (store, subject) {
    const random = new Random(subject.seed * 7 + 7)
    const stored = new StoredDocument(store, { keepDeleted: true })
    await feed(stored, random.shuffled(subject.updates), { random })
    const loaded = load([await stored.diff()], { gc: false })
    same('diff of a document that keeps what was deleted', null, difference(subject.expected.false, describe(loaded)))
    if (!subject.allKeepDeleted) return
    for (const { snapshot } of subject.moments) {
      // Yjs replaces a surrogate pair that was split by U+FFFD twice, and when it does so depends on the order of arrival.
      const [expected, actual] = [subject.kept, loaded].map(doc =>
        content(Y.createDocFromSnapshot(doc, snapshot, load([], { gc: false }))).replace(/[\ud800-\udbff][\udc00-\udfff]/g, '\ufffd\ufffd'))
      same('an old version of a document that keeps what was deleted', null, difference({ content: expected }, { content: actual }))
    }
  },

  // Damaged bytes: whatever the store makes of them, it goes on, and what it gives out can be decoded.
  async damaged (store, subject) {
    const random = new Random(subject.seed * 7 + 8)
    const stored = new StoredDocument(store)
    const damaged = Array.from({ length: 12 }, () => damage(random.pick([...subject.updates, ...subject.extras]), random))
    const answers = await Promise.all(damaged.map(update => stored.add(update)))
    answers.forEach(({ kind, relayed }, i) => {
      if (kind !== 'rejected') Y.decodeUpdate(damaged[i]) // throws for bytes that a reader could not decode
      if (kind === 'rejected' && relayed.length > 0) throw new Error('a rejected update was relayed')
      relayed.forEach(update => Y.decodeUpdate(update))
    })
    Y.decodeUpdate(await stored.diff())
    Y.decodeUpdate(await stored.snapshot())
    const next = new StoredDocument(store)
    await feed(next, subject.updates.slice(0, 3), { random })
  }
}

/**
 * Sends updates to the store, and checks each answer against Yjs and the readers' view. `exact`: after each update the store has
 * all that can be applied. Where an author's garbage collection made two versions of a struct, with and without dependencies, that
 * depends on which of the waiting versions is looked at, so it cannot be asked for.
 */
async function feed (stored, updates, { random, repeat = 0, compact = 0, check = true, exact = true, live = load([], { gc: false }), mirror = load([], { gc: false }) }) {
  const answers = await Promise.all(updates.map(async update => {
    const asked = [stored.add(update), random.chance(repeat) ? stored.add(update) : null, exact ? stored.stateVector() : null]
    if (random.chance(compact)) asked.push(stored.stateVector(), stored.compact(), stored.stateVector())
    const [first, again, vector, before, , after] = await Promise.all(asked)
    return { update, first, again, vector, before, after }
  }))
  if (!check) return { live }
  for (const [i, { update, first, again, vector, before, after }] of answers.entries()) {
    const where = `update ${i} of ${updates.length} (${Buffer.from(update).toString('hex').slice(0, 200)})`
    checkAnswer(update, first, mirror, where)
    if (exact) same(`state vector after ${where}`, stateVector(Y.encodeStateVector(mirror)), stateVector(vector))
    if (after) same(`state vector after compaction, after ${where}`, stateVector(before), stateVector(after))
    for (const relayed of first.relayed) Y.applyUpdate(live, relayed)
    if (live.store.pendingStructs !== null) throw new Error(`${where}: a reader of the relayed updates has to wait for a part that was not relayed`)
    if (again !== null && (again.kind !== 'duplicate' || again.relayed.length > 0)) {
      throw new Error(`${where}: sent a second time it was ${again.kind}, and ${again.relayed.length} updates were relayed`)
    }
  }
  const expected = describe(mirror)
  same('what a reader has who got only the relayed updates', null, difference(expected, describe(live), ['content', 'order', 'stateVector', 'deleteSet']))
  return { live }
}

function checkAnswer (update, { kind, parked, relayed }, mirror, where) {
  const before = Y.encodeStateVector(mirror)
  const waitedBefore = mirror.store.pendingStructs !== null
  applyFully(mirror, update)
  const waits = mirror.store.pendingStructs !== null
  const grew = stateVector(before) !== stateVector(Y.encodeStateVector(mirror))
  if (kind === 'rejected') throw new Error(`${where}: a valid update was rejected`)
  if (kind === 'duplicate' && relayed.length > 0) throw new Error(`${where}: a duplicate was relayed`)
  if (grew && kind !== 'accepted') throw new Error(`${where}: brings new content, but was called ${kind}`)
  if (grew && relayed.length === 0) throw new Error(`${where}: brings new content, but nothing was relayed`)
  if (parked && !waits) throw new Error(`${where}: lacks nothing, but part of it was parked`)
  if (!parked && waits && !waitedBefore) throw new Error(`${where}: part of it must wait, but nothing was parked`)
}

/** All that must hold for a store which has the whole history. */
async function complete (stored, subject) {
  const random = new Random(subject.seed * 7)
  const behind = load(subject.updates.slice(0, random.below(subject.updates.length)), { gc: random.chance(0.5) })
  const arbitrary = randomStateVector(subject.kept, random)
  const ahead = encodedStateVector([...Y.decodeStateVector(Y.encodeStateVector(subject.kept))].map(([client, clock]) => [client, clock + 1000]))
  const moments = random.some(subject.moments, 0.5)
  const [vector, diff, snapshot, forBehind, forArbitrary, forAhead, ...forMoments] = await Promise.all([
    stored.stateVector(), stored.diff(), stored.snapshot(), stored.diff(Y.encodeStateVector(behind)), stored.diff(arbitrary), stored.diff(ahead),
    ...moments.map(moment => stored.diff(moment.stateVector))
  ])
  same('state vector', subject.expected.false.stateVector, stateVector(vector))
  for (const [name, update] of Object.entries({ diff, snapshot })) {
    for (const gc of random.chance(0.5) ? [false, true] : [false]) {
      same(`${name} read with gc ${gc}`, null, difference(subject.expected[gc], describe(load([update], { gc }))))
    }
  }
  checkCompact(snapshot, ranges(mergedDeletes(subject.updates)))
  Y.applyUpdate(behind, forBehind)
  same('diff for a reader who is behind', null, difference(subject.expected[behind.gc], describe(behind)))
  moments.forEach((moment, i) => {
    const doc = load([moment.update, forMoments[i]], { gc: moment.gc })
    same('diff for an author of an earlier moment', null, difference(subject.expected[moment.gc], describe(doc)))
  })
  checkCovers(forArbitrary, arbitrary, vector)
  if (Y.decodeUpdate(forAhead).structs.length > 0) throw new Error('a diff for a reader who is ahead contains structs')
}

/** After a reader has reported the deletes that follow from integration, a snapshot is at most as large as Yjs's own. */
async function reportAndMeasure (stored, subject, sizes) {
  await stored.add(subject.yjs)
  const snapshot = await stored.snapshot()
  same('snapshot after a reader\'s report', null, difference(subject.expected.true, describe(load([snapshot]))))
  checkCompact(snapshot, ranges(mergedDeletes([subject.yjs])))
  sizes.snapshot += snapshot.length
  sizes.yjs += subject.yjs.length
  if (snapshot.length > subject.yjs.length) {
    throw new Error(`the snapshot has ${snapshot.length} bytes, Yjs's own state ${subject.yjs.length}:\n    ${snapshot.toString('hex')}\n    ${Buffer.from(subject.yjs).toString('hex')}`)
  }
}

/** No content of deleted items, and nothing at all inside a deleted type. */
function checkCompact (snapshot, deleted) {
  const { structs } = Y.decodeUpdate(snapshot)
  const isDeleted = (client, clock) => (deleted.get(client) ?? []).some(([from, to]) => clock >= from && clock < to)
  for (const struct of structs) {
    if (!(struct instanceof Y.Item) || struct.content instanceof Y.ContentDeleted) continue
    const { client, clock } = struct.id
    // A surrogate pair of which one half is deleted stays whole.
    const pair = struct.content instanceof Y.ContentString ? /^[^]?[\ud800-\udbff][\udc00-\udfff][^]?$/ : null
    for (let i = 0; i < struct.length; i++) {
      const brokenPair = pair !== null && pair.test(struct.content.str.slice(Math.max(0, i - 1), i + 2))
      if (isDeleted(client, clock + i) && !brokenPair) throw new Error(`the snapshot keeps the content of ${client}:${clock + i}, which was deleted`)
    }
  }
  // Read without collection and without the reader's own conclusions: nothing may hang below a deleted parent.
  const byId = new Map()
  for (const struct of structs) if (struct instanceof Y.Item && struct.content instanceof Y.ContentType) byId.set(`${struct.id.client}:${struct.id.clock}`, struct)
  for (const struct of structs) {
    const parent = struct instanceof Y.Item && struct.parent instanceof Y.ID ? struct.parent : null
    if (parent && isDeleted(parent.client, parent.clock)) throw new Error(`the snapshot keeps ${struct.id.client}:${struct.id.clock}, a child of the deleted type ${parent.client}:${parent.clock}`)
    if (parent && !byId.has(`${parent.client}:${parent.clock}`)) throw new Error(`the snapshot has ${struct.id.client}:${struct.id.clock}, but not its parent ${parent.client}:${parent.clock}`)
  }
}

/** The structs of a diff start at (or, for a surrogate pair, one before) the given vector, and reach the state without a gap. */
function checkCovers (diff, from, to) {
  const known = Y.decodeStateVector(from)
  const ends = new Map()
  for (const struct of Y.decodeUpdate(diff).structs) {
    const { client, clock } = struct.id
    const expected = ends.get(client) ?? known.get(client) ?? 0
    if (clock !== expected && !(clock === expected - 1 && !ends.has(client))) throw new Error(`a diff for ${client}:${known.get(client) ?? 0} continues at ${clock} instead of ${expected}`)
    if (struct instanceof Y.Skip) throw new Error('a diff of a complete document contains a Skip')
    ends.set(client, clock + struct.length)
  }
  for (const [client, clock] of Y.decodeStateVector(to)) {
    const end = ends.get(client) ?? known.get(client) ?? 0
    if (end !== clock) throw new Error(`a diff reaches ${client}:${end} instead of ${clock}`)
  }
}

function randomStateVector (doc, random) {
  const states = [...Y.decodeStateVector(Y.encodeStateVector(doc))]
  return encodedStateVector(random.some(states, 0.8).map(([client, clock]) => [client, random.between(0, clock)]).filter(([, clock]) => clock > 0))
}

const encodedStateVector = entries => Y.encodeStateVector(new Map(entries))

function mergedDeletes (updates) {
  return Y.mergeDeleteSets(updates.map(update => Y.decodeUpdate(update).ds))
}

function damage (update, random) {
  const bytes = Uint8Array.from(update)
  switch (random.below(5)) {
    case 0: return bytes.slice(0, random.below(bytes.length))
    case 1: return Uint8Array.from([...bytes, ...random.bytes(random.between(1, 4))])
    case 2: return random.bytes(random.below(40))
    default:
      for (let i = random.between(1, 3); i > 0; i--) bytes[random.below(bytes.length)] = random.chance(0.3) ? 0xff : random.below(256)
      return bytes
  }
}

function same (what, expected, actual) {
  if (expected !== actual) throw new Error(expected === null ? `${what}: ${actual}` : `${what}:\n    expected ${expected}\n    actual   ${actual}`)
}
