// The machine: what it is, how load and server get a core each, and a port that is free. Read by compare.mjs and handshakes.mjs.

import { execFileSync, spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import { cpus, release, totalmem } from 'node:os'

/** Words before a command line that keep it on this core; none if two cores cannot be had. */
export function pinning () {
  const works = core => spawnSync('taskset', ['-c', String(core), 'true'], { stdio: 'ignore' }).status === 0
  return works(0) && works(1) ? core => ['taskset', '-c', String(core)] : null
}

/** What a child process of this one may open. Node.js raises its own limit to the most that it may have, and children inherit that. */
export function openFilesMax () {
  const limit = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim()
  return limit === 'unlimited' ? Infinity : Number(limit)
}

export function machine () {
  const models = cpus().map(({ model }) => model.trim())
  return {
    cpu: models[0] || 'unknown',
    cores: models.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `Linux ${release()}`,
    openFilesMax: openFilesMax()
  }
}

export function freePort () {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}
