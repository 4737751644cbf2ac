// CONFIG/credentials.json, mode 0600: {"version": 1, "secrets": {ACCOUNT: SECRET}}. A file others can read is refused.

import { join } from 'node:path';
import { CloudError } from '../../errors.js';
import { whileLocked } from '../locked_file.js';
import { checkOnlyMine, readPrivateFile, writePrivateFile } from '../private_file.js';
import { privateDir } from '../user_dirs.js';
import type { CredentialStore } from './credential_store.js';

export class CredentialFile implements CredentialStore {
  readonly #dir: string;
  readonly #path: string;

  constructor(configDir: string) {
    this.#dir = configDir;
    this.#path = join(configDir, 'credentials.json');
  }

  async get(account: string): Promise<string | null> {
    return (await this.#read()).get(account) ?? null;
  }

  set(account: string, secret: string): Promise<void> {
    return this.#change((secrets) => secrets.set(account, secret));
  }

  async remove(account: string): Promise<void> {
    if ((await this.get(account)) !== null) await this.#change((secrets) => secrets.delete(account));
  }

  async #read(): Promise<Map<string, string>> {
    await checkOnlyMine(this.#path);
    const text = await readPrivateFile(this.#path);
    if (text === null) return new Map();
    let secrets: unknown;
    try {
      secrets = (JSON.parse(text) as { secrets?: unknown }).secrets;
    } catch (error) {
      // The parser's message would quote the file: a secret.
      throw new CloudError('corrupt', `reading the credentials in ${this.#path}: it is not JSON`, {
        cause: error instanceof Error ? error.name : undefined,
      });
    }
    if (typeof secrets !== 'object' || secrets === null) {
      throw new CloudError(
        'corrupt',
        `reading the credentials in ${this.#path}: expected {"version": 1, "secrets": {…}}`,
      );
    }
    return new Map(Object.entries(secrets).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
  }

  async #change(edit: (secrets: Map<string, string>) => void): Promise<void> {
    await privateDir(this.#dir);
    await whileLocked(this.#path, async () => {
      const secrets = await this.#read();
      edit(secrets);
      const text = JSON.stringify({ version: 1, secrets: Object.fromEntries(secrets) }, null, 2);
      await writePrivateFile(this.#path, `${text}\n`);
    });
  }
}
