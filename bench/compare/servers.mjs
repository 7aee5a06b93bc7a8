// The columns of the tables: how each server is started, what it speaks, its version, and why it is missing if it is.
// Read by compare.mjs. Starts nothing but to ask for versions.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { commands, isExecutable } from './install.mjs'
import { documents, restarts } from './workloads.mjs'

const peers = fileURLToPath(new URL('../peers', import.meta.url))

/** All servers by name. `command` makes the words of a command line; `can` is what beside relaying it does; `stop` ends it in a way that it stores. */
export function servers ({ relay, concord, ySweet }) {
  return {
    relay: {
      can: [],
      missing: notExecutable(relay, `${commands.relay}, or --relay PATH`),
      version: () => `of ${commit()}`,
      command: port => [relay, `127.0.0.1:${port}`]
    },
    // What the kernel takes for storing as well: the log, its syncs, and the author's own frames.
    'relay-log': {
      can: [],
      missing: notExecutable(relay, `${commands.relay}, or --relay PATH`),
      version: () => `of ${commit()}`,
      command: (port, folder) => [relay, `127.0.0.1:${port}`, '--log', `${folder}/log`]
    },
    concord: concordServer(concord),
    'y-websocket-server': {
      can: [documents, restarts],
      missing: notInstalled('@y/websocket-server'),
      version: () => `@y/websocket-server ${versionOf('@y/websocket-server')} (y-leveldb ${versionOf('y-leveldb')} where it restarts), Node.js ${process.versions.node}`,
      command: (port, folder, workload) => workload.needs === restarts
        ? [process.execPath, `${peers}/y-websocket-server.mjs`, String(port), folder]
        : ['env', 'HOST=127.0.0.1', `PORT=${port}`, process.execPath, `${peers}/node_modules/@y/websocket-server/src/server.js`]
    },
    hocuspocus: {
      can: [documents, restarts],
      dialect: 'hocuspocus',
      missing: notInstalled('@hocuspocus/server'),
      version: () => `@hocuspocus/server ${versionOf('@hocuspocus/server')} with extension-sqlite, Node.js ${process.versions.node}`,
      command: (port, folder) => [process.execPath, `${peers}/hocuspocus.mjs`, String(port), folder]
    },
    'y-sweet': {
      can: [documents, restarts],
      dialect: 'y-sweet',
      // At SIGTERM `y-sweet serve` ends without storing.
      stop: 'INT',
      missing: notExecutable(ySweet, `${commands.ySweet}, or --y-sweet PATH`),
      version: () => {
        try {
          // It has no --version; cargo writes down what it has installed.
          const root = ySweet.slice(0, -'/bin/y-sweet'.length)
          return `y-sweet ${/"y-sweet ([0-9.]+)/.exec(readFileSync(`${root}/.crates.toml`, 'utf8'))[1]}`
        } catch {
          return 'of unknown version'
        }
      },
      command: (port, folder) => [ySweet, 'serve', '--host', '127.0.0.1', '--port', String(port), folder]
    }
  }
}

/** Concord with each --durability. */
export function durabilities ({ concord }) {
  return Object.fromEntries(['ack', 'strict', 'memory'].map(mode => [mode, {
    ...concordServer(concord, ['--durability', mode]),
    // What is only in memory is gone after a kill, as it should be.
    forgets: mode === 'memory'
  }]))
}

function concordServer (concord, args = []) {
  return {
    can: [documents, restarts],
    missing: notExecutable(concord, `${commands.server}, or --concord PATH`),
    version: () => `${execFileSync(concord, ['--version'], { encoding: 'utf8' }).trim()} of ${commit()}`,
    command: (port, folder) => [concord, '--listen', `127.0.0.1:${port}`, '--data', folder, '--log-level', 'warn', ...args]
  }
}

function notExecutable (path, command) {
  return isExecutable(path) ? undefined : command
}

function notInstalled (name) {
  try {
    versionOf(name)
  } catch {
    return commands.peers
  }
}

function versionOf (name) {
  return JSON.parse(readFileSync(`${peers}/node_modules/${name}/package.json`, 'utf8')).version
}

function commit () {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: peers, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'an unknown commit'
  }
}
