// TipTap on the shared text: a document of one paragraph whose line breaks are characters, as CodeMirror's are. Undo comes with the Collaboration extension.

import { Editor, Extension, Node } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { CollaborationCaret } from '@tiptap/extension-collaboration-caret'
import { Document } from '@tiptap/extension-document'
import { Text } from '@tiptap/extension-text'
import { Plugin } from '@tiptap/pm/state'
import { blockName, sharedFragment, sharedText } from './shared_text.js'

/** `code` makes of Enter a line break inside of the block. */
const Block = Node.create({
  name: blockName,
  content: 'text*',
  marks: '',
  code: true,
  parseHTML: () => [{ tag: 'p', preserveWhitespace: 'full' }],
  renderHTML: () => ['p', 0]
})

/** The binding throws away the Y.XmlText of an empty block, and with it what CodeMirror edits. */
const NeverEmpty = Extension.create({
  name: 'neverEmpty',
  addProseMirrorPlugins: () => [new Plugin({ filterTransaction: ({ docChanged, doc }) => !docChanged || doc.textContent !== '' })]
})

export function mountTipTap ({ element, doc, connection: { provider }, user }) {
  const editor = new Editor({
    element,
    extensions: [
      Document.extend({ content: blockName }),
      Text,
      Block,
      NeverEmpty,
      Collaboration.configure({ fragment: sharedFragment(doc) }),
      CollaborationCaret.configure({ provider, user })
    ]
  })
  editor.view.dom.spellcheck = false
  return () => sharedText(doc).toString()
}
