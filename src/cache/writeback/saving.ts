// The disk takes the bytes of a file while they are already being sent: what must wait until it has, and what must not go on
// when it does not.

type State = { readonly kind: 'under way' | 'done' } | { readonly kind: 'failed'; readonly error: unknown };

export class Saving {
  /** As `saved`. */
  readonly done: Promise<void>;
  #state: State = { kind: 'under way' };
  #last: (() => void) | null = null;

  /** `saved` rejects with why the disk did not take it. */
  constructor(saved: Promise<void>) {
    this.done = saved.then(
      () => {
        this.#state = { kind: 'done' };
        this.#last?.();
      },
      (error: unknown) => {
        this.#state = { kind: 'failed', error };
        throw error;
      },
    );
    this.done.catch(() => undefined);
  }

  /** Now, or when it is done; of several that wait the last. */
  afterwards(note: () => void): void {
    if (this.#state.kind === 'done') note();
    else this.#last = note;
  }

  /** No gigabytes for what the disk did not take: rejects as it did. */
  async *guard(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      if (this.#state.kind === 'failed') throw this.#state.error;
      yield chunk;
    }
  }
}
