// A socket that only counts: the frames that a server sends to it, by their headers, without looking into them. A thousand of them must not take more of a core
// than the server does. Called by the statement about the most who may subscribe, and by bench/room_db/events.mjs.

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'

const textFrame = 0x81
const pingFrame = 0x89

export class Listener {
  /** @param {string} path with the room and a key @param {object[]} messages sent once the server has said `reset` */
  constructor (port, path, messages) {
    this.frames = 0
    this.bytes = 0
    this.closed = false
    this.onframes = () => {}
    this.left = Buffer.alloc(0)
    this.isOpen = false
    this.opened = new Promise((resolve, reject) => {
      this.socket = connect(port, '127.0.0.1', () => {
        this.socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`)
      })
      this.socket.setNoDelay(true)
      this.socket.on('error', reject)
      this.socket.on('close', () => {
        this.closed = true
        reject(new Error('closed by the server'))
      })
      this.socket.on('data', bytes => {
        if (this.isOpen) return this.count(bytes)
        const all = Buffer.concat([this.left, bytes])
        const end = all.indexOf('\r\n\r\n')
        this.left = all
        if (end < 0) return
        if (!all.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101'))) return reject(new Error(all.toString('latin1', 0, 300)))
        this.isOpen = true
        this.left = Buffer.alloc(0)
        for (const message of messages) this.send(message)
        this.count(all.subarray(end + 4))
        resolve(this)
      })
    })
  }

  /** Text frames, each counted once when it is whole. */
  count (bytes) {
    const all = this.left.length === 0 ? bytes : Buffer.concat([this.left, bytes])
    const before = this.frames
    let at = 0
    while (all.length - at >= 2) {
      let [length, head] = [all[at + 1], 2]
      if (length === 126) {
        if (all.length - at < 4) break
        length = all.readUInt16BE(at + 2)
        head = 4
      } else if (length === 127) {
        if (all.length - at < 10) break
        length = Number(all.readBigUInt64BE(at + 2))
        head = 10
      }
      if (all.length - at < head + length) break
      if (all[at] === textFrame) {
        this.frames++
        this.bytes += head + length
      } else if (all[at] === pingFrame) this.socket.write(masked(0x8a, all.subarray(at + head, at + head + length)))
      at += head + length
    }
    this.left = all.subarray(at)
    if (this.frames > before) this.onframes(this.frames - before)
  }

  send (message) { this.socket.write(masked(textFrame, Buffer.from(JSON.stringify(message)))) }
  terminate () { this.socket.destroy() }
}

/** A client's frame; its mask of zeros leaves the bytes as they are. */
function masked (kind, payload) {
  const head = payload.length < 126 ? Buffer.from([kind, 0x80 | payload.length, 0, 0, 0, 0]) : Buffer.from([kind, 0xfe, payload.length >> 8, payload.length & 255, 0, 0, 0, 0])
  return Buffer.concat([head, payload])
}
