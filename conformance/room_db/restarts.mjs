// Statements about consoles that lose their server and about what kills leave: whatever was answered as done is there. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { forEach } from '../lib/any_editor_statements.mjs'
import { Random } from '../lib/random.mjs'
import { Account } from '../lib/room_db_accounts.mjs'
import { Console, wrappers } from '../lib/room_db_console.mjs'
import { RoomDbClient } from '../lib/room_db.mjs'
import { breathe, until } from '../lib/until.mjs'
import { created, enterWith } from './visits.mjs'

const rounds = 50
const roomCount = 5
const ownersPerRoom = 3 // whose changes of single rows are limited to 100 a minute, by room
const updatesPerOwner = 90
const answersMax = 400 // of a round, which is short
const unansweredMax = 8
const batchRows = 50 // one transaction: all of them or none

export const onConsoles = {
  ...forEach(
    Object.fromEntries(Object.keys(wrappers).map(wrapper => [wrapper, null])),
    wrapper => `a console over ${wrapper}: kept messages, subscriptions, presence and live queries come back with the server (2, 5, 12.16)`,
    async ({ startServer, id, keep }, _, wrapper) => {
      const server = await startServer()
      const [ann, ben] = [await Account.signUp(server, 'ann'), await Account.signUp(server, 'ben')]
      const open = who => keep(new Console(server, id, who, { wrapper })).connected()
      const [one, two] = [await open(ann), await open(await ben.makeKey())]
      for (const console of [one, two]) {
        console.show({ userId: console === one ? 'ann' : 'ben', status: 'here' }, { userId: console === one ? 'ann' : 'ben', position: 1 })
        console.subscribe('people')
      }
      const counted = 'SELECT COUNT(*) AS n FROM people'
      await one.rpc('createTable', created('people', 'name'))
      two.watch(counted, 'people')
      await one.rpc('batchInsert', { table: 'people', rows: [{ name: 'before' }] })
      await until('the change and the count', () => two.rows.get('people')?.size === 1 && two.result(counted)?.[0].n === 1)
      await until('the presence of both', () => two.others.presence.has('ann') && one.others.cursors.has('ben'))
      await assert.rejects(one.rpc('deleteTable', {}), /deleteTable requires tableName parameter/)
      assert.equal((await one.rpc('executeSQL', { sql: 'DROP TABLE people' })).type, 'query_error', 'a failed read is a result with an error')

      for (const [round, end] of [[1, () => server.kill9()], [2, () => server.terminate()], [3, () => server.kill9()]]) {
        await end()
        await until('both to notice', () => !one.isConnected && !two.isConnected)
        for (const console of [one, two]) console.others.presence.clear()
        const kept = [one.rpc('batchInsert', { table: 'people', rows: [{ name: `kept ${round}` }] }), two.rpc('createTask', { title: `kept ${round}` })]
        await server.start()
        for (const answer of await Promise.all(kept)) assert.equal(answer.type, 'mutation_success')
        for (const console of [one, two]) {
          await console.connected()
          assert.equal(console.resets, round + 1)
          assert.deepEqual(Object.keys(console.schema).sort(), ['people', 'tasks'])
        }
        await until('presence to be told anew', () => one.others.presence.has('ben') && two.others.presence.has('ann'))
        await one.rpc('batchInsert', { table: 'people', rows: [{ name: `after ${round}` }] })
        await until('the change', () => [...two.rows.get('people').values()].some(({ name }) => name === `after ${round}`))
        await until('the live count', () => two.result(counted)[0].n === 1 + 2 * round)
      }
      const { data } = await two.rpc('executeSQL', { sql: 'SELECT name FROM people ORDER BY id' })
      assert.deepEqual(data.map(({ name }) => name), ['before', ...[1, 2, 3].flatMap(round => [`kept ${round}`, `after ${round}`])])
      assert.ok(one.pongs >= 4, 'a console pings as soon as it is connected')
    }
  ),

  ...forEach(
    Object.fromEntries(Object.keys(wrappers).map(wrapper => [wrapper, null])),
    wrapper => `a console over ${wrapper} whose session has ended gives up after its tries (1, 8)`,
    async ({ server, id, keep }, _, wrapper) => {
      const account = await Account.signUp(server, 'gone', { email: `${id}@people.example` })
      const console = await keep(new Console(server, id, account, { wrapper, tries: 5 })).connected()
      await account.signOut()
      await until('the end of the connection', () => console.ends.length > 0, { ms: 61_000 })
      assert.equal(console.ends[0].code, 1008)
      await until('all tries to have failed', () => console.attempts.length === 6 && console.attempts.every(({ readyState }) => readyState === 3))
    }
  )
}

export const onKills = {
  async 'fifty kills under load: whatever was answered as done is there, batches whole, values never older (7, 12.16)' (tools) {
    const { startServer, id, seed, log } = tools
    const random = new Random(seed)
    const server = await startServer()
    const owners = await Promise.all(Array.from({ length: ownersPerRoom }, (_, i) => Account.signUp(server, `owner${i}`)))
    const rooms = Array.from({ length: roomCount }, (_, i) => ({ name: `${id}-${i}`, batches: new Map(), tasks: new Set(), counters: owners.map(() => ({ answered: 0, sent: 0 })) }))
    const open = (room, who) => RoomDbClient.open(server, room.name, who)
    for (const room of rooms) {
      const client = await open(room, owners[0])
      await client.call('createTable', created('log', 'batch', { name: 'n', type: 'INTEGER' }))
      await client.call('createTable', created('counters', { name: 'n', type: 'INTEGER' }))
      await client.call('batchInsert', { table: 'counters', rows: owners.map(() => ({ n: 0 })) })
      client.terminate()
    }
    let answered = 0
    const began = performance.now()
    for (let round = 0; round < rounds; round++) {
      const room = rooms[round % roomCount]
      const clients = await Promise.all(owners.map(owner => open(room, owner)))
      const target = answered + random.between(1, answersMax)
      let running = true
      const work = Promise.all(clients.map((client, i) => write(client, room, `${round}-${i}`, room.counters[i], i + 1, new Random(random.word()), () => running, () => answered++)))
      await until('the clients to be answered', () => answered >= target, { everyMs: 1 })
      running = false
      await server.kill9()
      await work
      for (const client of clients) client.terminate()
      await server.start()
      await check(await open(room, owners[round % ownersPerRoom]), room, `${round}-%`, `seed ${seed}, round ${round}`)
    }
    for (const room of rooms) {
      const tasks = await Promise.all(owners.map(async owner => {
        const client = await open(room, owner)
        if (owner === owners[0]) await check(client, room, '%', `seed ${seed}, at the end`, false)
        const titles = []
        for (let offset = 0; ; offset += 1000) {
          const { data } = await client.call('listTasks', { limit: 1000, offset })
          titles.push(...data.map(({ title }) => title))
          if (data.length < 1000) break
        }
        client.terminate()
        return titles
      }))
      const there = new Set(tasks.flat())
      for (const title of room.tasks) assert.ok(there.has(title), `seed ${seed}: the task ${title} of ${room.name} is gone, though it was answered`)
    }
    log(`${rounds} kills in ${((performance.now() - began) / 1_000).toFixed(0)} s, ${answered} answered writes, none lost; seed ${seed}`)
  }
}

/** One writer: single rows, batches, tasks, and changes of a row of its own. Notes what was answered. */
async function write (client, room, writer, counter, counterId, random, running, done) {
  let unanswered = 0
  let count = 0
  let budget = { tasks: 5, updates: Math.floor(updatesPerOwner / (rounds / roomCount)) } // rates are by user and room
  const notes = new Map()
  client.onmessage = message => {
    const note = notes.get(message.requestId)
    if (note === undefined) return
    notes.delete(message.requestId)
    unanswered--
    if (message.type !== 'mutation_success') throw new Error(`${JSON.stringify(message)}`)
    note()
    done()
  }
  const send = (method, payload, note) => {
    const requestId = `${writer}-${count++}`
    notes.set(requestId, note)
    unanswered++
    client.send({ action: 'rpc', method, payload, requestId })
  }
  while (running() && client.isOpen) {
    if (unanswered < unansweredMax) {
      const kind = random.weighted({ one: 4, many: 3, update: budget.updates > 0 ? 3 : 0, task: budget.tasks > 0 ? 1 : 0 })
      const batch = `${writer}-${count}`
      if (kind === 'one' || kind === 'many') {
        const rows = kind === 'one' ? 1 : batchRows
        room.batches.set(batch, { rows, answered: false })
        send('batchInsert', { table: 'log', rows: Array.from({ length: rows }, (_, n) => ({ batch, n })) }, () => { room.batches.get(batch).answered = true })
      } else if (kind === 'update') {
        budget.updates--
        const value = ++counter.sent
        send('updateRow', { table: 'counters', id: counterId, field: 'n', value }, () => { counter.answered = Math.max(counter.answered, value) })
      } else {
        budget.tasks--
        send('createTask', { title: batch }, () => room.tasks.add(batch))
      }
    }
    await breathe()
  }
}

/** What the database has of the batches with these names, and of the counters, against what was answered. */
async function check (client, room, like, when, ends = true) {
  const counts = new Map((await client.select('SELECT batch, COUNT(*) AS rows, COUNT(DISTINCT n) AS different FROM log WHERE batch LIKE ? GROUP BY batch', [like])).map(row => [row.batch, row]))
  const prefix = like.slice(0, -1)
  for (const [batch, { rows, answered }] of room.batches) {
    if (!batch.startsWith(prefix)) continue
    const found = counts.get(batch)
    if (found === undefined) assert.ok(!answered, `${when}: the batch ${batch} of ${room.name} is gone, though it was answered`)
    else assert.deepEqual([found.rows, found.different], [rows, rows], `${when}: of the batch ${batch} of ${room.name} there is a part`)
  }
  for (const [i, { n }] of (await client.select('SELECT n FROM counters ORDER BY id')).entries()) {
    const { answered, sent } = room.counters[i]
    assert.ok(n >= answered && n <= sent, `${when}: counter ${i} of ${room.name} is ${n}; ${answered} was answered, ${sent} sent`)
    room.counters[i].answered = n
  }
  if (ends) client.terminate()
}
