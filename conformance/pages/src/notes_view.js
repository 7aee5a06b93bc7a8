// What is seen of the notes: the list, the form, the connection, what happened. Called by the page; decides nothing.

const at = id => document.getElementById(id)
const clock = time => new Date(time).toISOString().slice(11, 19)
const happenedMax = 8

export function showConnection (state) {
  at('connection').textContent = state
  at('connection').dataset.state = state
}

/** The newest first. @param {(id: string) => void} open */
export function showAll ({ notes, unsent }, current, open) {
  const newest = [...notes.values()].sort((a, b) => Date.parse(b.updatedAt) - Date.parse(a.updatedAt))
  at('list').replaceChildren(...newest.map(note => {
    const item = element('li', { title: note.title || 'Untitled', tags: note.tags.join(', '), time: clock(note.updatedAt) })
    Object.assign(item.dataset, { id: note.id, current: note.id === current, unsent: unsent.has(note.id) })
    item.addEventListener('click', () => {
      open(note.id)
      for (const other of at('list').children) other.dataset.current = other === item
    })
    return item
  }))
  at('count').textContent = notes.size
  at('unsent').textContent = unsent.size
}

/** Leaves the caret where it is when nothing changes. */
export function showNote (note) {
  const { title = '', tags = [], content = '', remoteVersion, updatedAt } = note ?? {}
  for (const [id, value] of Object.entries({ title, tags: tags.join(', '), content })) if (at(id).value !== value) at(id).value = value
  at('about').textContent = updatedAt === undefined ? '' : `saved at ${clock(updatedAt)}${remoteVersion === undefined ? '' : `, the server's version ${remoteVersion}`}`
}

export const noteAsTyped = () => ({
  title: at('title').value,
  content: at('content').value,
  tags: at('tags').value.split(',').map(tag => tag.trim()).filter(tag => tag !== '')
})

export function showHappened (kind, text) {
  const item = element('li', { time: clock(Date.now()), what: text })
  item.dataset.kind = kind
  at('happened').prepend(item)
  while (at('happened').children.length > happenedMax) at('happened').lastChild.remove()
}

function element (name, parts) {
  const made = document.createElement(name)
  for (const [part, text] of Object.entries(parts)) {
    const span = document.createElement('span')
    span.className = part
    span.textContent = text
    made.append(span)
  }
  return made
}
