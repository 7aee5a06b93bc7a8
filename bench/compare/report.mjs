// What was measured, as Markdown, JSON and a chart. Called by compare.mjs after each round. Measures nothing.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { thousands } from './workloads.mjs'

/** A load whose core is as full as this was as slow as the server, or slower. */
const loadFullPercent = 95

/** Writes results.json, results.md and chart.svg. Returns the Markdown. */
export function write (directory, results) {
  const text = markdown(results)
  writeFileSync(join(directory, 'results.json'), JSON.stringify(results, null, 1) + '\n')
  writeFileSync(join(directory, 'results.md'), text)
  const bars = results.tables.flatMap(table => table.name === 'servers' ? chart(table) : [])
  for (const svg of bars) writeFileSync(join(directory, 'chart.svg'), svg)
  return text
}

function markdown ({ machine, date, arguments: words, versions, missing, notes, tables }) {
  const lines = [
    `${date}, ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.kernel}. \`${['node bench/compare.mjs', ...words].join(' ')}\``,
    '',
    ...Object.entries(versions).map(([name, version]) => `* ${name}: ${version}`),
    ...Object.entries(missing).map(([name, command]) => `* ${name}: missing; install it with: ${command}`),
    ...notes.map(note => `* ${note}`)
  ]
  for (const table of tables) {
    lines.push('', `## ${table.title}`, '', `${table.about} ${othersText(table)}`.trim(), '')
    lines.push(`| workload | ${table.columns.join(' | ')} |`, `|---|${table.columns.map(() => '---|').join('')}`)
    for (const row of table.rows) lines.push(`| ${row.name}: ${row.about} | ${table.columns.map(column => cellText(table, row, column)).join(' | ')} |`)
  }
  return lines.join('\n') + '\n'
}

function cellText (table, row, column) {
  const cell = row.cells[column]
  if (cell === undefined) return '–'
  const runs = cell.filter(run => run.results !== undefined)
  if (runs.length === 0) return `failed: ${escaped(cell.at(-1).error)}`
  const parts = row.figures.map(([name, unit, label], place) => {
    const middle = median(runs.map(run => run.results[name]?.median))
    if (middle === undefined) return `${label ?? name.replaceAll('_', ' ')} unknown`
    const text = unit.startsWith('/') ? `${short(middle)}${unit}` : `${short(middle)} ${unit}`
    return `${label === undefined ? '' : `${label} `}${text}${place === 0 ? ratioText(table, row, column) : ''}`
  })
  const most = name => Math.max(...runs.map(run => run.results[name]?.max ?? 0))
  if (most('load_cpu') >= loadFullPercent) parts.push('load full')
  if (most('synced_too_early') > 0) parts.push(`${thousands(most('synced_too_early'))} synced before they had it`)
  if (most('repeated') > 0) parts.push(`${thousands(most('repeated'))} repeated`)
  if (most('not_acknowledged') > 0) parts.push(`${thousands(most('not_acknowledged'))} not acknowledged`)
  if (most('closed_by_server') > 0) parts.push(`${thousands(most('closed_by_server'))} closed`)
  if (most('lost') > 0) parts.push(`**lost ${thousands(most('lost'))}**`)
  if (runs.length < cell.length) parts.push(`${cell.length - runs.length} of ${cell.length} runs failed`)
  return parts.join(', ')
}

/** To the baseline of the same run, as noise hits both; the median of these. */
function ratioText (table, row, column) {
  if (column === table.baseline || row.cells[table.baseline] === undefined) return ''
  const [name] = row.figures[0]
  const ratios = row.cells[column].map(({ run, results }) => {
    const baseline = row.cells[table.baseline].find(other => other.run === run)?.results?.[name]?.median
    return baseline > 0 && typeof results?.[name]?.median === 'number' ? results[name].median / baseline : undefined
  })
  const middle = median(ratios)
  return middle === undefined ? '' : ` (x ${middle.toFixed(2)})`
}

/** How busy the machine was with something else, which is how far absolute numbers can be believed. */
function othersText (table) {
  const shares = table.rows.flatMap(row => Object.values(row.cells).flat()).map(run => run.results?.others_cpu).filter(figure => figure?.unit === '%').map(figure => figure.median)
  const middle = median(shares)
  return middle === undefined ? '' : `Meanwhile everything else on this machine took ${Math.round(middle)} % of a core (median; at most ${Math.round(Math.max(...shares))} %).`
}

/** Bars of CPU a delivery by server, a group for each row, each group on its own scale. */
function chart ({ columns, rows }) {
  const groups = rows.filter(row => row.chart).map(row => ({
    ...row,
    bars: columns.map(column => [column, median((row.cells[column] ?? []).map(run => run.results?.[row.figures[0][0]]?.median))]).filter(([, value]) => value !== undefined)
  })).filter(group => group.bars.length > 0)
  if (groups.length === 0) return []
  const line = 20
  const colours = ['#9aa5b1', '#1d6fb8', '#c98b2b', '#7b5ea7', '#4f9d69']
  const out = []
  let y = 40
  for (const group of groups) {
    const scale = Math.max(...group.bars.map(([, value]) => value))
    out.push(`<text x="16" y="${y + 14}" font-weight="bold">${xml(`${group.name}: ${group.about}`)}</text>`)
    y += line + 4
    for (const [column, value] of group.bars) {
      const colour = colours[columns.indexOf(column) % colours.length]
      out.push(
        `<text x="160" y="${y + 14}" text-anchor="end">${xml(column)}</text>`,
        `<rect x="170" y="${y + 2}" width="${Math.max(1, 480 * value / scale).toFixed(1)}" height="${line - 4}" fill="${colour}"/>`,
        `<text x="${(178 + 480 * value / scale).toFixed(1)}" y="${y + 14}">${short(value)} us</text>`
      )
      y += line
    }
    y += 12
  }
  return [[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 ${y}" font-family="sans-serif" font-size="13">`,
    `<rect width="760" height="${y}" fill="#fff"/>`,
    '<text x="16" y="26" font-size="16" font-weight="bold">Server CPU for each delivery, kernel included; shorter is better</text>',
    ...out, '</svg>\n'
  ].join('\n')]
}

export function median (values) {
  const known = values.filter(value => typeof value === 'number').sort((a, b) => a - b)
  const middle = known.length >> 1
  if (known.length === 0) return undefined
  return known.length % 2 === 1 ? known[middle] : (known[middle - 1] + known[middle]) / 2
}

/** Two to three digits that count. */
export function short (value) {
  const size = Math.abs(value)
  if (size >= 100) return thousands(Number(value.toPrecision(3)))
  return size >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function escaped (text) {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}

function xml (text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
