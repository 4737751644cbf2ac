// Real servers for the contract: "another client" is a plain HTTP client that shares no code with ours.

import { setTimeout } from 'node:timers/promises';
import type { RemotePath } from '../../src/ids.js';
import { encodePath } from '../../src/names.js';
import { createRemote } from '../../src/remote/connect.js';
import type { OpenHarness } from './remote_contract.js';

export interface DavServer {
  /** Address given to `createRemote`. */
  readonly url: string;
  /** Root of the tree, slash at the end. */
  readonly root: string;
  readonly user: string;
  readonly password: string;
  /**
   * Milliseconds in which two writes of the same size can get the same ETag, where the tag is made of size and time:
   * the kernel's clock for files ticks every 1 to 10 ms.
   */
  readonly tagTick?: number;
  stop(): Promise<void>;
}

export function openDav(server: DavServer): OpenHarness {
  const auth = { user: server.user, password: server.password };
  const authorization = `Basic ${Buffer.from(`${server.user}:${server.password}`).toString('base64')}`;
  const call = async (method: string, path: string, body?: string) =>
    await fetch(server.root + encodePath(path as RemotePath), {
      method,
      headers: { authorization },
      ...(body === undefined ? {} : { body }),
    });
  const remote = createRemote({ url: server.url, auth, lockOwner: 'the first' });
  const second = createRemote({ url: server.url, auth, lockOwner: 'the second' });
  return {
    remote,
    second,
    async write(path, content) {
      if (server.tagTick !== undefined) await setTimeout(server.tagTick);
      const response = await call('PUT', path, content);
      if (!response.ok) throw new Error(`PUT ${path}: ${response.status} ${await response.text()}`);
    },
    async content(path) {
      const response = await call('GET', path);
      const text = await response.text();
      if (response.status === 404) return null;
      if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${text}`);
      return text;
    },
    async remove(path) {
      const response = await call('DELETE', path);
      if (!response.ok) throw new Error(`DELETE ${path}: ${response.status}`);
    },
    async close() {
      await remote.close();
      await second.close();
      await server.stop();
    },
  };
}
