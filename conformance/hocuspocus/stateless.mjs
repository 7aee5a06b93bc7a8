// Statements about application messages: who gets them, and that nobody keeps them. Run by scenarios/hocuspocus.mjs.

import assert from 'node:assert/strict'
import { stateless, update } from '../lib/hocuspocus_client.mjs'
import { until } from '../lib/until.mjs'
import { vector } from '../wire/vectors.mjs'

export const statements = {
  async 'an application message goes to all others of the document, in both versions, to no other document, and is not kept (13.9)' ({ editor, shared, room }) {
    const socket = shared('4.8.0')
    const sender = editor('3.4.4')
    const others = [editor('3.4.4'), editor('4.8.0'), editor('4.8.0', { session: true }), editor('4.8.0', { socket, session: true })]
    const strangers = [editor('3.4.4', { name: `${room}/other` }), editor('4.8.0', { name: `${room}/other`, socket })]
    await Promise.all([sender, ...others, ...strangers].map(each => each.saved()))
    const payloads = ['x', '', 'ä漢😀', '{"type":"comment","text":"a\\u0000b"}', 'x'.repeat(1 << 20)]
    for (const payload of payloads) sender.provider.sendStateless(payload)
    const sizes = list => list.map(payload => payload.length > 50 ? payload.length : payload)
    for (const other of others) {
      await until(() => `${payloads.length} application messages; received ${JSON.stringify(sizes(other.stateless))}`, () => other.stateless.length >= payloads.length)
      assert.deepEqual(sizes(other.stateless), sizes(payloads))
    }
    others[0].provider.sendStateless('back')
    await until('the answer', () => sender.stateless.length > 0)
    assert.deepEqual(sender.stateless, ['back'], 'the sender gets no copy of its own')
    for (const stranger of strangers) {
      stranger.provider.forceSync()
      await stranger.saved()
      assert.deepEqual(stranger.stateless, [], 'another document got application messages')
    }
    const late = editor('4.8.0')
    await late.saved()
    assert.deepEqual(late.stateless, [], 'application messages were kept')
  },

  async 'an application message over 1 MiB is not relayed, one of 1 MiB is' ({ enter, room }) {
    const [a, b] = [await enter(), await enter()]
    a.send(stateless(room, 'x'.repeat(1 << 20)))
    await b.message('the application message of 1 MiB', one => one.isStateless && one.text.length === 1 << 20)
    a.send(stateless(room, 'y'.repeat((1 << 20) + 1)))
    const c = await enter()
    c.send(stateless(room, 'after'))
    await b.message('a later application message', one => one.isStateless && one.text === 'after')
    if (a.closed === null) await b.barrier(room)
    assert.ok(!b.messages.some(one => one.isStateless && one.text.startsWith('y')), 'it was relayed')
    assert.equal(b.closed, null)
  },

  async 'clients of y-websocket notice no application messages' ({ enter, openRoom, room }) {
    const [client, member] = [await enter(), await openRoom()]
    client.send(stateless(room, 'x'))
    client.send(update(room, vector('A1')))
    await member.frame('the update', frame => frame.isUpdate)
    assert.ok(member.frames.every(frame => !frame.unreadable && frame.trailing === 0 && frame.type <= 1), `it was sent ${member.frames.map(frame => frame.hex)}`)
  }
}
