// The desktop's keyring (Secret Service) through secret-tool(1) of libsecret. The secret goes in by standard input and
// comes out by standard output, never through arguments. Every call is bounded: a keyring that waits for the user to
// unlock it may take a while, one that hangs may not hang us.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { CloudError } from '../../errors.js';
import type { CredentialStore } from './credential_store.js';

const TIMEOUT_MS = 60_000;
/** A keyring that has not answered by then asks the user something, or hangs: either way they should know. */
const PATIENCE_MS = 2_000;
const MAX_OUTPUT_BYTES = 64 * 1024;

/** Is there a session bus to ask on, and the program to ask with? Says nothing about whether a keyring answers. */
export function keyringReachable(environment: NodeJS.ProcessEnv = process.env): boolean {
  const runtime = environment['XDG_RUNTIME_DIR'];
  const bus =
    (environment['DBUS_SESSION_BUS_ADDRESS'] ?? '') !== '' ||
    (runtime !== undefined && existsSync(join(runtime, 'bus')));
  return bus && findProgram('secret-tool', environment) !== null;
}

/** Absolute path of a program in PATH. */
export function findProgram(name: string, environment: NodeJS.ProcessEnv = process.env): string | null {
  for (const dir of (environment['PATH'] ?? '/usr/bin:/bin').split(delimiter)) {
    if (dir !== '' && existsSync(join(dir, name))) return join(dir, name);
  }
  return null;
}

export class SecretTool implements CredentialStore {
  readonly #command: string;
  readonly #onWait: () => void;
  readonly #timeout_ms: number;

  /** `onWait`: an answer takes long. */
  constructor(command = 'secret-tool', onWait: () => void = () => undefined, timeout_ms = TIMEOUT_MS) {
    this.#command = command;
    this.#onWait = onWait;
    this.#timeout_ms = timeout_ms;
  }

  async get(account: string): Promise<string | null> {
    const { code, output, errors } = await this.#run(['lookup', 'service', 'cloudmount', 'account', account], null);
    if (code === 0) return output;
    // "Not there" is exit code 1 without a word, and so is an entry that stays locked; anything said is a failure to ask.
    if (errors.trim() !== '') throw new CloudError('io', `asking the keyring for account ${account}: ${errors.trim()}`);
    if (await this.#isThere(account)) throw locked(`password of account ${account}`);
    return null;
  }

  /** Also a locked entry, without unlocking it. */
  async #isThere(account: string): Promise<boolean> {
    const { output } = await this.#run(['search', 'service', 'cloudmount', 'account', account], null);
    return output.includes('label = ');
  }

  async set(account: string, secret: string): Promise<void> {
    const { code, errors } = await this.#run(
      ['store', `--label=cloudmount: ${account}`, 'service', 'cloudmount', 'account', account],
      secret,
    );
    if (code !== 0) throw new CloudError('io', `storing in the keyring for account ${account}: ${errors.trim()}`);
  }

  async remove(account: string): Promise<void> {
    const { code, errors } = await this.#run(['clear', 'service', 'cloudmount', 'account', account], null);
    if (code !== 0 && errors.trim() !== '') {
      throw new CloudError('io', `removing account ${account} from the keyring: ${errors.trim()}`);
    }
    if (code !== 0 && (await this.#isThere(account))) throw locked(`removing account ${account}`);
  }

  #run(args: readonly string[], input: string | null): Promise<{ code: number; output: string; errors: string }> {
    return new Promise((resolve, reject) => {
      const child = spawn(this.#command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
      let output = '';
      let errors = '';
      const patience = setTimeout(this.#onWait, PATIENCE_MS);
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new CloudError('timeout', `asking the keyring: no answer within ${this.#timeout_ms / 1000} s`));
      }, this.#timeout_ms);
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (output.length < MAX_OUTPUT_BYTES) output += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        if (errors.length < MAX_OUTPUT_BYTES) errors += text;
      });
      child.stdin.on('error', () => undefined);
      child.stdin.end(input ?? '');
      child.on('error', (error) => {
        clearTimeout(timer);
        clearTimeout(patience);
        reject(new CloudError('unsupported', `asking the keyring: ${error.message}`, { cause: error }));
      });
      child.on('close', (code) => {
        clearTimeout(timer);
        clearTimeout(patience);
        resolve({ code: code ?? 1, output, errors });
      });
    });
  }
}

function locked(doing: string): CloudError {
  return new CloudError(
    'unauthorized',
    `${doing}: the keyring is locked. Unlock it (log in to the desktop, or open its program) and try again, or keep the password in a file: cloudmount login --store file`,
  );
}
