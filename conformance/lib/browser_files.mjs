// The page of pages/, built and served on loopback. Called by the scenario `pages`.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = new URL('../pages/', import.meta.url)
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' }

/** `vite build`; it takes seconds, and so the page is always that of its sources. */
export function buildPages () {
  const built = spawnSync(process.execPath, ['node_modules/vite/bin/vite.js', 'build'], { cwd: fileURLToPath(folder), encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`vite build in conformance/pages: ${built.error?.message ?? built.stderr}`)
}

/** @returns {Promise<{address: string, close: () => void}>} */
export async function servePages () {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://pages')
    const file = new URL(`dist${pathname === '/' ? '/index.html' : pathname}`, folder)
    try {
      const body = readFileSync(file)
      response.writeHead(200, { 'content-type': types[extname(file.pathname)] ?? 'application/octet-stream' }).end(body)
    } catch (error) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end(error.message)
    }
  })
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  return {
    address: `http://127.0.0.1:${server.address().port}/`,
    close () {
      server.close()
      server.closeAllConnections()
    }
  }
}
