// The rows of the tables: what `concord bench` is asked for, what a server has to be able to do for it, and which figures are shown.
// Read by compare.mjs. Starts nothing.

const cpu = ['cpu_per_delivery', 'us']
const p99 = ['p99', 'ms', 'p99']

/** Everything is more than a number for these: they need a document, or one that outlives the server. */
export const documents = 'documents'
export const restarts = 'restarts'

const openLoop = (clients, writers = 10) => ({
  args: ['fanout', '--clients', clients, '--writers', writers, '--rate', 10_000],
  about: `1 room of ${thousands(clients)}, ${writers} writers, 10,000 deliveries/s: CPU a delivery`,
  figures: [cpu, p99],
  chart: true
})

const saturated = (clients, inFlight, textBytes = 80) => ({
  args: ['fanout', '--clients', clients, '--writers', 10, '--in-flight', inFlight, '--text-bytes', textBytes],
  about: `1 room of ${thousands(clients)}, 10 writers, each ${inFlight} updates in flight: CPU a delivery`,
  figures: [cpu, ['deliveries', '/s']],
  chart: true
})

const rooms = count => ({
  args: ['rooms', '--rooms', count],
  about: `${thousands(count)} rooms of 2, 1 update/s each: CPU a delivery`,
  figures: [cpu, p99],
  chart: true,
  connections: 2 * count
})

/** The main table: every server. `seconds` is about how long one run takes beside what --seconds says. */
export const workloads = {
  'fanout-10': openLoop(10, 2),
  'fanout-100': openLoop(100),
  'fanout-1000': openLoop(1_000),
  'saturated-100x4': saturated(100, 4),
  'saturated-1000x4': saturated(1_000, 4),
  // Short texts: at a third of a million updates a second, longer ones would reach a document's 64 MiB before the end.
  'saturated-100x32': saturated(100, 32, 32),
  trace: {
    args: ['trace'],
    needs: documents,
    about: 'automerge-paper, 259,778 updates from one writer to one reader: CPU an update',
    figures: [['cpu_per_update', 'us'], ['updates_per_s', '/s']],
    untimed: true,
    trace: 'automerge-paper.updates'
  },
  idle: {
    args: ['idle', '--connections', 10_000, '--rooms', 5_000],
    needs: documents,
    about: '10,000 connections in 5,000 rooms: memory of each',
    figures: [['rss_per_connection', 'KiB'], ['cpu_per_connect', 'us', 'connecting'], ['idle_cpu', '%', 'then']],
    connections: 10_000
  },
  'rooms-1000': rooms(1_000),
  'rooms-5000': rooms(5_000),
  open: {
    args: ['open'],
    needs: restarts,
    about: 'a document of 311 KB after a restart: the first client has it',
    figures: [['first_open', 'ms'], ['all_open', 'ms', '100 more'], ['cpu', 'ms', 'CPU']],
    untimed: true
  },
  storm: {
    args: ['storm'],
    needs: restarts,
    about: '2,000 clients come back to 200 rooms after a restart, with their documents: all are synced',
    figures: [['with_document_all_synced', 's'], ['with_document_cpu', 's', 'CPU'], ['with_nothing_all_synced', 's', 'with nothing'], ['with_nothing_cpu', 's', 'CPU']],
    untimed: true
  },
  presence: {
    args: ['presence'],
    about: '100 cursors in 1 room, 10 states/s each: CPU for each state that reaches somebody',
    figures: [['cpu_per_state', 'us'], p99]
  },
  'slow-reader': {
    args: ['slow-reader'],
    needs: documents,
    about: 'one of four does not read for 30 s, while the others write 2 MB/s: growth of memory',
    figures: [['rss_growth', 'MB'], ['catch_up', 's', 'caught up'], ['cpu_per_update', 'us', 'CPU an update']],
    untimed: true,
    pause: true
  },
  ack: {
    args: ['ack'],
    needs: restarts,
    about: '500 updates/s, then kill -9: until the author is told that a change is saved',
    figures: [['p50', 'ms', 'p50'], p99]
  }
}

/** What Concord's --durability costs, side by side. */
export const modes = Object.fromEntries(['fanout-100', 'saturated-100x4', 'rooms-1000', 'trace', 'ack'].map(name => [name, workloads[name]]))

/** Whether the cost of a delivery stays what it is. */
export const growth = {
  'members-10': openLoop(10, 2),
  'members-100': openLoop(100),
  'members-1000': openLoop(1_000),
  'members-5000': { ...openLoop(5_000), connections: 5_000 },
  'rooms-100': rooms(100),
  'rooms-1000': rooms(1_000),
  'rooms-10000': rooms(10_000)
}

/**
 * The words after `concord bench` for this workload, or why it cannot be run here. Fewer rooms than asked for are told in `note`.
 * @param {{seconds?: number, traces: string, openFilesMax: number}} options
 */
export function wordsOf (workload, { seconds, traces, openFilesMax }) {
  const words = workload.args.map(String)
  let note
  // Besides sockets, load and server have files, threads' pipes and listeners.
  const spare = 200
  if (workload.connections > openFilesMax - spare) {
    if (workload.args[0] !== 'rooms') return { refused: `${workload.connections} connections need a limit of ${workload.connections + spare} open files; it is ${openFilesMax} (ulimit -Hn)` }
    const fewer = Math.floor((openFilesMax - spare) / 200) * 100
    words[2] = String(fewer)
    note = `${thousands(fewer)} rooms instead of ${thousands(workload.args[2])}: at most ${openFilesMax} open files (ulimit -Hn)`
  }
  if (workload.trace !== undefined) words.push('--file', `${traces}/${workload.trace}`)
  if (seconds !== undefined && workload.pause) words.push('--pause-s', String(Math.ceil(seconds)))
  if (seconds !== undefined && !workload.untimed) words.push('--seconds', String(seconds))
  return { words, note }
}

export function thousands (number) {
  return number.toLocaleString('en-US')
}
