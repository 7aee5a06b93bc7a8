// Statements about dialects whose documents have names without slashes: gives each a name and clients that end with it, and shows `prove` of
// lib/statements.mjs what is left. Called by the scenarios y-sweet, json-yjs, sessions and cross.

import { prove } from './statements.mjs'
import { quiet } from './y_sweet.mjs'

let names = 0

/** A name that every dialect can express, and that nothing else in this process has. */
export const newName = () => `doc-${process.pid}-${names++}`

/**
 * As `prove`; each statement also gets
 * - `id`: the name of a document of its own,
 * - `keep(client)`: the client, which is ended (`terminate`) with the statement.
 */
export async function proveWithNames (statements, options) {
  const proof = prove(
    Object.fromEntries(
      Object.entries(statements).map(([what, holds]) => [
        what,
        async tools => {
          const kept = []
          try {
            await holds({ ...tools, log: options.log, id: newName(), keep: client => kept[kept.push(client) - 1] })
          } finally {
            for (const client of kept) client.terminate()
          }
        }
      ])
    ),
    options
  )
  quiet() // over the ear that `prove` has put on already
  await proof
}

/** All of these, one after the other, also when one fails. @param {(() => Promise<void>)[]} proofs */
export async function inOrder (...proofs) {
  const failures = []
  for (const proof of proofs) await proof().catch(error => failures.push(error.message))
  if (failures.length > 0) throw new Error(failures.join('; '))
}

/** All of these at the same time. @param {Promise<void>[]} proofs */
export async function atOnce (...proofs) {
  const failures = (await Promise.allSettled(proofs)).filter(({ status }) => status === 'rejected').map(({ reason }) => reason.message)
  if (failures.length > 0) throw new Error(failures.join('; '))
}

/** One statement for each entry: `what` with the entry's key in it. */
export const forEach = (entries, what, holds) =>
  Object.fromEntries(Object.entries(entries).map(([key, value]) => [what(key), tools => holds(tools, value, key)]))
