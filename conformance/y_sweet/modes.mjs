// The two ways to run the dialect: open, where no tokens are made or checked, and signed. Each is a server with the SDK, and the credentials that its
// calls need; statements that hold in both take the mode as it comes. Called by scenarios/y_sweet.mjs.

import * as Y from 'yjs'
import { until } from '../lib/until.mjs'
import { YSweetEditor, call, managerOf, openRaw, serverToken, signedMode } from '../lib/y_sweet.mjs'

export class Mode {
  /** @param {(options: object) => Promise<import('../lib/server.mjs').Server>} startServer */
  static async start (isSigned, startServer, env = {}) {
    const mode = new Mode()
    mode.isSigned = isSigned
    mode.startAnother = (more = {}) => Mode.start(isSigned, startServer, { ...env, ...more })
    mode.server = await startServer({ env: { ...(isSigned ? signedMode : {}), ...env } })
    mode.serverToken = isSigned ? serverToken : undefined
    mode.manager = managerOf(mode.server, mode.serverToken)
    return mode
  }

  /** A call with the server token, if there are tokens. */
  call (method, path, options) {
    return call(this.server, method, path, { token: this.serverToken, ...options })
  }
  /** The client token of a document that exists from now on. */
  clientToken (id, options) {
    return this.manager.getOrCreateDocAndToken(id, options)
  }
  /** Its `token`; undefined in open mode. */
  async token (id, options) {
    return (await this.clientToken(id, options)).token
  }
  edit (id, options) {
    return new YSweetEditor(id, () => this.clientToken(id, options))
  }
  async open (id, options) {
    return await openRaw(this.server, id, await this.token(id, options))
  }
  async text (id) {
    return textOf(await this.manager.getDocAsUpdate(id))
  }
}

export function textOf (update) {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return doc.getText('t').toString()
}

export const untilText = (editor, text) =>
  until(
    () => `the text "${text}"; there is "${editor.text}"`,
    () => editor.text === text
  )
