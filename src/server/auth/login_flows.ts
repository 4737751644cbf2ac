// Logins under way by Nextcloud's login flow v2: a device asks for one, its user lets it in on a page in any browser, and the
// device, which polls meanwhile, gets an app token. Nothing of it is stored: after a restart the device asks anew.

import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';

/** As long as Nextcloud's. */
const LIFETIME_MS = 20 * 60_000;
const FLOWS_MAX = 10_000;

/** What a device logs in with. */
export interface Granted {
  readonly user: string;
  /** An app token. */
  readonly secret: string;
}

interface Flow {
  /** What the device calls itself. */
  readonly device: string;
  /** null: nobody has let it in yet. */
  granted: Granted | null;
}

export interface Begun {
  /** In the address of the page; who has it can let the device into an account of their own. */
  readonly page: string;
  /** With which the device asks what became of it. */
  readonly poll: string;
}

export class LoginFlows {
  readonly #byPoll = new LRUCache<string, Flow>({ max: FLOWS_MAX, ttl: LIFETIME_MS });
  readonly #byPage = new LRUCache<string, Flow>({ max: FLOWS_MAX, ttl: LIFETIME_MS });

  begin(device: string): Begun {
    const flow: Flow = { device, granted: null };
    const begun = { page: randomBytes(32).toString('base64url'), poll: randomBytes(32).toString('base64url') };
    this.#byPage.set(begun.page, flow);
    this.#byPoll.set(begun.poll, flow);
    return begun;
  }

  /** The device that asks by this page; null: there is none, or it has been let in. */
  deviceOf(page: string): string | null {
    return this.#byPage.get(page)?.device ?? null;
  }

  /** Lets the device in with what `grant` makes; whoever comes meanwhile is too late. False: so was this one. */
  async letIn(page: string, grant: () => Promise<Granted>): Promise<boolean> {
    const flow = this.#byPage.get(page);
    if (flow === undefined) return false;
    this.#byPage.delete(page);
    try {
      flow.granted = await grant();
    } catch (error) {
      this.#byPage.set(page, flow); // to be tried again
      throw error;
    }
    return true;
  }

  /** What the device was given, once. */
  take(poll: string): Granted | null {
    const granted = this.#byPoll.get(poll)?.granted ?? null;
    if (granted !== null) this.#byPoll.delete(poll);
    return granted;
  }
}
