// A WebSocket that says what it is told, byte for byte, and keeps every frame that comes. Used by codec.mjs.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { inflateRawSync, constants } from 'node:zlib'

export class Connection {
  constructor (port) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.parts = []
    this.ended = new Promise(resolve => {
      this.socket.on('end', resolve).on('error', resolve)
    })
    this.socket.on('data', part => { this.parts.push(part) })
  }

  async upgrade (extensions) {
    const offer = extensions === undefined ? '' : `Sec-WebSocket-Extensions: ${extensions}\r\n`
    this.socket.write(`GET / HTTP/1.1\r\nHost: echo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${offer}\r\n`)
    for (;;) {
      const bytes = Buffer.concat(this.parts)
      const end = bytes.indexOf('\r\n\r\n')
      if (end >= 0) {
        this.parts = [bytes.subarray(end + 4)]
        return bytes.toString('latin1', 0, end + 2)
      }
      await new Promise(resolve => this.socket.once('data', resolve))
    }
  }

  /** Done when the system has it; a server that has closed takes nothing more. */
  async write (bytes) {
    if (this.socket.writable) await new Promise(resolve => this.socket.write(bytes, () => resolve()))
  }

  /** Everything up to the end, inflated. */
  async frames () {
    await this.ended
    let rest = Buffer.concat(this.parts)
    const frames = []
    while (rest.length > 0) {
      const short = rest[1]
      const [header, length] = short === 126 ? [4, rest.readUInt16BE(2)] : short === 127 ? [10, Number(rest.readBigUInt64BE(2))] : [2, short]
      assert.ok((rest[0] & 0xb0) === 0x80 && short <= 127 && header + length <= rest.length, `no whole, unmasked frame: ${rest.subarray(0, 20).toString('hex')}`)
      const compressed = (rest[0] & 0x40) !== 0
      const payload = rest.subarray(header, header + length)
      frames.push({ opcode: rest[0] & 0x0f, compressed, payload: compressed ? inflated(payload) : payload })
      rest = rest.subarray(header + length)
    }
    return frames
  }
}

const inflated = payload => inflateRawSync(Buffer.concat([payload, Buffer.of(0, 0, 0xff, 0xff)]), { finishFlush: constants.Z_SYNC_FLUSH })
