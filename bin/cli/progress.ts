// One line that is rewritten in place while long work runs. Only on a terminal: a script's log gets none of it.

import { formatSize } from './sizes.js';

const BAR_CHARS = 24;
const MIN_INTERVAL_MS = 100;

export interface ProgressState {
  readonly done_bytes: number;
  /** null = not known. */
  readonly total_bytes: number | null;
  readonly note?: string;
}

export interface Progress {
  update(state: ProgressState): void;
  /** Removes the line. */
  end(): void;
}

const invisible: Progress = { update() {}, end() {} };

export function startProgress(
  label: string,
  stream: NodeJS.WriteStream = process.stderr,
  enabled = stream.isTTY,
): Progress {
  if (!enabled) return invisible;
  let last_ms = Number.NEGATIVE_INFINITY;
  return {
    update(state) {
      const now_ms = performance.now();
      if (now_ms - last_ms < MIN_INTERVAL_MS) return;
      last_ms = now_ms;
      stream.write(`\r\x1b[K${shorten(formatProgress(label, state), stream.columns || 80)}`);
    },
    end() {
      stream.write('\r\x1b[K');
    },
  };
}

function shorten(line: string, columns: number): string {
  const characters = [...line];
  return characters.length < columns ? line : characters.slice(0, Math.max(0, columns - 1)).join('');
}

export function formatProgress(label: string, state: ProgressState): string {
  const { done_bytes, total_bytes } = state;
  const extra = state.note === undefined ? '' : `  ${state.note}`;
  if (total_bytes === null || total_bytes === 0) return `${label}  ${formatSize(done_bytes)}${extra}`;
  const share = Math.min(1, done_bytes / total_bytes);
  const full = Math.floor(share * BAR_CHARS);
  const bar = '█'.repeat(full) + '░'.repeat(BAR_CHARS - full);
  return `${label}  ${bar} ${Math.floor(share * 100)} %  ${formatSize(done_bytes)} of ${formatSize(total_bytes)}${extra}`;
}
