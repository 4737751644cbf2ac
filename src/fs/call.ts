// One request that is being worked on, as the cache sees its caller. The abort signal is made only if somebody asks for
// it: most requests are answered before anyone could.

import type { Caller } from '../cache/cache_api.js';
import { CloudError } from '../errors.js';
import type { Request } from './wire/ops.js';

export class Call implements Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly unique: number;
  #controller: AbortController | null = null;
  #aborted = false;

  constructor(request: Request) {
    this.uid = request.uid;
    this.gid = request.gid;
    this.pid = request.pid;
    this.unique = request.unique;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#aborted) this.#controller.abort(reason());
    return this.#controller.signal;
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#controller?.abort(reason());
  }
}

function reason(): CloudError {
  return new CloudError('interrupted', 'the request was interrupted by its caller');
}
