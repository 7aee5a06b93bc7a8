// A document store made of Yjs itself, with the requests of documents.mjs: `node documents.mjs documents_selftest.mjs` tests the
// test. It is slow and keeps every update; it shows what documents.mjs expects, not how to do it.

import * as Y from 'yjs'
import { applyFully, load } from './lib/description.mjs'

let live, collected, keepDeleted

const answers = {
  N (payload) {
    keepDeleted = (payload[0] & 1) === 1
    live = load([], { gc: false })
    collected = null
    return Buffer.alloc(0)
  },
  A (payload) {
    const relayed = []
    const listen = update => relayed.push(Buffer.from(update))
    const pendingBefore = pending()
    try {
      Y.decodeUpdate(payload)
      live.on('update', listen)
      applyFully(live, payload)
    } catch {
      return Buffer.from([2, 0, 0, 0, 0])
    } finally {
      live.off('update', listen)
    }
    const pendingAfter = pending()
    const parked = pendingAfter !== pendingBefore && live.store.pendingStructs !== null
    const header = Buffer.alloc(5)
    header[0] = (relayed.length > 0 || pendingAfter !== pendingBefore ? 0 : 1) | (parked ? 0x80 : 0)
    header.writeUInt32LE(relayed.length, 1)
    return Buffer.concat([header, ...relayed.flatMap(update => [lengthOf(update), update])])
  },
  D: payload => Buffer.from(Y.encodeStateAsUpdate(live, payload)),
  V: () => Buffer.from(Y.encodeStateVector(live)),
  S: () => Buffer.from(Y.encodeStateAsUpdate(load([Y.encodeStateAsUpdate(live)]))),
  C: () => Buffer.alloc(0)
}

function pending () {
  const { pendingStructs, pendingDs } = live.store
  const structs = pendingStructs === null ? '' : Y.convertUpdateFormatV2ToV1(pendingStructs.update)
  return Buffer.from(structs).toString('hex') + '/' + (pendingDs === null ? '' : Buffer.from(pendingDs).toString('hex'))
}

function lengthOf (bytes) {
  const header = Buffer.alloc(4)
  header.writeUInt32LE(bytes.length)
  return header
}

let input = Buffer.alloc(0)
process.stdin.on('data', chunk => {
  input = Buffer.concat([input, chunk])
  const out = []
  let at = 0
  while (input.length - at >= 5 && input.length - at - 5 >= input.readUInt32LE(at + 1)) {
    const length = input.readUInt32LE(at + 1)
    const answer = answers[String.fromCharCode(input[at])](input.subarray(at + 5, at + 5 + length))
    out.push(lengthOf(answer), answer)
    at += 5 + length
  }
  input = input.subarray(at)
  if (out.length > 0) process.stdout.write(Buffer.concat(out))
})
