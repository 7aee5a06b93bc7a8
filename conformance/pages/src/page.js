// The page: reads its address, connects one document, puts one editor on it, and says above it who is there.
//   ?server=ws://127.0.0.1:1234&room=NAME&provider=hocuspocus|y-websocket&editor=tiptap|codemirror|rich-text&user=NAME&color=%23rrggbb
// A test reads what people see, and `window.page`: the document's text, and how often a change of one's own followed one of somebody else, or the reverse.

import * as Y from 'yjs'
import { mountCodeMirror } from './codemirror.js'
import { connections } from './connections.js'
import { showConnection, showPeople, showTitle } from './heading.js'
import { mountRichText } from './rich_text.js'
import { begin } from './shared_text.js'
import { mountTipTap } from './tiptap.js'

const editors = { tiptap: mountTipTap, codemirror: mountCodeMirror, 'rich-text': mountRichText }

const wanted = Object.fromEntries(new URLSearchParams(location.search))
const { server, room, provider, editor, user: name, color } = wanted
for (const [key, allowed] of Object.entries({ provider: connections, editor: editors })) {
  if (!Object.hasOwn(allowed, wanted[key])) throw new Error(`${key} is "${wanted[key]}"; the page's address must say one of ${Object.keys(allowed).join(', ')}`)
}

const doc = new Y.Doc()
begin(doc)
showTitle(wanted)
const connection = connections[provider]({ server, room, doc, onState: showConnection })
connection.awareness.on('change', () => showPeople(connection.awareness))
connection.awareness.setLocalStateField('user', { name, color })
const textOf = editors[editor]({ element: document.getElementById('editor'), doc, connection, user: { name, color } })

window.page = { get text () { return textOf() }, turns: 0 }
let lastWasOwn
doc.on('afterTransaction', ({ local, changed }) => {
  if (changed.size === 0) return
  if (lastWasOwn === !local) window.page.turns++
  lastWasOwn = local
})
