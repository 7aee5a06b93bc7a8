// What a WebSocket server has to do with what it is sent, as a table. Run by codec.mjs against the echo server.
//
// A case: `send` in this order, `answers` as [opcode, payload] up to the close, and the code that the server `closed` with; without one, the connection
// is still open at the end. `extensions`: what the client offers, and what of it is `accepted`.

import { constants } from 'node:zlib'
import { binary, close, compressed, compressedFinal, fragments, frame, opcodes, ping, pong, text } from './frames.mjs'

const { text: T, binary: B, pong: P } = opcodes
const accepted = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'
const bytes = (...list) => Buffer.from(list)
const fill = (count, byte = 0x2a) => Buffer.alloc(count, byte)

/** Bytes that no compression makes smaller, the same in each run. */
function noise (count, seed = 1) {
  const made = Buffer.alloc(count)
  for (let i = 0, state = seed; i < count; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    made[i] = state >>> 24
  }
  return made
}

/** Text that is neither all the same nor noise. */
const words = count => Array.from(noise(count), byte => 'etaoin shrdlu 01'[byte >> 4]).join('')

const framing = [0, 125, 126, 127, 128, 65_535, 65_536].flatMap(count => [
  { name: `1.1 a text of ${count} bytes`, send: [text(fill(count))], answers: [[T, fill(count)]] },
  { name: `1.2 a binary message of ${count} bytes`, send: [binary(fill(count, 0xfe))], answers: [[B, fill(count, 0xfe)]] }
])

const pings = [
  { name: '2.1 an empty ping', send: [ping()], answers: [[P, '']] },
  { name: '2.2 a ping with text', send: [ping('Hello, world!')], answers: [[P, 'Hello, world!']] },
  { name: '2.3 a ping with bytes', send: [ping(bytes(0, 255, 254, 253))], answers: [[P, bytes(0, 255, 254, 253)]] },
  { name: '2.4 a ping of 125 bytes', send: [ping(fill(125))], answers: [[P, fill(125)]] },
  { name: '2.5 a ping of 126 bytes', send: [ping(fill(126))], closed: 1002 },
  { name: '2.7 an unsolicited pong', send: [pong('x')] },
  { name: '2.9 an unsolicited pong, then a ping', send: [pong('x'), ping('y')], answers: [[P, 'y']] },
  { name: '2.10 ten pings', send: Array.from({ length: 10 }, (_, i) => ping(`p${i}`)), answers: Array.from({ length: 10 }, (_, i) => [P, `p${i}`]) }
]

const reserved = [
  ...[0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70].map(bits => (
    { name: `3.1 reserved bits ${bits.toString(16)} on a text, behind a good one`, send: [text('before'), frame(0x81 | bits, 'x'), ping()], answers: [[T, 'before']], closed: 1002 })),
  { name: '3.5 a reserved bit on a ping', send: [frame(0xc9, 'x')], closed: 1002 },
  { name: '3.6 a reserved bit on a close', send: [frame(0xf8)], closed: 1002 },
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(opcode => (
    { name: `4 opcode ${opcode}`, send: [text('before'), frame(0x80 | opcode, 'x'), ping()], answers: [[T, 'before']], closed: 1002 })),
  { name: '4.3 a frame without a mask', send: [frame(0x81, 'x', { masked: false })], closed: 1002 },
  { name: '4.4 a length with its highest bit', send: [bytes(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4)], closed: 1002 }
]

const fragmentation = [
  { name: '5.1 a ping in two fragments', send: [frame(0x09, 'a'), frame(0x80, 'b')], closed: 1002 },
  { name: '5.2 a pong in two fragments', send: [frame(0x0a, 'a'), frame(0x80, 'b')], closed: 1002 },
  { name: '5.3 a text in two fragments', send: [fragments(0x01, 'fragmented', 5)], answers: [[T, 'fragmented']] },
  { name: '5.6 a ping between two fragments', send: [fragments(0x01, 'fragmented', 5, [ping('between')])], answers: [[P, 'between'], [T, 'fragmented']] },
  { name: '5.9 a continuation of nothing', send: [frame(0x80, 'x')], closed: 1002 },
  { name: '5.12 an unfinished continuation of nothing', send: [frame(0x00, 'x')], closed: 1002 },
  { name: '5.15 a continuation behind a whole message', send: [fragments(0x01, 'whole', 3), frame(0x00, 'x')], answers: [[T, 'whole']], closed: 1002 },
  { name: '5.18 a new message before the old one ends', send: [frame(0x01, 'a'), frame(0x81, 'b')], closed: 1002 },
  { name: '5.19 pings between five fragments', send: [fragments(0x01, 'abcdefghij', 2, [ping('p')])], answers: [...Array(4).fill([P, 'p']), [T, 'abcdefghij']] },
  { name: '5.21 fragments of nothing', send: [frame(0x01), frame(0x00), frame(0x80)], answers: [[T, '']] },
  { name: '5.22 a close between fragments', send: [frame(0x02, 'a'), close(1000), frame(0x80, 'b')], closed: 1000 }
]

const characters = ['', 'Hello-µ@ßöäüàá-UTF-8!!', 'κόσμε', '\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}', '\u{d7ff}\u{e000}\u{fffd}\u{feff}\u{fffe}']
const notUtf8 = {
  'a surrogate': [0xed, 0xa0, 0x80],
  'the last surrogate': [0xed, 0xbf, 0xbf],
  'a letter in two bytes too many': [0xc1, 0xa1],
  'NUL in two bytes': [0xc0, 0x80],
  'NUL in four bytes': [0xf0, 0x80, 0x80, 0x80],
  'behind the last character': [0xf4, 0x90, 0x80, 0x80],
  'five bytes': [0xf8, 0x88, 0x80, 0x80, 0x80],
  'a lone continuation': [0x80],
  'a start without its end': [0xc3],
  'a cut character': [0xf0, 0x9f, 0x98],
  'a start behind a start': [0xc3, 0xc3, 0xa9],
  'bytes that never occur': [0xfe, 0xff]
}
const utf8 = [
  ...characters.flatMap((letters, i) => [
    { name: `6.2 characters ${i}`, send: [text(letters)], answers: [[T, letters]] },
    { name: `6.2 characters ${i}, each byte a fragment`, send: [fragments(0x01, letters, 1)], answers: [[T, letters]] }
  ]),
  ...Object.entries(notUtf8).flatMap(([what, list]) => [
    { name: `6.3 ${what}`, send: [text(bytes(0x61, ...list))], closed: 1007 },
    { name: `6.3 ${what}, each byte a fragment`, send: [fragments(0x01, bytes(0x61, ...list), 1)], closed: 1007 },
    { name: `6.3 ${what}, as bytes`, send: [binary(bytes(...list))], answers: [[B, bytes(...list)]] }
  ]),
  { name: '6.4 the first wrong byte ends it, not the last fragment', send: [frame(0x01, bytes(0x61, 0xf4, 0x90))], closed: 1007 }
]

const closing = [
  { name: '7.1 a close without a code', send: [close()], closed: 1000 },
  { name: '7.1 nothing is answered behind a close', send: [close(1000), ping('late'), text('late')], closed: 1000 },
  { name: '7.1 a message, then a close', send: [text('last'), close(1001)], answers: [[T, 'last']], closed: 1001 },
  { name: '7.3 half a code', send: [frame(0x88, 'x')], closed: 1002 },
  { name: '7.3 a code and a reason', send: [close(1000, 'Hello, world!')], closed: 1000 },
  { name: '7.3 the longest reason', send: [close(1000, fill(123))], closed: 1000 },
  { name: '7.3 a longer reason', send: [close(1000, fill(124))], closed: 1002 },
  { name: '7.5 a reason that is not UTF-8', send: [close(1000, bytes(0xce, 0xba, 0xed, 0xa0, 0x80))], closed: 1007 },
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999].map(code => (
    { name: `7.7 code ${code}`, send: [close(code)], closed: code })),
  ...[0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535].map(code => (
    { name: `7.9 code ${code}`, send: [close(code)], closed: 1002 }))
]

const sizes = [
  ...[64 << 10, 256 << 10, 1 << 20, 4 << 20].flatMap(count => [
    { name: `9.1 a text of ${count} bytes`, send: [text(fill(count))], answers: [[T, fill(count)]] },
    { name: `9.2 ${count} bytes`, send: [binary(noise(count))], answers: [[B, noise(count)]] }
  ]),
  ...[64, 1_024, 65_536].map(part => (
    { name: `9.3 1 MiB of text in fragments of ${part} bytes`, send: [fragments(0x01, words(1 << 20), part)], answers: [[T, words(1 << 20)]] })),
  { name: '9.7 1,000 messages in one write', send: Array(1_000).fill(text('small')), answers: Array(1_000).fill([T, 'small']) },
  { name: '9.9 a message over the limit', send: [frame(0x82, '', { length: (64 << 20) + 1 })], closed: 1009 },
  { name: '10.1 64 KiB in fragments of 1,300 bytes', send: [fragments(0x01, words(65_536), 1_300)], answers: [[T, words(65_536)]] }
]

const hello = bytes(0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00)
const deflate = [
  ...[16, 64, 256, 1_024, 4_096, 65_536, 1 << 20].flatMap(count => [
    { name: `12.1 a compressed text of ${count} bytes`, send: [frame(0xc1, compressed(words(count)))], answers: [[T, words(count)]] },
    { name: `12.2 compressed noise of ${count} bytes`, send: [frame(0xc2, compressed(noise(count)))], answers: [[B, noise(count)]] },
    { name: `12.3 a compressed text of ${count} bytes in fragments`, send: [fragments(0x41, compressed(words(count)), Math.ceil(count / 20), [ping('p')])], answers: null, text: words(count) }
  ]),
  { name: '12.4 many messages, compressed and plain in turn', send: Array.from({ length: 200 }, (_, i) => i % 2 ? text(words(300)) : frame(0xc1, compressed(words(300)))), answers: Array(200).fill([T, words(300)]) },
  { name: '12.5 a final block', send: [frame(0xc2, compressedFinal(words(5_000)))], answers: [[B, words(5_000)]] },
  { name: '12.6 Hello as the RFC has it', send: [frame(0xc1, hello)], answers: [[T, 'Hello']] },
  { name: '12.6 Hello in two fragments', send: [frame(0x41, hello.subarray(0, 3)), frame(0x80, hello.subarray(3))], answers: [[T, 'Hello']] },
  { name: '12.6 Hello without compression', send: [frame(0xc1, bytes(0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00))], answers: [[T, 'Hello']] },
  { name: '12.6 Hello in a final block', send: [frame(0xc1, bytes(0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00))], answers: [[T, 'Hello']] },
  { name: '12.6 Hello in two blocks', send: [frame(0xc1, bytes(0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00))], answers: [[T, 'Hello']] },
  { name: '12.6 nothing, compressed', send: [frame(0xc1, bytes(0x00))], answers: [[T, '']] },
  ...[4, 9].flatMap(memLevel => [1, 6, 9].map(level => (
    { name: `12.7 level ${level} with tables of size ${memLevel}`, send: [frame(0xc2, compressed(Buffer.concat([noise(200_000), Buffer.from(words(200_000)), fill(200_000)]), { level, memLevel }))], answers: [[B, Buffer.concat([noise(200_000), Buffer.from(words(200_000)), fill(200_000)])]] }))),
  ...[constants.Z_HUFFMAN_ONLY, constants.Z_FIXED, constants.Z_RLE].map(strategy => (
    { name: `12.8 strategy ${strategy}`, send: [frame(0xc1, compressed(words(100_000), { strategy, memLevel: 4 }))], answers: [[T, words(100_000)]] })),
  ...[9, 12, 15].map(windowBits => (
    { name: `13.1 a client's window of ${windowBits} bits`, extensions: `permessage-deflate; client_max_window_bits=${windowBits}`, send: [frame(0xc1, compressed(words(100_000), { windowBits }))], answers: [[T, words(100_000)]] })),
  { name: '13.2 the server\'s full window', extensions: 'permessage-deflate; server_max_window_bits=15', accepted: `${accepted}; server_max_window_bits=15`, send: [text(words(5_000))], answers: [[T, words(5_000)]] },
  { name: '13.3 a smaller window of the server, or any', extensions: 'permessage-deflate; server_max_window_bits=9, permessage-deflate', send: [text(words(5_000))], answers: [[T, words(5_000)]] },
  { name: '13.4 a smaller window of the server only', extensions: 'permessage-deflate; server_max_window_bits=9', accepted: null, send: [text(words(5_000))], answers: [[T, words(5_000)]] },
  { name: '13.5 an unknown parameter', extensions: 'permessage-deflate; unknown=1', accepted: null, send: [text('x'), frame(0xc1, hello)], answers: [[T, 'x']], closed: 1002 },
  { name: '13.6 a continuation that says it is compressed', send: [frame(0x41, hello), frame(0xc0)], closed: 1002 },
  { name: '13.6 a compressed ping', send: [frame(0xc9, hello)], closed: 1002 },
  { name: '13.6 another reserved bit', send: [frame(0xe1, hello)], closed: 1002 },
  { name: '13.7 no deflate stream', send: [frame(0xc1, 'Hello')], closed: 1007 },
  { name: '13.7 a stream that was cut', send: [frame(0xc1, hello.subarray(0, 4))], closed: 1007 },
  { name: '13.7 a message that refers to the one before', send: [frame(0xc1, hello), frame(0xc1, bytes(0xf2, 0x00, 0x11, 0x00, 0x00))], answers: [[T, 'Hello']], closed: 1007 },
  { name: '13.7 a compressed text that is not UTF-8', send: [frame(0xc1, compressed(bytes(0x61, 0xed, 0xa0, 0x80)))], closed: 1007 },
  { name: '13.7 a bomb over the limit', send: [frame(0xc2, compressed(fill((64 << 20) + 1)))], closed: 1009 },
  { name: '13.7 empty blocks without an end', send: [frame(0xc2, Buffer.concat([...Array(100_000).fill(bytes(0x02, 0x00, 0x00, 0x00, 0xff, 0xff)), bytes(0)]))], closed: 1007 }
].map(statement => ({ extensions: 'permessage-deflate; client_max_window_bits', accepted, ...statement }))

// A message in fragments with a ping behind each but the last.
for (const statement of deflate.filter(({ answers }) => answers === null)) {
  const count = statement.text.length
  const parts = Math.ceil(compressed(statement.text).length / Math.ceil(count / 20))
  statement.answers = [...Array(parts - 1).fill([P, 'p']), [T, statement.text]]
}

export const cases = [...framing, ...pings, ...reserved, ...fragmentation, ...utf8, ...closing, ...sizes, ...deflate]
