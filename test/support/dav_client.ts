// A plain WebDAV client for tests: what a person with curl would see on the server, beside the drive.

import { Agent, request } from 'undici';

export interface DavLogin {
  /** The collection that is the account's root, with a slash at the end. */
  readonly root: string;
  readonly user: string;
  readonly password: string;
}

export interface DavAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export class DavClient {
  readonly #login: DavLogin;
  readonly #agent = new Agent({ connections: 16, headersTimeout: 60_000, bodyTimeout: 60_000 });

  constructor(login: DavLogin) {
    this.#login = login;
  }

  /** `path` is relative to the account's root, not encoded. */
  async send(
    method: string,
    path: string,
    options: { readonly headers?: Record<string, string>; readonly body?: string | Buffer } = {},
  ): Promise<DavAnswer> {
    const { root, user, password } = this.#login;
    const answer = await request(root + encodePath(path), {
      // Undici's own list of methods stops short of WebDAV; the wire does not.
      method: method as 'GET',
      headers: {
        authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
        ...options.headers,
      },
      body: options.body ?? null,
      dispatcher: this.#agent,
    });
    const body = Buffer.from(await answer.body.arrayBuffer());
    return { status: answer.statusCode, headers: answer.headers, body };
  }

  async get(path: string): Promise<Buffer> {
    return this.#expect('GET', path, await this.send('GET', path)).body;
  }

  async text(path: string): Promise<string> {
    return (await this.get(path)).toString('utf8');
  }

  async put(path: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<DavAnswer> {
    return this.#expect('PUT', path, await this.send('PUT', path, { body, headers }));
  }

  async mkcol(path: string): Promise<void> {
    this.#expect('MKCOL', path, await this.send('MKCOL', path));
  }

  async remove(path: string): Promise<void> {
    this.#expect('DELETE', path, await this.send('DELETE', path));
  }

  async move(from: string, to: string): Promise<void> {
    const destination = this.#login.root + encodePath(to);
    this.#expect('MOVE', from, await this.send('MOVE', from, { headers: { destination, overwrite: 'F' } }));
  }

  async exists(path: string): Promise<boolean> {
    const { status } = await this.send('HEAD', path);
    if (status !== 404 && status >= 400) throw new Error(`HEAD ${path}: ${status}`);
    return status < 400;
  }

  async etag(path: string): Promise<string> {
    const { headers } = this.#expect('HEAD', path, await this.send('HEAD', path));
    return String(headers['etag'] ?? '');
  }

  /** Names in a collection, sorted; decoded from their hrefs. */
  async list(path = ''): Promise<string[]> {
    const answer = this.#expect(
      'PROPFIND',
      path,
      await this.send('PROPFIND', path === '' || path.endsWith('/') ? path : `${path}/`, { headers: { depth: '1' } }),
    );
    const hrefs = [...answer.body.toString('utf8').matchAll(/<(?:\w+:)?href[^>]*>([^<]*)</gi)].map(([, href = '']) =>
      decodeURIComponent(new URL(href.replaceAll('&amp;', '&').trim(), this.#login.root).pathname).replace(/\/$/, ''),
    );
    const own = decodeURIComponent(new URL(this.#login.root + encodePath(path)).pathname).replace(/\/$/, '');
    return [...new Set(hrefs.filter((href) => href.startsWith(`${own}/`)).map((href) => href.slice(own.length + 1)))]
      .filter((name) => !name.includes('/'))
      .sort();
  }

  /** Every file below a collection: path -> content; what goes meanwhile is left out. For small trees. */
  async files(path = ''): Promise<Map<string, Buffer>> {
    const out = new Map<string, Buffer>();
    for (const name of await this.list(path)) {
      const full = path === '' ? name : `${path}/${name}`;
      const { status, body } = await this.send('PROPFIND', full, { headers: { depth: '0' } });
      if (status === 404) continue;
      const isDir = /<(?:\w+:)?collection\b[^>]*>/i.test(body.toString('utf8'));
      if (isDir) for (const [below, content] of await this.files(full)) out.set(below, content);
      else {
        const answer = await this.send('GET', full);
        if (answer.status !== 404) out.set(full, this.#expect('GET', full, answer).body);
      }
    }
    return out;
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }

  #expect(method: string, path: string, answer: DavAnswer): DavAnswer {
    if (answer.status >= 400) {
      throw new Error(`${method} ${path}: ${answer.status} ${answer.body.toString('utf8').slice(0, 500)}`);
    }
    return answer;
  }
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
