// What stands above the editor: which editor over which provider, the room, the state of the connection, the people.

const names = {
  tiptap: 'TipTap', codemirror: 'CodeMirror 6', 'rich-text': 'TipTap with formatting',
  hocuspocus: 'Hocuspocus provider', 'y-websocket': 'y-websocket provider'
}
const at = id => document.getElementById(id)

export function showTitle ({ server, room, provider, editor, user, color }) {
  const over = document.createElement('span')
  over.textContent = ` over the ${names[provider]}`
  document.querySelector('h1').replaceChildren(names[editor], over)
  document.title = `${user}: ${names[editor]} over the ${names[provider]}`
  document.documentElement.style.setProperty('--me', color)
  at('room').textContent = room
  at('server').textContent = server
}

/** @param {'connecting'|'connected'|'synced'} state @param {'saving'|'saved'} [saved] where the provider is told */
export function showConnection (state, saved) {
  at('connection').textContent = state === 'synced' && saved !== undefined ? `${state}, ${saved}` : state
  Object.assign(at('connection').dataset, saved === undefined ? { state } : { state, saved })
}

export function showPeople (awareness) {
  const people = [...awareness.getStates()].filter(([, { user }]) => user !== undefined)
  at('people').replaceChildren(...people.map(([client, { user }]) => {
    const item = document.createElement('li')
    item.textContent = client === awareness.clientID ? `${user.name} (this window)` : user.name
    item.style.backgroundColor = user.color
    item.dataset.name = user.name
    return item
  }))
}
