// The notes page: the app's client on the browser's own WebSocket, the notes of one user, and one of them to edit. The server and the name of the device are in its
// address, the token is typed in, and shown to the server once.
//   notes.html?server=ws://127.0.0.1:1234&user=DEVICE&color=%23rrggbb
// A test reads what people see, and `window.page.dropped`: messages that the client had to drop.

import { NotesApp } from '../../lib/notes_app.mjs'
import { Notebook } from './notes_notebook.js'
import { showAll, showConnection, showHappened, showNote, noteAsTyped } from './notes_view.js'

const { server, user: device, color } = Object.fromEntries(new URLSearchParams(location.search))
const at = id => document.getElementById(id)
at('device').textContent = `on ${device}`
at('server').textContent = server
document.title = `Notes on ${device}`
document.documentElement.style.setProperty('--me', color)

const app = new NotesApp({ url: `${server}/sync`, WebSocket })
const notebook = new Notebook({ app, happened: showHappened })
let current = null // the id of the note in the form
let isTouched = false // whether the form says something that is not saved

function open (id) {
  current = id
  isTouched = false
  showNote(notebook.notes.get(id))
}

function show () {
  showAll(notebook, current, open)
  if (current !== null && !isTouched) showNote(notebook.notes.get(current))
}

notebook.onchange = show
app.on('connection_state_changed', showConnection)
window.page = { get dropped () { return app.dropped } }

at('entry').addEventListener('submit', event => {
  event.preventDefault()
  app.connect(at('token').value.trim())
  at('token').value = ''
  at('entry').hidden = true
  at('desk').hidden = false
})
at('new').addEventListener('click', () => {
  open(crypto.randomUUID())
  at('title').focus()
  show()
})
at('note').addEventListener('input', () => { isTouched = true })
at('note').addEventListener('submit', event => {
  event.preventDefault()
  current ??= crypto.randomUUID()
  isTouched = false
  notebook.save(current, noteAsTyped())
})
at('delete').addEventListener('click', () => {
  if (!notebook.notes.has(current)) return
  notebook.remove(current)
  open(null)
  show()
})
show()
