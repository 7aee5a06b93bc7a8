// What the measuring needs: the commands that build or fetch it, and which of them have to be run. Run by compare.mjs --install; servers.mjs tells those of
// servers that are missing. What cannot be installed is told and stops nothing else: compare.mjs leaves it out as if nobody had tried.

import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** As somebody would type them in the root of the checkout. They put things where compare.mjs looks for them, wherever cargo builds otherwise. */
export const commands = {
  server: 'cargo build --release -p server --target-dir target',
  relay: 'cargo build --release -p bench --bin relay --target-dir target',
  conformance: 'npm ci --prefix conformance',
  traces: 'node conformance/traces.mjs --write target/traces',
  peers: 'npm ci --prefix bench/peers',
  ySweet: 'cargo install y-sweet --version 0.9.1 --locked --root target/peers'
}

/** Where those put the programs. */
export const programs = {
  concord: join(root, 'target/release/concord'),
  relay: join(root, 'target/release/relay'),
  ySweet: join(root, 'target/peers/bin/y-sweet')
}

/**
 * Runs what is missing of what these servers and traces need, one command after the other. Programs that are to be somewhere else are not made there.
 * @param {{servers: string[], traces: string[], paths: typeof programs}} wanted
 * @returns {Promise<string[]>} the commands that have failed
 */
export async function install ({ servers, traces, paths }) {
  const lacks = program => paths[program] === programs[program] && !isExecutable(paths[program])
  const measures = (...names) => names.some(name => servers.includes(name))
  const lacksTraces = traces.some(path => !existsSync(path))
  const steps = [
    // It is the load as well.
    ['Concord', commands.server, lacks('concord')],
    ['the relay', commands.relay, measures('relay', 'relay-log') && lacks('relay')],
    ['the npm packages that read the traces', commands.conformance, lacksTraces && !hasPackages('conformance')],
    ['the traces', commands.traces, lacksTraces],
    ['the peers from npm', commands.peers, measures('y-websocket-server', 'hocuspocus') && !hasPackages('bench/peers')],
    ['y-sweet, which takes some minutes', commands.ySweet, measures('y-sweet') && lacks('ySweet')]
  ].filter(([,, isMissing]) => isMissing)
  if (steps.length === 0) console.log('all is installed that is needed')
  const failed = []
  for (const [what, command] of steps) {
    console.log(`installing ${what}: ${command}`)
    const why = await run(command)
    if (why === null) continue
    failed.push(command)
    console.log(`failed: ${command} ${why}; what needs it is left out`)
  }
  return failed
}

/** Runs a command line in the root. Null, or how it has failed; what it has to say is shown as it comes. */
function run (command) {
  const [program, ...words] = command.split(' ')
  const child = spawn(program === 'node' ? process.execPath : program, words, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  const end = () => child.kill()
  process.once('exit', end)
  return new Promise(resolve => {
    const done = why => {
      process.off('exit', end)
      resolve(why)
    }
    child.once('error', error => done(`cannot be started: ${error.message}`))
    child.once('exit', (code, signal) => done(code === 0 ? null : `ended with ${code ?? signal}`))
  })
}

/** Whether a program is there. */
export function isExecutable (path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Whether all packages of a folder are there, in the versions that it names. */
function hasPackages (folder) {
  const read = path => JSON.parse(readFileSync(join(root, folder, path, 'package.json'), 'utf8'))
  try {
    return Object.entries(read('.').dependencies).every(([name, version]) => read(`node_modules/${name}`).version === version.slice(version.lastIndexOf('@') + 1))
  } catch {
    return false
  }
}
