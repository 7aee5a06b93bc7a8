// Frames as a client sends them, right and wrong ones. Used by the statements about the codec.

import { deflateRawSync, constants } from 'node:zlib'

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 }
const key = Buffer.of(0x37, 0xfa, 0x21, 0x3d)

/** A masked frame. `first`: its whole first byte. */
export function frame (first, payload = '', { masked = true, length } = {}) {
  const bytes = Buffer.from(payload)
  const count = length ?? bytes.length
  const short = count < 126 ? count : count < 65_536 ? 126 : 127
  const extended = Buffer.alloc(short < 126 ? 0 : short === 126 ? 2 : 8)
  if (short === 126) extended.writeUInt16BE(count)
  if (short === 127) extended.writeBigUInt64BE(BigInt(count))
  const header = Buffer.concat([Buffer.of(first, short | (masked ? 0x80 : 0)), extended])
  return masked ? Buffer.concat([header, key, bytes.map((byte, i) => byte ^ key[i % 4])]) : Buffer.concat([header, bytes])
}

export const text = payload => frame(0x81, payload)
export const binary = payload => frame(0x82, payload)
export const ping = (payload = '') => frame(0x89, payload)
export const pong = (payload = '') => frame(0x8a, payload)
export const close = (code, reason = '') => frame(0x88, code === undefined ? '' : Buffer.concat([Buffer.of(code >> 8, code & 0xff), Buffer.from(reason)]))

/** A message in fragments of so many bytes, with what stands between them. `first`: of the message; with 0x40 it is compressed. */
export function fragments (first, payload, bytes, between = []) {
  const message = Buffer.from(payload)
  const parts = []
  for (let at = 0; at < message.length || at === 0; at += bytes) {
    const final = at + bytes >= message.length ? 0x80 : 0
    parts.push(frame((at === 0 ? first & 0x4f : 0) | final, message.subarray(at, at + bytes)))
    if (!final) parts.push(...between)
  }
  return Buffer.concat(parts)
}

/** As a client writes it that ends each message with a flush. */
export const compressed = (payload, options = {}) => deflateRawSync(payload, { ...options, finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)

/** As a client writes it that ends each message with a final block (RFC 7692, section 7.2.3.4). */
export const compressedFinal = payload => Buffer.concat([deflateRawSync(payload), Buffer.of(0)])
