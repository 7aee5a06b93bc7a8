// Statements about the Hocuspocus protocol: each is a function with a document of its own, proved side by side (lib/statements.mjs), and gets what it
// needs to speak both as a provider and frame by frame.

import assert from 'node:assert/strict'
import { HocuspocusEditor, SharedSocket } from './hocuspocus.mjs'
import { RawHocuspocus } from './hocuspocus_client.mjs'
import { prove } from './statements.mjs'

/**
 * @param {string} theme a part of the document's names, so that two themes may share a server
 * @param {Record<string, (tools: object) => Promise<void>>} statements
 */
export async function proveDocuments (theme, statements, { server, log, ms = 40_000, ...more }) {
  const equipped = Object.entries(statements).map(([statement, holds], i) => [statement, async ({ room: _, open: openRoom, edit, ...tools }) => {
    const used = []
    const keep = one => used[used.push(one) - 1]
    const room = `hocuspocus/${theme}/${process.pid}/${i}`
    const open = async (options, path = '/') => keep(await RawHocuspocus.open(`${server.url}${path}`, options))
    try {
      await holds({
        ...tools,
        room,
        /** A client that speaks frame by frame. */
        open,
        /** The same, with one address accepted. */
        async enter (address = room, options) {
          const client = await open()
          await client.enter(address, options)
          return client
        },
        /** A provider, with a socket of its own or on `socket`. */
        editor: (version, { name = room, url = server.url, ...options } = {}) => keep(new HocuspocusEditor(version, url, name, options)),
        shared: (version, options) => keep(new SharedSocket(version, server.url, options)),
        /** A y-websocket provider. */
        edit: (version, options) => edit(version, { room, ...options }),
        /** A client that speaks the y-websocket protocol frame by frame. */
        openRoom: (options, name = room) => openRoom(options, name)
      })
      for (const one of used) assert.deepEqual(one.forbidden ?? [], [], `provider ${one.version} got messages that it must never get`)
    } finally {
      for (const one of used.reverse()) one.terminate()
    }
  }])
  await prove(Object.fromEntries(equipped), { server, log: text => log(`${theme}: ${text}`), ms, ...more })
}
