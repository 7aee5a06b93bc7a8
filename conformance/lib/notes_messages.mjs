// Messages of the notes dialect as the app's client makes and reads them: one JSON object with type, payload and timestamp. Called by the clients here and by
// the notes page, so it needs nothing but the language. Knows no socket.

/** @param {object} payload */
export function envelope (type, payload, timestamp = new Date().toISOString()) {
  return { type, payload, timestamp }
}

const isText = value => typeof value === 'string' && value.length > 0
const isObject = value => typeof value === 'object' && value !== null

/** What each type must have besides; a message without it is dropped as well. */
const needs = {
  note_updated: ({ note }) => isObject(note) && typeof note.id === 'string',
  note_deleted: ({ noteId }) => isText(noteId),
  sync_required: ({ reason }) => isText(reason)
}

/**
 * A message as the app reads it, or why it drops it without a word.
 * @param {string} text @returns {{message: object} | {dropped: string}}
 */
export function read (text) {
  let message
  try {
    message = JSON.parse(text)
  } catch (error) {
    return { dropped: error.message }
  }
  if (!isObject(message)) return { dropped: 'no object' }
  const { type, timestamp, payload } = message
  if (!isText(type)) return { dropped: 'type is no text, or empty' }
  if (!isText(timestamp)) return { dropped: 'timestamp is no text, or empty' }
  if (!isObject(payload)) return { dropped: 'payload is missing, or no object' }
  if (Object.hasOwn(needs, type) && !needs[type](payload)) return { dropped: `payload of ${type} lacks what it is about` }
  return { message }
}
