// The unmodified clients against the server binary:
//   node run.mjs PATH_TO_CONCORD_BINARY [scenario …] [--seed 1]
//   node run.mjs --url ws://127.0.0.1:1234 [scenario …]     against a server that already runs; what needs restarts is skipped
// Each scenario is a file of scenarios/ and starts its own server. `silent` only waits, so it runs beside all the others, in a
// process of its own.

import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ForeignServer, Server } from './lib/server.mjs'
import { within } from './lib/until.mjs'

const beside = 'silent'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { url: { type: 'string' }, seed: { type: 'string', default: '1' } } })
const binary = values.url === undefined ? positionals.shift() : undefined
if (binary === undefined && values.url === undefined) {
  console.error('usage: node run.mjs PATH_TO_CONCORD_BINARY [scenario …] [--seed 1]')
  process.exit(2)
}
const files = readdirSync(new URL('scenarios/', import.meta.url)).filter(file => file.endsWith('.mjs')).sort()
const all = await Promise.all(files.map(file => import(`./scenarios/${file}`)))
const unknown = positionals.filter(name => !all.some(scenario => scenario.name === name))
if (unknown.length > 0) {
  console.error(`no such scenario: ${unknown.join(', ')}; there are ${all.map(scenario => scenario.name).join(', ')}`)
  process.exit(2)
}
const chosen = positionals.length === 0 ? all : positionals.map(name => all.find(scenario => scenario.name === name))
const reproduceWith = values.url === undefined ? binary : `--url ${values.url}`
const total = { passed: 0, failed: 0, skipped: 0 }

process.setMaxListeners(0) // each provider listens to the end of the process

// A provider that is thrown away while it connects may report its end late; that is noise of the client.
process.on('unhandledRejection', error => { console.log(`unhandled: ${error?.stack ?? error}`) })

const waiting = chosen.length > 1 && chosen.some(scenario => scenario.name === beside) ? runBeside() : null
for (const scenario of chosen) if (waiting === null || scenario.name !== beside) await runHere(scenario)
await waiting
console.log(`conformance: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0)

async function runHere (scenario) {
  const started = performance.now()
  const servers = []
  const context = {
    seed: Number(values.seed),
    url: values.url,
    log: text => console.log(`  ${scenario.name}: ${text}`),
    /** A server of this scenario's own; ended and removed with the scenario. */
    async server (options = {}) {
      const server = values.url === undefined ? new Server({ binary: resolve(binary), ...options }) : new ForeignServer(values.url)
      servers.push(server)
      return await server.start()
    }
  }
  try {
    const skipped = values.url !== undefined && scenario.needsBinary ? 'it starts and ends the server itself' : await within(scenario.seconds * 1000, 'the scenario', scenario.run(context))
    const leak = servers.flatMap(server => server.leaks ?? [])[0]
    if (leak !== undefined) throw new Error(`a secret is in the log: ${leak}`)
    if (typeof skipped === 'string') {
      total.skipped++
      console.log(`skipped: ${scenario.name}: ${skipped}`)
    } else {
      total.passed++
      console.log(`ok ${scenario.name} (${((performance.now() - started) / 1000).toFixed(1)} s)`)
    }
  } catch (error) {
    total.failed++
    console.log(`FAILED ${scenario.name}: ${process.env.CONFORMANCE_STACKS ? error.stack : error.message}`)
    for (const line of servers.flatMap(server => server.log?.slice(-5) ?? [])) console.log(`  server: ${line.slice(0, 400)}`)
    console.log(`  reproduce: node run.mjs ${reproduceWith} ${scenario.name} --seed ${values.seed}`)
  }
  await scenario.cleanUp?.()
  await Promise.all(servers.map(server => server.dispose()))
}

function runBeside () {
  const args = values.url === undefined ? [binary] : ['--url', values.url]
  const child = spawn(process.execPath, [new URL(import.meta.url).pathname, ...args, beside, '--seed', values.seed], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', text => { output += text })
  return new Promise(resolve => child.once('close', () => {
    const lines = output.trimEnd().split('\n')
    const counts = /(\d+) passed, (\d+) failed, (\d+) skipped/.exec(lines.pop())
    console.log(lines.join('\n'))
    if (counts === null) total.failed++
    else ['passed', 'failed', 'skipped'].forEach((kind, i) => { total[kind] += Number(counts[i + 1]) })
    resolve()
  }))
}
