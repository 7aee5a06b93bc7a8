// The one text that TipTap and CodeMirror both edit. TipTap's binding wants an XML fragment, CodeMirror's a text. A paragraph of the fragment holds its
// characters in a Y.XmlText, which is a Y.Text: so CodeMirror edits the text inside of TipTap's only paragraph.

import * as Y from 'yjs'

export const fragmentName = 'page'
export const blockName = 'paragraph'

/** The lines that everybody finds. Authors write behind the colons. */
const firstText = 'Ann: \nBen: \nBoth: '

/** The same change, byte for byte, from every window: however many make it, the document has it once. */
const firstUpdate = (() => {
  const doc = new Y.Doc()
  doc.clientID = 1
  const block = new Y.XmlElement(blockName)
  block.insert(0, [new Y.XmlText(firstText)])
  doc.getXmlFragment(fragmentName).insert(0, [block])
  return Y.encodeStateAsUpdate(doc)
})()

/** Gives a new document its first text. */
export function begin (doc) { Y.applyUpdate(doc, firstUpdate) }

export const sharedFragment = doc => doc.getXmlFragment(fragmentName)

/** @returns {Y.XmlText} */
export const sharedText = doc => sharedFragment(doc).get(0).get(0)
