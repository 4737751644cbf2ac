// What a server told us about itself when we last reached it: STATE/remote.json. With it a drive starts without any
// network. It holds no credentials; the URL and user it was made for are kept beside it, so that a changed account does
// not start with another server's description.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { parseServerInfo, type ServerInfo } from '../remote/server_info.js';
import { readPrivateFile, writePrivateFile } from './private_file.js';

export class SavedDescription {
  readonly #path: string;
  readonly #for: string;

  constructor(stateDir: string, url: string, user: string) {
    this.#path = join(stateDir, 'remote.json');
    this.#for = createHash('sha256').update(`${user}\n${url}`).digest('hex');
  }

  /** null = never saved, or for another server, or nothing that this version of the program understands. */
  async load(): Promise<ServerInfo | null> {
    try {
      const text = await readPrivateFile(this.#path);
      if (text === null) return null;
      const saved = JSON.parse(text) as { for?: unknown; description?: unknown };
      return saved.for === this.#for ? parseServerInfo(saved.description) : null;
    } catch {
      return null;
    }
  }

  async save(description: unknown): Promise<void> {
    await writePrivateFile(this.#path, `${JSON.stringify({ for: this.#for, description })}\n`);
  }
}
