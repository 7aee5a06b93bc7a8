// A notebook as section 5 of the notes protocol has it, in a few lines: what a write does, and who is told what. A deletion is no write of its note, and times are
// told in UTC with milliseconds. Called by notes/random.mjs, which holds the server against it. Knows no sockets.

export class NotebookModel {
  constructor () {
    this.notes = new Map() // id -> note as stored
    this.marks = new Map() // id -> ms
    this.last = new Map() // id -> the last content, of deleted ones too
    this.versions = new Map()
  }

  /** @returns {{told: 'others', note: object} | {told: 'sender', note?: object} | {told: 'nobody'}} a sender is told of the stored note, or of the deletion */
  update (note) {
    const stored = this.notes.get(note.id)
    const time = Date.parse(note.updatedAt)
    if (stored !== undefined && time <= Date.parse(stored.updatedAt)) {
      return time === Date.parse(stored.updatedAt) && sameContent(stored, note) ? { told: 'nobody' } : { told: 'sender', note: stored }
    }
    const mark = this.marks.get(note.id)
    if (stored === undefined && mark !== undefined && time <= mark) return { told: 'sender' }
    return { told: 'others', note: this.store(note) }
  }

  store (note) {
    const [createdAt, updatedAt] = [note.createdAt, note.updatedAt].map(time => new Date(time).toISOString())
    const stored = { ...note, createdAt, updatedAt, remoteVersion: this.next(note.id) }
    this.notes.set(note.id, stored)
    this.last.set(note.id, stored)
    this.marks.delete(note.id)
    return stored
  }

  /** @param {number} atMs by the client's clock @returns {boolean} whether the others are told */
  remove (id, atMs) {
    const stored = this.notes.get(id)
    if (stored === undefined) {
      if (!this.marks.has(id)) this.marks.set(id, atMs)
      return false
    }
    this.notes.delete(id)
    this.marks.set(id, Math.max(atMs, Date.parse(stored.updatedAt)))
    return true
  }

  /** @returns {object|null} the note as it is back; its time is the server's to say */
  restore (id, updatedAt) {
    const last = this.last.get(id)
    if (this.notes.has(id) || last === undefined) return null
    return this.store({ ...last, updatedAt })
  }

  next (id) {
    const version = (this.versions.get(id) ?? 0) + 1
    this.versions.set(id, version)
    return version
  }
}

/** But for the version, which is not the client's to say, and the last change, which is known to be the same. */
function sameContent (stored, note) {
  const content = ({ remoteVersion: _, updatedAt: __, ...rest }) => JSON.stringify(Object.entries(rest).sort())
  return content(stored) === content(note)
}
