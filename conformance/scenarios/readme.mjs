// The README's example as it stands there: two terminals, a line typed into each, a kill -9 in between, and a third that comes later.

import { spawn } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { until } from '../lib/until.mjs'

export const name = 'readme'
export const seconds = 60
export const needsBinary = true

const readme = new URL('../../README.md', import.meta.url)

export async function run ({ server: startServer }) {
  const server = await startServer()
  // The example names the default port and the newest provider; here both have names of their own.
  const example = /```js\n([^]*?)```/.exec(readFileSync(readme, 'utf8'))[1]
    .replace("from 'y-websocket'", "from 'y-websocket-3.1'")
    .replace('ws://127.0.0.1:1234', server.url)
  const file = new URL(`../readme-example-${process.pid}.mjs`, import.meta.url)
  writeFileSync(file, example)
  const terminals = []
  const open = () => terminals[terminals.push(new Terminal(file)) - 1]
  try {
    const [ann, ben] = [open(), open()]
    await Promise.all([ann.shows('(connected)'), ben.shows('(connected)')])
    ann.type('hello from Ann')
    await ben.shows('hello from Ann')
    await server.kill9()
    await ann.shows('(disconnected)')
    ann.type('typed while nobody listens')
    await server.start()
    await ben.shows('typed while nobody listens')
    const late = open()
    await late.shows('hello from Ann\ntyped while nobody listens')
  } finally {
    for (const terminal of terminals) terminal.close()
    rmSync(file)
  }
}

class Terminal {
  constructor (file) {
    this.output = ''
    this.child = spawn(process.execPath, [file.pathname], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.child.stdout.setEncoding('utf8').on('data', text => { this.output += text })
  }

  type (line) { this.child.stdin.write(`${line}\n`) }

  shows (text) { return until(() => `"${text}" on a terminal that shows "${this.output}"`, () => this.output.includes(text)) }

  close () { this.child.kill() }
}
