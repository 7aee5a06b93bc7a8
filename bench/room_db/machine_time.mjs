// What the server has used so far, from /proc: CPU time, memory, open files. Called by the parts of bench/room_db.mjs.

import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** CPU time of a process with all its threads, also those that have ended, in microseconds. */
export function cpuUs (pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond * 1e6
}

export const residentMiB = pid => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024
export const openFiles = pid => readdirSync(`/proc/${pid}/fd`).length
export const threads = pid => readdirSync(`/proc/${pid}/task`).length
export const ownCpuUs = () => { const { user, system } = process.cpuUsage(); return user + system }
