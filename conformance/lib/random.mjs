// A seeded random number generator: the same seed gives the same test on every machine.
// Used by everything here that draws lots; does not use Math.random or the clock.

export class Random {
  /** @param {number} seed any integer */
  constructor (seed) {
    this.state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bf03635) >>> 0
    for (let i = 0; i < 4; i++) this.word()
  }

  /** 32 random bits (mulberry32, a published algorithm of a few lines). */
  word () {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let z = this.state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return (z ^ (z >>> 14)) >>> 0
  }

  /** An integer from 0 to below - 1. */
  below (below) { return Math.floor(this.word() / 2 ** 32 * below) }

  /** An integer from low to high, both possible. */
  between (low, high) { return low + this.below(high - low + 1) }

  chance (probability) { return this.word() / 2 ** 32 < probability }

  pick (list) { return list[this.below(list.length)] }

  /** One key of an object whose values are weights. */
  weighted (weights) {
    const entries = Object.entries(weights)
    let ticket = this.below(entries.reduce((sum, [, weight]) => sum + weight, 0))
    for (const [key, weight] of entries) {
      ticket -= weight
      if (ticket < 0) return key
    }
  }

  shuffled (list) {
    const copy = list.slice()
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      ;[copy[i], copy[j]] = [copy[j], copy[i]]
    }
    return copy
  }

  /** Each member with the given probability, order kept. */
  some (list, probability) { return list.filter(() => this.chance(probability)) }

  bytes (length) { return Uint8Array.from({ length }, () => this.below(256)) }
}
