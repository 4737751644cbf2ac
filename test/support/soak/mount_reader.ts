import { setTimeout as pause } from 'node:timers/promises';
import { FsError, type FsProcess } from '../fs_process.js';
import { Random } from '../random.js';
import type { Ledger } from './ledger.js';

/** Lists and reads at random: what it is given is whole, or an error. */
export class MountReader {
  readonly #dir: string;
  readonly #fs: FsProcess;
  readonly #ledger: Ledger;
  readonly #random: Random;

  constructor(dir: string, fs: FsProcess, ledger: Ledger, seed: number) {
    this.#dir = dir;
    this.#fs = fs;
    this.#ledger = ledger;
    this.#random = new Random(seed);
  }

  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      this.#ledger.operations += 1;
      try {
        const name = this.#random.pick(await this.#fs.list(this.#dir));
        if (name !== undefined) {
          const path = `${this.#dir}/${name}`;
          const { kind } = await this.#fs.stat(path);
          if (kind === 'file') {
            const content = await this.#fs.readFile(path);
            if (!name.startsWith('blob-')) this.#ledger.look(path, content.toString('latin1'));
          }
        }
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        this.#ledger.refused += 1;
        await pause(100);
      }
      await pause(this.#random.below(80));
    }
  }
}
