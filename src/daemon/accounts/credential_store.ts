// Where an account's password or app token is kept: the desktop's keyring where there is one that works, else a 0600
// file. The account remembers which.

import { CloudError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { Account, CredentialPlace } from './account_book.js';
import { CredentialFile } from './credential_file.js';
import { keyringReachable, SecretTool } from './secret_tool.js';

export interface CredentialStore {
  /** null = none stored. */
  get(account: string): Promise<string | null>;
  set(account: string, secret: string): Promise<void>;
  remove(account: string): Promise<void>;
}

export class Credentials {
  readonly #file: CredentialStore;
  readonly #keyring: CredentialStore;
  readonly #log: Log;
  readonly #tell: (message: string) => void;

  /** `tell`: to who waits, why. */
  constructor(
    configDir: string,
    log: Log,
    keyring?: CredentialStore,
    tell: (message: string) => void = () => undefined,
  ) {
    this.#file = new CredentialFile(configDir);
    const onWait = () => tell('waiting for the keyring; it may be asking for its password on the screen …');
    this.#keyring = keyring ?? new SecretTool('secret-tool', onWait);
    this.#tell = tell;
    this.#log = log;
  }

  /** Rejects with `unauthorized` if nothing is stored, saying what can be done. */
  async get(account: Pick<Account, 'name' | 'credential'>): Promise<string> {
    const secret = await this.#store(account.credential).get(account.name);
    if (secret !== null) return secret;
    const place = account.credential === 'keyring' ? 'the keyring has no' : 'the credentials file has no';
    throw new CloudError(
      'unauthorized',
      `password of account ${account.name}: ${place} entry for it. Log in again: cloudmount login`,
    );
  }

  /** Stores and reads back, because a keyring may accept and forget. `prefer` is tried first. What was stored in the other
   * place stays there until it is removed: the account still names that one. */
  async set(name: string, secret: string, prefer: CredentialPlace | 'auto'): Promise<CredentialPlace> {
    if (prefer === 'keyring' || (prefer === 'auto' && keyringReachable())) {
      try {
        await this.#keyring.set(name, secret);
        if ((await this.#keyring.get(name)) === secret) return 'keyring';
        throw new CloudError('io', `keyring: it does not give back what was stored for account ${name}`);
      } catch (error) {
        if (prefer === 'keyring') throw error;
        this.#log.info({ error }, 'no keyring, the password goes to the credentials file');
        this.#tell(`the keyring is not used: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    await this.#file.set(name, secret);
    return 'file';
  }

  async remove(account: Pick<Account, 'name' | 'credential'>): Promise<void> {
    await this.#store(account.credential).remove(account.name);
  }

  #store(place: CredentialPlace): CredentialStore {
    return place === 'keyring' ? this.#keyring : this.#file;
  }
}
