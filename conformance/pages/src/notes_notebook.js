// The notes of this window, what of them the server has not been sent, and the rule by which a message changes them: the newer one stays, the server's when they are
// as old as each other. Called by the page. Knows no DOM.

export class Notebook {
  constructor ({ app, happened }) {
    Object.assign(this, { app, happened })
    this.notes = new Map()
    this.unsent = new Map() // id -> the note, or null when it was deleted
    this.contested = new Map() // id -> {note, sentMs}: written here without a server; somebody else may have done the same meanwhile
    this.onchange = () => {}
    app
      .on('sync_required', () => this.sendUnsent())
      .on('note_updated', ({ note }) => this.take(note))
      .on('note_deleted', ({ noteId }) => this.drop(noteId))
      .on('error', ({ code, message }) => happened('refused', `${code}: ${message}`))
  }

  save (id, typed) {
    const now = new Date().toISOString()
    const { remoteVersion: _, ...have } = this.notes.get(id) ?? { createdAt: now } // the version is the server's to say
    const note = { ...have, ...typed, id, updatedAt: now }
    this.notes.set(id, note)
    this.contested.delete(id)
    this.send(id, note)
  }

  remove (id) {
    this.notes.delete(id)
    this.contested.delete(id)
    this.send(id, null)
  }

  send (id, note) {
    if (this.app.state !== 'connected') this.unsent.set(id, note)
    else if (note === null) this.app.remove(id)
    else this.app.update(note)
    this.onchange()
  }

  /** The client keeps no queue; the application saves again what it has. */
  sendUnsent () {
    const waiting = [...this.unsent]
    this.unsent.clear()
    for (const [id, note] of waiting) {
      if (note !== null) this.contested.set(id, { note, sentMs: Date.now() })
      this.send(id, note)
    }
    this.onchange()
  }

  take (note) {
    const have = this.notes.get(note.id)
    if (have !== undefined && Date.parse(have.updatedAt) > Date.parse(note.updatedAt)) return
    this.notes.set(note.id, note)
    const own = this.contested.get(note.id)
    this.contested.delete(note.id)
    if (own !== undefined && own.note.content !== note.content && Date.parse(note.updatedAt) <= own.sentMs) {
      this.happened('conflict', `“${note.title}” was written elsewhere as well, and later: that version is kept`)
    } else if (have === undefined) {
      this.happened('new', `“${note.title}” came from elsewhere`)
    } else if (have.content !== note.content || have.title !== note.title) {
      this.happened('changed', `“${note.title}” was changed elsewhere`)
    }
    this.onchange()
  }

  drop (id) {
    const have = this.notes.get(id)
    if (have === undefined) return
    const own = this.contested.get(id)
    this.contested.delete(id)
    // It does not say when. What was written here may be newer, and then the server brings it back; if not, it says so once more.
    if (own !== undefined) return this.app.update(own.note)
    this.notes.delete(id)
    this.happened('deleted', `“${have.title}” was deleted elsewhere`)
    this.onchange()
  }
}
