// CodeMirror 6 on the shared text.

import { defaultKeymap } from '@codemirror/commands'
import { EditorState } from '@codemirror/state'
import { EditorView, keymap, lineNumbers } from '@codemirror/view'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import { sharedText } from './shared_text.js'

export function mountCodeMirror ({ element, doc, connection: { awareness } }) {
  const text = sharedText(doc)
  new EditorView({
    parent: element,
    state: EditorState.create({
      doc: text.toString(),
      extensions: [keymap.of([...yUndoManagerKeymap, ...defaultKeymap]), lineNumbers(), EditorView.lineWrapping, yCollab(text, awareness)]
    })
  })
  return () => text.toString()
}
