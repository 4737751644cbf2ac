// The sharing and activity APIs of an account's server (Open Collaboration Services): ours, Nextcloud's, ownCloud's. A
// path inside a mounted drive says which account and which file is meant.

import { Agent, request } from 'undici';
import type { Account } from '../../src/daemon/accounts/account_book.js';
import { readTlsFiles } from '../../src/daemon/accounts/tls_files.js';
import { CloudError } from '../../src/errors.js';
import { codeOfStatus } from '../../src/remote/http_failure.js';
import { transportError } from '../../src/remote/transport_error.js';
import type { Context } from './context.js';
import { CommandError, EXIT, type ExitCode } from './exit_codes.js';
import { type PlaceInDrive, placeInDrive } from './find_drive.js';
import { printable } from './output.js';
import { userAgent } from './version.js';

const TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
const ANSWER_MAX_BYTES = 16 * 1024 * 1024;

/** What OCS says is wrong, as docs/exit-codes.md has it; everything else is a plain failure. */
const EXIT_OF_STATUS: ReadonlyMap<number, ExitCode> = new Map<number, ExitCode>([
  [401, EXIT.auth],
  [997, EXIT.auth],
  [409, EXIT.conflict],
  [412, EXIT.conflict],
  [423, EXIT.busy],
]);

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

interface Envelope {
  readonly ocs: {
    readonly meta: { readonly statuscode: number; readonly message: string | null };
    readonly data: unknown;
  };
}

export interface OcsPlace {
  readonly account: Account;
  /** From the root of the account's files, `/` in front. */
  readonly path: string;
  readonly inDrive: PlaceInDrive;
}

/** Which file of which account a path in a mounted drive is. */
export async function ocsPlace(context: Context, path: string): Promise<OcsPlace> {
  const place = await placeInDrive(context.dirs, path);
  const { account: name, url, mountPoint } = place.mount;
  const account = (await context.accounts.list()).find((one) => one.name === name);
  if (account === undefined) {
    throw new CommandError(
      EXIT.auth,
      `${printable(mountPoint)} was mounted by its address, so no password is kept that could be used to share. ` +
        `Log in with: cloudmount login ${printable(url)} --user …, unmount it and mount it again.`,
    );
  }
  const inAccount = `${subfolderOf(place.mount.url)}/${place.path}`.replace(/\/$/, '') || '/';
  return { account, path: inAccount, inDrive: place };
}

/** The named account, or the only one there is. */
export async function ocsAccount(context: Context, name: string | undefined): Promise<Account> {
  const accounts = await context.accounts.list();
  if (name !== undefined) {
    const found = accounts.find((account) => account.name === name);
    if (found === undefined) throw new CommandError(EXIT.notRunning, `There is no account ${printable(name)}.`);
    return found;
  }
  const [only] = accounts;
  if (only === undefined)
    throw new CommandError(EXIT.notRunning, 'You are logged in to no server: cloudmount login URL');
  if (accounts.length > 1) {
    const names = accounts.map((account) => printable(account.name)).join(', ');
    throw new CommandError(EXIT.usage, `Say which account is meant with --account: ${names}.`);
  }
  return only;
}

/** Where the server itself is: without the part of the address that leads to the files. */
export function serverOf(url: string): string {
  const { origin, pathname } = new URL(url);
  const cut = pathname.search(/\/(?:remote\.php|index\.php|public\.php|dav|webdav)(?:\/|$)/);
  return origin + (cut < 0 ? pathname : pathname.slice(0, cut)).replace(/\/+$/, '');
}

/** `…/dav/files/USER/Some/Folder` -> `/Some/Folder`: a drive may show a part of the files only. */
export function subfolderOf(url: string): string {
  const { pathname } = new URL(url);
  const rest = /\/dav\/files\/[^/]+(\/.*)?$/.exec(pathname)?.[1] ?? /\/webdav(\/.*)?$/.exec(pathname)?.[1] ?? '';
  return decodeURIComponent(rest).replace(/\/+$/, '');
}

export class OcsClient {
  readonly #server: string;
  readonly #authorization: string;
  readonly #agent: Agent;

  private constructor(server: string, authorization: string, agent: Agent) {
    this.#server = server;
    this.#authorization = authorization;
    this.#agent = agent;
  }

  static async open(context: Context, account: Account): Promise<OcsClient> {
    const secret = await context.credentials.get(account);
    const tls = await readTlsFiles(account.tls);
    return new OcsClient(
      serverOf(account.url),
      `Basic ${Buffer.from(`${account.user}:${secret}`).toString('base64')}`,
      new Agent({
        connect: { ...tls, timeout: CONNECT_TIMEOUT_MS },
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
      }),
    );
  }

  /** `data` of the answer. Rejects with what the server says is wrong. */
  async call(method: string, path: string, params: Readonly<Record<string, string>> = {}): Promise<unknown> {
    return this.#dataOf(await this.#send(method, path, params));
  }

  /** The next entries of the activity, newest first, and where those after them begin (`since`). None: that was the end. */
  async activity(
    params: Readonly<Record<string, string>>,
  ): Promise<{ readonly items: unknown; readonly since: string }> {
    // Nextcloud filters by file only where the path says so, ours in both places.
    const filter = 'object_id' in params ? '/filter' : '';
    const answer = await this.#send('GET', `activity/api/v2/activity${filter}`, params);
    const isNone = answer.status === 204 || answer.status === 304; // without an envelope
    const items = isNone ? [] : this.#dataOf(answer);
    return { items, since: String(answer.headers['x-activity-last-given'] ?? '') };
  }

  #dataOf(answer: Answer): unknown {
    if (codeOfStatus(answer.status) === 'busy_server') {
      throw new CloudError(
        'busy_server',
        `asking ${this.#server}: it is in maintenance or overloaded (${answer.status}); ask again later`,
      );
    }
    const { meta, data } = parse(answer.text, answer.status).ocs;
    if (meta.statuscode !== 200 && meta.statuscode !== 100) {
      const message = meta.message ?? `The server refuses this (${meta.statuscode}).`;
      throw new CommandError(EXIT_OF_STATUS.get(meta.statuscode) ?? EXIT.failed, printable(message));
    }
    return data;
  }

  async #send(method: string, path: string, params: Readonly<Record<string, string>>): Promise<Answer> {
    try {
      return await this.#exchange(method, path, params);
    } catch (error) {
      if (error instanceof CommandError) throw error;
      throw transportError(error, `asking ${this.#server}`);
    }
  }

  async #exchange(method: string, path: string, params: Readonly<Record<string, string>>): Promise<Answer> {
    const isRead = method === 'GET';
    const query = new URLSearchParams({ format: 'json', ...(isRead ? params : {}) });
    const answer = await request(`${this.#server}/ocs/v2.php/apps/${path}?${query}`, {
      method: method as 'GET',
      headers: {
        authorization: this.#authorization,
        accept: 'application/json',
        'user-agent': userAgent(),
        'ocs-apirequest': 'true',
        ...(isRead ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      body: isRead ? null : new URLSearchParams(params).toString(),
      dispatcher: this.#agent,
    });
    const chunks: Buffer[] = [];
    let size_bytes = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size_bytes += chunk.length;
      if (size_bytes > ANSWER_MAX_BYTES) throw new CommandError(EXIT.failed, 'The server’s answer is too long.');
      chunks.push(chunk);
    }
    return { status: answer.statusCode, headers: answer.headers, text: Buffer.concat(chunks).toString('utf8') };
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}

function parse(text: string, status: number): Envelope {
  try {
    const value = JSON.parse(text) as Envelope;
    if (typeof value.ocs.meta.statuscode === 'number') return value;
  } catch {
    // Told below.
  }
  const why = status === 404 ? 'it has no sharing API' : `it answered ${status} with something else`;
  throw new CommandError(EXIT.failed, `The server does not speak Open Collaboration Services: ${why}.`);
}

/** `use` with a connection to the account's server that is closed afterwards. */
export async function withOcs<T>(
  context: Context,
  account: Account,
  use: (client: OcsClient) => Promise<T>,
): Promise<T> {
  const client = await OcsClient.open(context, account);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}
