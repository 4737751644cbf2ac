// Answers that are ready in one turn of the event loop leave together, once all that has come in is read: to wake a client
// that sleeps costs as much as finding a small file, and then it is awake for the answers after the first.

/** So many requests in a row over one connection, and it is taken for the only one that is in use. */
const CROWD_REQUESTS = 16;

export interface Leaving {
  /** Sends what it has. */
  leave(): void;
  /** `leave` threw: the answer cannot be given. */
  abandon(error: unknown): void;
}

export class Departure {
  #last: object | null = null;
  /** Requests from now on that count as one of many, even if they all come over one connection. */
  #crowd = 0;
  #ready: Leaving[] = [];

  began(connection: object): void {
    this.#crowd = connection === this.#last ? Math.max(this.#crowd - 1, 0) : CROWD_REQUESTS;
    this.#last = connection;
  }

  /** With others, or at once for who asks one thing after the other over one connection. */
  ready(answer: Leaving): void {
    if (this.#crowd === 0) {
      answer.leave();
      return;
    }
    if (this.#ready.length === 0) setImmediate(() => this.#send());
    this.#ready.push(answer);
  }

  #send(): void {
    const ready = this.#ready;
    this.#ready = [];
    for (const answer of ready) {
      try {
        answer.leave();
      } catch (error) {
        answer.abandon(error);
      }
    }
  }
}
