// The disk runs full while people write. Every member is told, nothing that was shown is lost, and when there is room again the server
// works without a restart. Needs the right to mount a small file system.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as Y from 'yjs'
import { RawClient } from '../lib/raw_client.mjs'
import { until } from '../lib/until.mjs'
import { Witness } from '../lib/witness.mjs'

export const name = 'disk-full'
export const seconds = 90
export const needsBinary = true

const diskMebi = 8
const leftBytes = 200 << 10
const chunk = 'x'.repeat(4096)

let mounted = null

export async function run ({ server: startServer, log }) {
  const disk = mkdtempSync(join(tmpdir(), 'concord-disk-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskMebi}m`, 'concord-conformance', disk], { stdio: 'pipe' })
    mounted = disk
  } catch (error) {
    rmSync(disk, { recursive: true, force: true })
    return `a file system of ${diskMebi} MiB cannot be mounted here (${String(error.stderr ?? error.message).trim()})`
  }
  const server = await startServer({ data: join(disk, 'data') })
  const url = `${server.url}/disk-full`
  const witness = new Witness()
  const [author, reader] = await Promise.all([RawClient.open(url), RawClient.open(url)])
  for (const client of [author, reader]) witness.watch(client)
  const doc = new Y.Doc()
  doc.on('update', update => author.sendUpdate(update))

  for (let i = 0; i < 20; i++) await write(doc, author)
  const filler = join(disk, 'filler')
  const { bavail, bsize } = statfsSync(disk)
  if (bavail * bsize < leftBytes) throw new Error(`the server alone fills a disk of ${diskMebi} MiB`)
  writeFileSync(filler, Buffer.alloc(bavail * bsize - leftBytes))

  let written = 0
  while (author.isOpen && written < 1000) written += await write(doc, author)
  for (const [who, client] of Object.entries({ author, reader })) {
    const { code, reason } = await client.whenClosed()
    if (code !== 1011 || !reason.startsWith('storage failed')) throw new Error(`the ${who} was told ${code} "${reason}" instead of 1011 "storage failed…"`)
  }
  if (server.child.exitCode !== null) throw new Error('the server ended')

  rmSync(filler)
  const back = await until('the server to accept edits when there is room again', async () => {
    const client = new RawClient(url)
    await until('an answer', () => client.isOpen || client.closed || client.refused, { ms: 5000 })
    return client.isOpen && !client.closed ? client : null
  }, { ms: 45_000, everyMs: 100 })
  witness.watch(back)
  const later = new Y.Doc()
  later.on('update', update => back.sendUpdate(update))
  if (await write(later, back) === 0) throw new Error('an edit was not acknowledged when there was room again')
  await witness.check(url, 'when there was room again')
  await server.kill9()
  await server.start()
  await witness.check(url, 'after kill -9 and restart')
  log(`${written} edits after the disk had ${leftBytes >> 10} KiB left, then everybody was told`)
}

export async function cleanUp () {
  if (mounted === null) return
  execFileSync('umount', ['-l', mounted])
  rmSync(mounted, { recursive: true, force: true })
  mounted = null
}

/** One edit, until its echo is there or the connection is closed. @returns {Promise<number>} 1 if acknowledged */
async function write (doc, client) {
  const from = client.frames.length
  doc.getText('t').insert(0, chunk)
  await until('the echo of an edit, or the end of the connection', () => !client.isOpen || client.frames.slice(from).some(frame => frame.isUpdate), { everyMs: 1 })
  return client.frames.slice(from).some(frame => frame.isUpdate) ? 1 : 0
}
