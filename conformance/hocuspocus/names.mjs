// Statements about names and paths: which names there are, that a document and the y-websocket room of its name are one, and where the dialect is spoken. Run by
// scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { each } from '../lib/hocuspocus.mjs'
import { areExactly, auth, refused, update } from '../lib/hocuspocus_client.mjs'
import { hexOf } from '../lib/raw_client.mjs'
import { vector } from '../wire/vectors.mjs'

const named = {
  'one letter': 'a',
  'a slash': 'team/notes/7',
  'spaces': ' a b ',
  'letters beyond ASCII': 'Zürich-漢字-😀',
  'what looks encoded': 'a%20b%2Fc',
  'a question mark and more': 'a?b=c&d#e',
  'the name of a page of the server': 'health'
}

const unnamed = {
  'nothing': '',
  'a space': ' ',
  'spaces and tabs of the typographers': '\u00a0\u2003 ',
  'a line feed': 'a\nb',
  'a tab': 'a\tb',
  'a control character': 'a\u001fb',
  'DEL': 'a\u007fb',
  '1,025 bytes': 'a'.repeat(1025),
  '1,026 bytes of two-byte letters': 'é'.repeat(513),
  'an empty name with a session': '\0session',
  'an empty session': 'doc\0',
  'a session of 129 bytes': `doc\0${'s'.repeat(129)}`,
  'a session with a NUL': 'doc\0one\0two'
}

export const statements = {
  ...Object.fromEntries(Object.entries(named).map(([what, name]) => [
    `a name with ${what} is a document, and the y-websocket room of that name is the same`,
    async ({ server, enter, openRoom, room }) => {
      const full = what === 'one letter' || name === 'health' ? name : room + name
      const client = await enter(full)
      const member = await openRoom({}, `y/${full.split('/').map(encodeURIComponent).join('/')}`)
      client.send(update(full, vector('A1')))
      assert.equal(hexOf((await member.frame('the update', frame => frame.isUpdate)).payload), hexOf(vector('A1')))
      member.sendUpdate(vector('A2'))
      await client.next(full, 'the answer', message => message.isUpdate && hexOf(message.payload) === hexOf(vector('A2')), { from: 0 })
    }
  ])),

  async 'a name of 1,024 bytes and a session of 128 are taken' ({ enter, room }) {
    const name = room + 'x'.repeat(1024 - room.length)
    for (const address of [name, `${name}\0${'s'.repeat(128)}`, `${room}\0${'é'.repeat(64)}`]) {
      const client = await enter(address)
      await client.barrier(address)
    }
  },

  ...Object.fromEntries(Object.entries(unnamed).map(([what, name]) => [
    `a name of ${what} is refused with permission-denied, and only refused`,
    async ({ open, room }) => {
      const client = await open()
      client.send(auth(name, ''))
      await client.enter(room)
      await client.barrier(room)
      areExactly(client.to(name), [refused(name)], 'the answer to the auth message')
    }
  ])),

  async 'names that differ are different documents' ({ enter, room }) {
    const a = await enter()
    const others = [`${room}/`, `${room}x`, room.toUpperCase(), `/${room}`]
    a.send(update(room, vector('A1')))
    await a.message('the status', one => one.isSaved)
    for (const name of others) assert.equal(hexOf(await (await enter(name)).barrier(name)), '0000', `"${name}" has content`)
  },

  async 'it is spoken at / and /hocuspocus, with parameters or without' ({ server, editor, open, room }) {
    for (const path of ['/', '/hocuspocus', '/?x=1&doc=y', '/hocuspocus?x=1']) {
      const client = await open({}, path)
      await client.enter(`${room}${path}`)
      await client.barrier(`${room}${path}`)
    }
    await each(async version => {
      const [a, b] = [editor(version, { name: `${room}/${version}`, url: `${server.url}/hocuspocus/` }), editor(version, { name: `${room}/${version}`, url: `${server.url}/` })]
      await Promise.all([a, b].map(each => each.saved()))
      a.type('hi')
      await b.reads('hi')
    })
    const response = await fetch(`http://127.0.0.1:${server.port}/`)
    await response.text()
    assert.equal(response.status, 200, 'a plain GET of /')
  },

  async 'other paths are not this dialect, whatever the first frame looks like' ({ openRoom, room }) {
    const client = await openRoom()
    client.send(auth(room, ''))
    assert.equal(hexOf(await client.barrier()), '0000')
    assert.ok(client.frames.every(frame => frame.type <= 1), `a y-websocket room answered ${client.frames.map(frame => frame.hex)}`)
  }
}
