// node y-sweet.mjs SERVER FOLDER: what `SERVER serve FOLDER` leaves behind. A document id has no slash and no space.

import { DocumentManager } from '@y-sweet/sdk'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { documents } from './documents.mjs'

const [server, folder] = process.argv.slice(2)
const port = '18473'
const child = spawn(server, ['serve', folder, '--port', port, '--host', '127.0.0.1', '--checkpoint-freq-seconds', '1'], { stdio: ['ignore', 'pipe', 'inherit'] })
const lines = createInterface(child.stdout)
for await (const line of lines) if (line.includes('Listening')) break
const manager = new DocumentManager(`ys://127.0.0.1:${port}`)
for (const [name, updates] of Object.entries({ ...documents, empty: [] })) {
  const { docId } = await manager.createDoc(name.replaceAll(/[^a-z0-9]+/g, '-').replace(/-$/, ''))
  for (const update of updates) await manager.updateDoc(docId, update)
}
// The server writes once a second, and not at its end.
await new Promise(resolve => setTimeout(resolve, 3000))
child.kill('SIGTERM')
await once(child, 'exit')
