// Everything that clients were shown: an update that another member received, or the echo that told its author it is saved. After
// whatever happens to the server, all of it must still be there. Called by kill-9 and disk-full.

import * as Y from 'yjs'
import { RawClient } from './raw_client.mjs'

export class Witness {
  constructor () {
    this.shown = 0
    this.doc = new Y.Doc({ gc: false })
  }

  /** Notes all content frames that this client receives from here on. */
  watch (client) {
    const next = client.onframe
    client.onframe = frame => {
      if (frame.isUpdate || frame.isStep2) {
        this.shown++
        Y.applyUpdate(this.doc, frame.payload)
      }
      next(frame)
    }
  }

  /** Fails if a newly joining client does not get all that was shown. @returns {Promise<Y.Doc>} what that client gets */
  async check (url, when) {
    const client = await RawClient.open(url)
    await client.barrier()
    const doc = new Y.Doc()
    for (const frame of client.frames) if (frame.isUpdate || frame.isStep2) Y.applyUpdate(doc, frame.payload)
    client.terminate()
    const before = Y.encodeStateVector(doc)
    let lost = null
    doc.once('update', update => { lost = update })
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(this.doc))
    if (lost !== null || doc.store.pendingStructs !== null || doc.store.pendingDs !== null) {
      throw new Error(`${when}: content that clients had been shown is gone; the server has ${JSON.stringify([...Y.decodeStateVector(before)])}, ` +
        `the clients saw ${JSON.stringify([...Y.decodeStateVector(Y.encodeStateVector(doc))])}, first loss: ${Buffer.from(lost ?? []).toString('hex').slice(0, 200)}`)
    }
    return doc
  }
}
