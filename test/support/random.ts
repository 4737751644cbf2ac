// Reproducible randomness for tests: the seed is printed and can be given again as SEED=… to replay a run exactly.

export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** [0, 1). Mulberry32: small, and good enough to choose operations. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** An integer in [0, below). */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly [T, ...T[]]): T;
  pick<T>(items: readonly T[]): T | undefined;
  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }

  /** One of the choices, each as often as its weight says. */
  weighted<T>(choices: readonly (readonly [number, T])[]): T {
    let at = this.next() * choices.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, choice] of choices) {
      at -= weight;
      if (at < 0) return choice;
    }
    throw new Error('no choices to pick from');
  }

  bytes(size: number): Buffer {
    const out = Buffer.alloc(size);
    for (let i = 0; i < size; i += 1) out[i] = this.below(256);
    return out;
  }
}

/** Seeds for `runs` runs: those of the environment (SEED=7 or SEED=7-20), or fresh ones. */
export function seeds(runs: number): number[] {
  const given = process.env['SEED'];
  if (given !== undefined) {
    const [from = 0, to = from] = given.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  }
  const first = Date.now() % 1_000_000_000;
  return Array.from({ length: runs }, (_, i) => first + i * 7919);
}

/** The same for what gates a change: always the same walks, but fresh ones in the soak. */
export function gateSeeds(runs: number): number[] {
  const fresh = process.env['SEED'] !== undefined || process.env['CLOUDMOUNT_SOAK'] === '1';
  return fresh ? seeds(runs) : Array.from({ length: runs }, (_, i) => i + 1);
}
