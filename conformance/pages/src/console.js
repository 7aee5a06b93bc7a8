// The console of a room database: sign up, make tables, insert rows, and see at once what others do, where they are, and what a query gives by now.
//   ?server=ws://127.0.0.1:1234&room=NAME&color=%23rrggbb
// A test reads what people see.

import { Room } from './console_room.js'

const { server, room: roomName, color } = Object.fromEntries(new URLSearchParams(location.search))
const http = server.replace(/^ws/, 'http')
const changesMax = 12
const presenceEveryMs = 20_000 // it lasts a minute

const at = id => document.getElementById(id)
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties)
  element.append(...children)
  return element
}

let room
let me // {name, color}
let schema = {}
let current = null // the table that is shown
let wanted = null // one that was just made, whose columns are still on their way
let ownCell = null
const rows = new Map() // of the table that is shown, by id
const people = new Map() // label -> {name, color}
const cells = new Map() // label -> {table, id, column}

at('room').textContent = roomName
document.documentElement.style.setProperty('--me', color)

const ask = (path, body) => fetch(http + path, {
  method: body === undefined ? 'GET' : 'POST', credentials: 'include', ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
})

/** What a form does when it is sent; what goes wrong is said below it. */
function onSubmit (form, act) {
  form.addEventListener('submit', async event => {
    event.preventDefault()
    const problem = form.querySelector('.problem')
    if (problem !== null) problem.textContent = ''
    try {
      await act(Object.fromEntries(new FormData(form)))
    } catch (error) {
      if (problem !== null) problem.textContent = error.message
      else throw error
    }
  })
}

onSubmit(at('sign-up'), async ({ name, email, password }) => {
  const answer = await ask('/api/auth/sign-up/email', { name, email, password })
  const body = await answer.json()
  if (!answer.ok) throw new Error(body.message)
  enter(body.user)
})

const session = await (await ask('/api/auth/get-session')).json()
if (session !== null) enter(session.user)

function enter ({ name }) {
  me = { name, color }
  document.title = `${name}: ${roomName}`
  at('sign-up').hidden = true
  document.querySelector('main').hidden = false
  room = new Room({ server, room: roomName, onState: showState, onMessage: receive })
  room.show('setPresence', { userId: name, status: me })
  setInterval(() => room.show('setPresence', { userId: name, status: me }), presenceEveryMs)
}

function showState (state) {
  at('connection').dataset.state = state
  at('connection').textContent = state
  if (state !== 'connected') return
  people.clear()
  cells.clear()
  room.call('getPresence').then(({ data }) => {
    for (const { userId, status } of data) people.set(userId, status)
    showPeople()
  })
  room.call('getCursors').then(({ data }) => {
    for (const { userId, position } of data) cells.set(userId, position)
    showRows()
  })
  if (current !== null) load(current)
}

function receive (message) {
  if (message.type === 'schema_update') {
    schema = message.schema
    for (const table of Object.keys(schema)) room.subscribe(table)
    showTables()
    const shown = [wanted, current].find(table => table in schema) ?? Object.keys(schema).find(table => table !== 'tasks') ?? 'tasks'
    if (shown === wanted) wanted = null
    if (shown !== current) load(shown)
  } else if (message.event === 'update') change(message)
  else if (message.event === 'memory_update' && message.type === 'presence') {
    people.set(message.data.userId, message.data.status)
    showPeople()
  } else if (message.event === 'memory_update') {
    cells.set(message.data.userId, message.data.position)
    showRows()
  } else if (message.type === 'query_result' && message.originalSql === room.query?.sql) showTable(at('result'), message.data)
}

function change ({ table, action, row }) {
  const words = Object.entries(row).filter(([, value]) => value !== null).map(([column, value]) => `${column} ${value}`).join(', ')
  at('changes').prepend(make('li', {}, make('b', { textContent: action }), `${table}: ${words}`))
  at('changes').firstChild.firstChild.dataset.action = action
  while (at('changes').children.length > changesMax) at('changes').lastChild.remove()
  if (table !== current) return
  if (action === 'deleted') rows.delete(row.id)
  else rows.set(row.id, { ...row, isFresh: true })
  showRows()
}

async function load (table) {
  current = table
  showTables()
  showForm()
  const { data } = await room.call('executeSQL', { sql: `SELECT * FROM ${table} ORDER BY id LIMIT 100`, readonly: true })
  if (table !== current) return
  rows.clear()
  for (const row of data) rows.set(row.id, row)
  showRows()
}

function showTables () {
  at('tables').replaceChildren(...Object.entries(schema).map(([table, columns]) => {
    const button = make('button', { type: 'button', onclick: () => load(table) }, `${table} `, make('span', { textContent: `${columns.length} columns` }))
    button.setAttribute('aria-current', table === current)
    return make('li', {}, button)
  }))
  at('title').textContent = current ?? ''
}

/** One field for each column that people fill in. */
function showForm () {
  const columns = (schema[current] ?? []).map(({ name }) => name).filter(name => name !== 'id')
  if (current === 'tasks') return at('insert').replaceChildren()
  at('insert').replaceChildren(...columns.map(name => make('label', {}, name, make('input', { name, autocomplete: 'off' }))), make('button', { textContent: 'Insert' }))
}

onSubmit(at('insert'), async row => {
  await room.call('batchInsert', { table: current, rows: [row] })
  at('insert').reset()
})

onSubmit(at('create'), async ({ table, columns }) => {
  const described = columns.split(',').map(column => column.trim().split(/\s+/)).map(([name, type = 'TEXT']) => ({ name, type }))
  await room.call('createTable', { tableName: table, columns: described })
  at('create').reset()
  if (table in schema) await load(table)
  else wanted = table
})

onSubmit(at('query'), ({ sql }) => room.watch(sql, /FROM\s+(\w+)/i.exec(sql)?.[1] ?? current))

function showPeople () {
  at('people').replaceChildren(...[...people].sort().map(([label, { name, color }]) => {
    const item = make('li', { textContent: label === me.name ? `${name} (you)` : name })
    item.style.backgroundColor = color
    item.dataset.name = name
    return item
  }))
}

function showRows () {
  const columns = (schema[current] ?? []).map(({ name }) => name)
  at('rows').tHead.replaceChildren(make('tr', {}, ...columns.map(name => make('th', { textContent: name }))))
  at('rows').tBodies[0].replaceChildren(...[...rows.values()].sort((a, b) => a.id - b.id).map(row => {
    const line = make('tr', { className: row.isFresh ? 'fresh' : '' }, ...columns.map(column => cell(row, column)))
    row.isFresh = false
    return line
  }))
}

function cell (row, column) {
  const isHere = position => position?.table === current && position.id === row.id && position.column === column
  const element = make('td', { textContent: row[column] ?? '' })
  element.classList.toggle('mine', isHere(ownCell))
  element.onclick = () => {
    ownCell = { table: current, id: row.id, column }
    room.show('setCursor', { userId: me.name, position: ownCell })
    showRows()
  }
  for (const [label, position] of cells) {
    if (label === me.name || !isHere(position)) continue
    const { name, color } = people.get(label) ?? { name: label, color: '#667085' }
    const frame = make('span', { className: 'frame' }, make('span', { className: 'name', textContent: name }))
    frame.style.borderColor = frame.firstChild.style.backgroundColor = color
    element.append(frame)
  }
  return element
}

function showTable (table, data) {
  const columns = Object.keys(data[0] ?? {})
  table.tHead.replaceChildren(make('tr', {}, ...columns.map(name => make('th', { textContent: name }))))
  table.tBodies[0].replaceChildren(...data.map(row => make('tr', {}, ...columns.map(name => make('td', { textContent: row[name] ?? '' })))))
}
