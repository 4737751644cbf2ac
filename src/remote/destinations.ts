// How the target of a move is written. Behind a proxy that ends TLS or changes the host, a generic server takes the address
// that we know for another server's and refuses it with 400 or 502 (RFC 4918 section 9.9.4). Most take the path alone then;
// mod_dav wants a whole address, of which it compares only the scheme. The ownCloud family goes by the path in any case.

import { CloudError, isCloudError } from '../errors.js';
import type { ServerInfo } from './server_info.js';

type Form = 'whole' | 'path' | 'http';

export class Destinations {
  readonly #origin: string;
  readonly #forms: readonly Form[];
  #at = 0;
  /** The server has taken one that was written like this. */
  #isSure: boolean;

  constructor({ origin, dialect }: Pick<ServerInfo, 'origin' | 'dialect'>) {
    this.#origin = origin;
    this.#forms = origin.startsWith('https:') ? ['whole', 'path', 'http'] : ['whole', 'path'];
    this.#isSure = dialect !== 'generic';
  }

  /** Does the server know the address that we know, as far as was seen? */
  get haveOurHost(): boolean {
    return this.#form === 'whole';
  }

  /** `send` with the destination for the encoded path `href`. Rejects with `busy_server` where it was refused for what may be
   * the way it is written: the next is written in another. */
  async attempt(href: string, send: (destination: string) => Promise<void>): Promise<void> {
    const at = this.#at;
    try {
      await send(this.#written(href));
      this.#isSure = true;
    } catch (error) {
      if (isCloudError(error, 'precondition', 'locked')) this.#isSure = true;
      if (this.#isSure || !isForeign(error)) throw error;
      // Of several at a time one goes on to the next.
      if (this.#at === at) this.#at = (at + 1) % this.#forms.length;
      if (this.#at === 0) throw error; // all are tried: it was something else
      throw new CloudError('busy_server', error.message, { ...error.details, cause: error });
    }
  }

  get #form(): Form {
    return this.#forms[this.#at] ?? 'whole';
  }

  #written(href: string): string {
    switch (this.#form) {
      case 'whole':
        return this.#origin + href;
      case 'path':
        return href;
      case 'http':
        return this.#origin.replace(/^https:/, 'http:') + href;
    }
  }
}

function isForeign(error: unknown): error is CloudError {
  return isCloudError(error) && (error.details.status === 400 || error.details.status === 502);
}
