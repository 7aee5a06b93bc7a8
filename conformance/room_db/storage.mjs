// Statements about where rows are kept: a database that is full, more rooms than open files, an identity provider beside the accounts. Each has a server of its
// own. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { makeToken, secret } from '../lib/access.mjs'
import { askUpgrade } from '../lib/any_editor_http.mjs'
import { Account } from '../lib/room_db_accounts.mjs'
import { enterWith, mutationError, withPeople } from './visits.mjs'

const smallest = '1 MiB'
const openMax = 3
const roomCount = 12
const rowsOfEach = 20
const roomsPerHour = 4

export const inEachOwnStorage = {
  async 'a room that is full: Room database is full; reading, deleting and other rooms go on, and then there is room (7)' ({ startServer, ...tools }) {
    const server = await startServer({ CONCORD_ROOM_DB_ROOM_BYTES_MAX: smallest })
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    const [client, other] = [await enterWith(own, ann), await enterWith(own, ann, { room: `${tools.id}-other` })]
    await withPeople(client, 'first')
    const rows = Array.from({ length: 50 }, () => ({ name: 'x'.repeat(2_000) }))
    let answer
    for (let i = 0; i < 30; i++) {
      answer = await client.rpc('batchInsert', { table: 'people', rows })
      if (answer.type === 'mutation_error') break
    }
    assert.equal(answer.type, 'mutation_error', 'no end of rows')
    const { data, ...refusal } = answer
    assert.deepEqual(refusal, mutationError('batchInsert', 'Room database is full'))
    const { id } = (await client.select("SELECT id FROM people WHERE name = 'first'"))[0]
    assert.deepEqual(await client.rpc('updateRow', { table: 'people', id, field: 'name', value: 'x'.repeat(200_000) }), mutationError('updateRow', 'Room database is full'))
    assert.equal((await client.select("SELECT COUNT(*) AS n FROM people WHERE name = 'first'"))[0].n, 1)
    await withPeople(other, 'elsewhere')
    await client.call('deleteTable', { tableName: 'people' })
    await withPeople(client, 'again')
    assert.deepEqual(await client.select('SELECT name FROM people'), [{ name: 'again' }])
  },

  async 'more rooms than databases that are open at a time: each has its own rows, all are written, also across a restart (7, 12.18)' ({ startServer, ...tools }) {
    const server = await startServer({ CONCORD_ROOM_DB_OPEN_MAX: String(openMax) })
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    const enterAll = () => Promise.all(Array.from({ length: roomCount }, (_, i) => enterWith(own, ann, { room: `${tools.id}-${i}` })))
    const clients = await enterAll()
    await Promise.all(clients.map(client => withPeople(client)))
    await Promise.all(clients.map(async (client, room) => {
      for (let n = 0; n < rowsOfEach; n++) await client.call('batchInsert', { table: 'people', rows: [{ name: `${room}-${n}` }] })
      await client.call('updateDebounced', { key: 'k', value: room })
    }))
    await server.terminate()
    await server.start()
    for (const [room, client] of (await enterAll()).entries()) {
      assert.deepEqual((await client.select('SELECT name FROM people ORDER BY id')).map(({ name }) => name), Array.from({ length: rowsOfEach }, (_, n) => `${room}-${n}`))
    }
  },

  async 'room ids that a file system confuses are rooms of their own (1, 7)' ({ startServer, ...tools }) {
    const server = await startServer()
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    const names = ['room', 'Room', 'ROOM', '../room', './room', 'room/', 'room.', '%72oom', 'room%2F', 'a/b', 'a\\b', 'CON', 'é', 'e\u0301', '..', 'room.db', 'room-wal', `${'x'.repeat(254)}a`, `${'x'.repeat(254)}b`]
    for (const room of names) {
      const client = await enterWith(own, ann, { room })
      assert.deepEqual((await client.call('listTasks', {})).data, [], room)
      await client.call('createTask', { title: room })
    }
    await server.kill9()
    await server.start()
    for (const room of names) {
      const client = await enterWith(own, ann, { room })
      assert.deepEqual((await client.call('listTasks', {})).data.map(({ title }) => title), [room])
    }
  },

  async 'a room that nobody has written into yet is one room, however often its user comes (1)' ({ startServer, ...tools }) {
    const server = await startServer({ CONCORD_LIMITS_USER_ROOMS_PER_H: String(roomsPerHour) })
    const own = { ...tools, server }
    const ann = await Account.signUp(server, 'ann')
    for (let i = 0; i < 3 * roomsPerHour; i++) await enterWith(own, ann)
    for (let i = 0; i < roomsPerHour - 1; i++) await enterWith(own, ann, { room: `${tools.id}-${i}` })
    await assert.rejects(enterWith(own, ann, { room: `${tools.id}-too-many` }), /503/)
    await (await enterWith(own, ann)).call('createTask', { title: 'rooms that exist stay open' })
  },

  async "a token of the identity provider is a session: its user is the token's, and a bad one is out (1, 9)" ({ startServer, ...tools }) {
    const server = await startServer({ CONCORD_AUTH_SECRET: secret })
    const own = { ...tools, server }
    const token = makeToken({ userId: 'ann', name: 'Ann' })
    for (const who of [{ parameters: { session_token: token }, socketOptions: {} }, { parameters: {}, socketOptions: { headers: { authorization: `Bearer ${token}` } } }]) {
      const client = await enterWith(own, who)
      assert.equal((await client.call('createTask', { title: 'x' })).data.owner_id, 'ann')
    }
    for (const bad of [makeToken({ userId: 'ann' }, { key: `${secret}!` }), makeToken({ userId: 'ann', exp: 1 })]) {
      const answer = await askUpgrade(server, `/websocket?room_id=${tools.id}&session_token=${bad}`)
      assert.deepEqual([answer.status, answer.text], [401, 'Unauthorized: Invalid API Key or Session'])
    }
  }
}
