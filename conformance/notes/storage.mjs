// Statements about what is stored: each durability mode, compaction, a full disk, and rooms of other kinds with the same name. Run by scenarios/notes.mjs.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join as pathOf } from 'node:path'
import { makeToken } from '../lib/access.mjs'
import { NotesClient, at, makeNote } from '../lib/notes.mjs'
import { NotesApi } from '../lib/notes_http.mjs'
import { until } from '../lib/until.mjs'
import { isReplayOf } from './joining.mjs'

const versions = 40
const noteCount = 20
const compacting = { CONCORD_STORE_SEGMENT_BYTES_MAX: '64 KiB', CONCORD_STORE_COMPACT_BYTES_MIN: '4 KiB' }
const tidyMs = 60_000 // segments of the log that nothing needs any more go every 30 s
const diskMebi = 8
const leftBytes = 200 << 10

/** A tmpfs; null where this process may mount none. */
function mountDisk () {
  const disk = mkdtempSync(pathOf(tmpdir(), 'concord-notes-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskMebi}m`, 'concord-conformance', disk], { stdio: 'pipe' })
    return disk
  } catch {
    rmSync(disk, { recursive: true, force: true })
    return null
  }
}

const disks = []

/** After the servers on them have ended. */
export function unmountAll () {
  for (const disk of disks.splice(0)) {
    execFileSync('umount', ['-l', disk])
    rmSync(disk, { recursive: true, force: true })
  }
}

/** Bytes of all files below a folder. */
function bytesIn (folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile())
    .reduce((sum, entry) => sum + statSync(pathOf(entry.parentPath ?? entry.path, entry.name)).size, 0)
}

export const statements = {
  ...Object.fromEntries(
    ['ack', 'strict', 'interval', 'memory'].map(mode => [
      `durability ${mode}: notes, deletions and REST work as in any other (README 3)`,
      async ({ startServer, user, keep }) => {
        const server = await startServer({ CONCORD_DURABILITY: mode })
        const token = makeToken({ userId: user })
        const [a, b] = [keep(await NotesClient.open(server, { token })), keep(await NotesClient.open(server, { token }))]
        const api = new NotesApi(server, { token })
        const [note, other] = [makeNote(), makeNote()]
        a.update(note)
        await b.updated(note.id)
        assert.equal((await api.put(other)).status, 200)
        await a.updated(other.id)
        b.remove(other.id, at(1))
        await a.deleted(other.id)
        await server.terminate()
        await server.start()
        const late = keep(await NotesClient.open(server, { token }))
        await late.barrier()
        assert.deepEqual([...late.notes.keys()], mode === 'memory' ? [] : [note.id])
      }
    ])
  ),

  async 'on a full disk a write is INTERNAL_ERROR and not relayed, the connections are closed, and what was shown before is kept (10)' ({ startServer, user, keep, log }) {
    const disk = mountDisk()
    if (disk === null) return log('no file system can be mounted here: nothing is shown about a full disk')
    disks.push(disk)
    const server = await startServer({}, { data: pathOf(disk, 'data') })
    const token = makeToken({ userId: user })
    const open = async () => keep(await NotesClient.open(server, { token }))
    const api = new NotesApi(server, { token })
    const [a, b] = [await open(), await open()]
    const note = makeNote({ content: 'from before' })
    a.update(note)
    await b.updated(note.id)
    const filler = pathOf(disk, 'filler')
    const { bavail, bsize } = statfsSync(disk)
    writeFileSync(filler, Buffer.alloc(bavail * bsize - leftBytes))
    const large = i => makeNote({ id: `large-${i}`, content: 'x'.repeat(40_000) })
    let sent = 0
    await until('the disk to be full', () => {
      if (a.closed !== null || a.errors.length > 0) return true
      a.update(large(sent++))
      return false
    }, { everyMs: 25 })
    const relayed = b.of('note_updated').length - 1
    assert.deepEqual([...new Set(a.errors)], ['INTERNAL_ERROR'])
    assert.equal((await a.whenClosed()).code, 1011) // what is stored is read again
    assert.ok(sent * 40_000 > leftBytes / 2 && relayed < sent, `${sent} sent, ${relayed} relayed`)
    const answer = await api.put(large('by REST'))
    assert.ok(answer.status === 500 || answer.status === 503, `PUT: ${answer.status} ${answer.text}`)
    const shown = new Set(b.notes.keys())
    rmSync(filler)
    await until('the server to work again', async () => (await api.put(makeNote({ id: 'room again' }))).status === 200, { everyMs: 200 })
    const { notes } = await api.changes()
    const kept = new Set(notes.map(({ id }) => id))
    for (const id of shown) assert.ok(kept.has(id), `${id} was shown and is gone`)
    assert.ok(kept.has(note.id) && kept.has('room again'))
    log(`a full disk: ${sent} sent, ${shown.size} shown, then INTERNAL_ERROR and 1011, PUT ${answer.status}; it works again with room`)
  },

  async 'documents with names like a notebook have nothing to do with it (README 1, 3)' ({ user, token, join, edit }) {
    const a = await join()
    const note = makeNote()
    a.update(note)
    await a.barrier()
    for (const room of [`notes/${user}`, `notes:${user}`, user]) {
      const editor = await edit('3.1.0', { room, token }).synced()
      assert.equal(editor.text, '', room)
      editor.type('a document')
      await until('it to be saved', () => editor.unsent === 0)
    }
    await a.barrier()
    const late = await join()
    assert.deepEqual([...late.notes.values()], [{ ...note, remoteVersion: 1 }])
    assert.equal(a.closed, null)
  }
}

/** Waits for the server's own clock, beside everything else. */
export const slow = {
  async 'a notebook whose log is compacted has the same notes, versions, marks, content to restore and times to ask since (6, 7, 11.6)' ({ startServer, user, keep }) {
    const server = await startServer(compacting)
    const token = makeToken({ userId: user })
    const api = new NotesApi(server, { token })
    const log = pathOf(server.data, 'log')
    const ids = Array.from({ length: noteCount }, (_, i) => `c-${i}`)
    for (let version = 0; version < versions; version++) {
      await api.putAll(ids.map(id => makeNote({ id, updatedAt: at(version), content: `${version}`.padEnd(1_000, 'x') })))
      if (version === versions / 2) for (const id of ids.splice(0, 2)) await api.remove(id)
    }
    const { serverTime } = await api.changes()
    await until('the clock to go on', async () => Date.parse((await api.changes()).serverTime) > Date.parse(serverTime) + 1)
    await api.put(makeNote({ id: 'c-2', updatedAt: at(versions), content: 'last' }))
    const before = await api.changes()
    const [written, isSmall] = [versions * noteCount * 1_000, () => bytesIn(log) < written / 2]
    await until(() => `the log to be compacted; it has ${bytesIn(log)} bytes for ${written} written`, isSmall, { ms: tidyMs, everyMs: 200 })
    for (const end of ['terminate', 'kill9']) {
      await server[end]()
      await server.start()
      const { notes, deleted } = await api.changes()
      assert.deepEqual([notes, deleted], [before.notes, before.deleted], `after ${end}`)
      assert.deepEqual(notes.find(({ id }) => id === 'c-3').remoteVersion, versions)
      assert.deepEqual((await api.changes(serverTime)).notes.map(({ id }) => id), ['c-2'])
      await isReplayOf(await keep(await NotesClient.open(server, { token })).barrier(), api)
    }
    const { json } = await api.restore('c-0')
    assert.equal(json.note.content, `${versions / 2}`.padEnd(1_000, 'x'))
  }
}
