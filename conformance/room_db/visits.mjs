// What statements about room databases have in common: who comes into which room, and the forms of answers. Called by the files beside it.

import assert from 'node:assert/strict'
import { RoomDbClient } from '../lib/room_db.mjs'

/** Somebody's connection to the statement's room, or to another one; it ends with the statement. */
export const enter = async ({ server, people, id, keep }, name, { room = id, ...options } = {}) =>
  keep(await RoomDbClient.open(server, room, await people.get(name), options))

/** As `enter`, with a key or whatever else opens a socket. */
export const enterWith = async ({ server, id, keep }, who, { room = id, ...options } = {}) => keep(await RoomDbClient.open(server, room, who, options))

export const created = (tableName, ...columns) => ({ tableName, columns: columns.map(column => typeof column === 'string' ? { name: column } : column) })

/** A table `people` with a text column `name`, as most statements have it. */
export async function withPeople (client, ...names) {
  await client.call('createTable', created('people', 'name'))
  if (names.length > 0) await client.call('batchInsert', { table: 'people', rows: names.map(name => ({ name })) })
}

export const mutationError = (action, error, more = {}) => ({ type: 'mutation_error', action, error, ...more })
export const queryError = (error, more = {}) => ({ type: 'query_error', error, ...more })
export const plainError = (error, more = {}) => ({ type: 'error', error, ...more })

/** The method answers with exactly this, and gives both ids back. */
export async function answers (client, method, payload, expected) {
  const updateId = `u-${method}`
  assert.deepEqual(await client.rpc(method, payload, { updateId }), { ...expected, updateId })
}

/** Queries that take longer than the server allows, and about as long as `steps` say. */
export const counting = steps => `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ${steps}) SELECT COUNT(*) AS n FROM c`
export const endless = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT COUNT(*) AS n FROM c'
