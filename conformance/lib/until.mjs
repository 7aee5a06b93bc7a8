// Waiting for something to become true, never for time to pass. Used by every scenario.

/**
 * Resolves with the first truthy value of `check`, which is asked again and again (it may be async, and may throw while it is not
 * ready). Rejects after `ms` with a text that says what was waited for.
 */
export async function until (what, check, { ms = 20_000, everyMs = 5 } = {}) {
  const end = performance.now() + ms
  let last = ''
  for (;;) {
    try {
      const value = await check()
      if (value) return value
    } catch (error) {
      last = ` (${error.message})`
    }
    if (performance.now() > end) throw new Error(`waited ${ms} ms for: ${typeof what === 'function' ? what() : what}${last}`)
    await pause(everyMs)
  }
}

export const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Lets sockets and timers have their turn. */
export const breathe = () => new Promise(resolve => setImmediate(resolve))

/** The promise, or a failure after `ms`. */
export async function within (ms, what, promise) {
  let timer
  try {
    return await Promise.race([promise, new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: not within ${ms / 1000} s`)), ms) })])
  } finally {
    clearTimeout(timer)
  }
}
