// Where the bytes of an upload come from: as chunks of the sender's making, or, when they are many, fetched into memory of
// the taker's choice.

export type ByteSource = AsyncIterable<Buffer> | PullSource;

export interface PullSource {
  /** Puts what comes next at the start of `into`, as much as is there: how many bytes, 0 at the end. One call at a time.
   * Rejects with `network` when the sender breaks off. */
  fill(into: Buffer): Promise<number>;
  /** Nothing more is wanted, whether it has ended or not. */
  close(): void;
}

export function isPulled(source: ByteSource): source is PullSource {
  return 'fill' in source;
}

/** `source`, where `see` is told how many bytes have come before they are handed on (and may refuse them), and `end` that no
 * more are wanted. */
export function watched(source: ByteSource, see: (bytes: number) => Promise<void>, end: () => void): ByteSource {
  return isPulled(source) ? watchedPull(source, see, end) : watchedChunks(source, see, end);
}

function watchedPull(source: PullSource, see: (bytes: number) => Promise<void>, end: () => void): PullSource {
  return {
    async fill(into) {
      const bytes = await source.fill(into);
      if (bytes > 0) await see(bytes);
      return bytes;
    },
    close() {
      source.close();
      end();
    },
  };
}

async function* watchedChunks(
  source: AsyncIterable<Buffer>,
  see: (bytes: number) => Promise<void>,
  end: () => void,
): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of source) {
      await see(chunk.length);
      yield chunk;
    }
  } finally {
    end();
  }
}
