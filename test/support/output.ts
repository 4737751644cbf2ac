// What a command prints, kept for the test instead of shown.

import { afterEach, beforeEach, vi } from 'vitest';

/** Of the test that runs. */
export const printed = { out: '', err: '' };

/** For all tests of the file that calls it. */
export function keepOutput(): void {
  beforeEach(() => {
    for (const [name, stream] of [
      ['out', process.stdout],
      ['err', process.stderr],
    ] as const) {
      printed[name] = '';
      vi.spyOn(stream, 'write').mockImplementation((text) => {
        printed[name] += String(text);
        return true;
      });
    }
  });
  afterEach(() => vi.restoreAllMocks());
}
