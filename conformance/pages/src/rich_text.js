// TipTap as most applications have it: paragraphs, headings, bold, from its starter kit. On a fragment of its own; CodeMirror has no part in it.

import { Editor } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { CollaborationCaret } from '@tiptap/extension-collaboration-caret'
import { StarterKit } from '@tiptap/starter-kit'

export function mountRichText ({ element, doc, connection: { provider }, user }) {
  const fragment = doc.getXmlFragment('rich text')
  // Undo belongs to the Collaboration extension; a paragraph that every window adds by itself would be there once for each window.
  const editor = new Editor({
    element,
    extensions: [
      StarterKit.configure({ undoRedo: false, trailingNode: false }),
      Collaboration.configure({ fragment }),
      CollaborationCaret.configure({ provider, user })
    ]
  })
  editor.view.dom.spellcheck = false
  return () => fragment.toArray().map(block => block.toArray().map(text => text.toDelta().map(({ insert }) => insert).join('')).join('')).join('\n')
}
