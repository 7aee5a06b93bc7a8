// Mallory against ann's rows: each case of data/room_db_attacks.json over the socket. Not one answer, error or event has a mark that ann has left, and her
// database is the same afterwards. Run by scenarios/room_db.mjs.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { created, enter } from './visits.mjs'

const cases = JSON.parse(readFileSync(new URL('../data/room_db_attacks.json', import.meta.url)))
const perMallory = 40 // of 50 statements and 100 changes that one user may send in a minute
const openTables = ['plain', 'numbers']
const hidden = ['tasks', 'letters']
const casesMin = 100
const answerMs = 30_000 // one of a few that count until they are cut off, behind others that do

/** In place of words in a case: what ann has, and what mallory knows of her. */
const filled = (text, words) => text.replace(/\{(\w+)\}/g, (whole, word) => words[word] ?? whole)

export const byMallory = {
  async 'no case of the list shows mallory a row of ann, or changes one (4, 6, 11, 12.8, 12.11)' (tools) {
    const { id, rights, people, log } = tools
    const ann = await enter(tools, 'ann')
    const annsId = (await people.get('ann')).id
    const mark = `mark-${id.replace(/\W/g, '')}-of-ann`
    await ann.call('createTable', created('letters', 'text', 'owner_id', 'user_id', { name: 'code', unique: true }))
    await rights.protect(id, 'letters')
    await ann.call('createTable', created('plain', 'name', 'note'))
    await ann.call('createTable', created('numbers', { name: 'n', type: 'INTEGER' }))
    await ann.call('batchInsert', { table: 'letters', rows: [1, 2, 3].map(n => ({ text: `${mark}-letter-${n}`, code: `${mark}-code-${n}` })) })
    for (let n = 0; n < 3; n++) await ann.call('createTask', { title: `${mark}-task-${n}` })
    await ann.call('batchInsert', { table: 'plain', rows: [{ name: 'open', note: 'to all' }] })
    await ann.call('batchInsert', { table: 'numbers', rows: Array.from({ length: 100 }, (_, n) => ({ n })) })
    await ann.call('updateDebounced', { key: 'k', value: `${mark}-debounced` })
    await ann.call('flushDebounced')
    const before = await everything(ann, 'before')
    assert.equal(JSON.stringify(before).split(mark).length - 1, 9, 'ann sees what she has written')
    assert.ok(cases.length >= casesMin, `${cases.length} cases`)

    const words = { ann: annsId, room: id }
    const clients = []
    let client
    let unanswered = 0
    for (const [i, { what, method = 'executeSQL', sql, payload, raw, rows }] of cases.entries()) {
      if (i % perMallory === 0) {
        client = await enter(tools, `mallory${i / perMallory}`)
        clients.push(client)
        for (const table of [...hidden, ...openTables, '_usage', '_debounced_state', 'sqlite_master', '*', '']) client.send({ action: 'subscribe', table })
        client.send({ action: 'subscribe_query', queryId: 'all', method: 'listTasks', payload: {}, tables: hidden })
      }
      if (raw !== undefined) {
        const from = client.messages.length
        client.send(filled(JSON.stringify(raw), words))
        await client.rpc('getCursors')
        unanswered += client.messages.slice(from).length === 1
      } else {
        const answer = await client.rpc(method, JSON.parse(filled(JSON.stringify(payload ?? { sql, readonly: false }), words)), { ms: answerMs })
        if (rows !== undefined) assert.deepEqual(answer.data, rows, `${what}: ${JSON.stringify(answer)}`)
        else if (method === 'executeSQL') assert.ok(['query_error', 'query_result'].includes(answer.type), `${what}: ${JSON.stringify(answer)}`)
      }
      assert.equal(client.closed, null, `${what}: the socket is closed`)
      assert.deepEqual(seen(client, mark), [], what)
    }
    // What ann does while mallory listens.
    await ann.call('createTask', { title: `${mark}-late` })
    await ann.call('updateRow', { table: 'letters', id: 1, field: 'text', value: `${mark}-late` })
    await ann.call('completeTask', { id: 1 })
    await ann.call('updateRow', { table: 'letters', id: 1, field: 'text', value: `${mark}-letter-1` })
    const [{ id: late }] = await ann.select(`SELECT id FROM tasks WHERE title = '${mark}-late'`)
    await ann.call('deleteTask', { id: late })
    await ann.call('updateRow', { table: 'tasks', id: 1, field: 'status', value: 'pending' })
    for (const client of clients) {
      await client.barrier()
      assert.deepEqual(seen(client, mark), [], 'events of what ann did meanwhile')
    }
    assert.deepEqual(await everything(await enter(tools, 'ann'), 'after'), before, 'the database of ann is the same as before')
    log(`${cases.length} attacks by ${clients.length} users, ${clients.reduce((sum, client) => sum + client.messages.length, 0)} messages to them, no mark; ${unanswered} were not worth an answer`)
  }
}

/** Messages with the mark in them, however it is spelled. */
function seen (client, mark) {
  const spellings = [mark, Buffer.from(mark).toString('hex'), Buffer.from(mark).toString('base64').slice(0, -4), [...mark].reverse().join('')]
  return client.messages.map(message => JSON.stringify(message)).filter(text => spellings.some(spelling => text.toLowerCase().includes(spelling.toLowerCase())))
}

/** All that ann sees of the tables that were there when mallory came. */
async function everything (ann) {
  const { data: schema } = await ann.call('getSchema')
  const tables = [...hidden, ...openTables]
  const rows = {}
  for (const table of tables) rows[table] = await ann.select(`SELECT * FROM ${table} ORDER BY id`)
  return { schema: Object.fromEntries(tables.map(table => [table, schema[table]])), rows }
}
