// A server that is out of reach, on purpose: for looking into the cache of a drive that is not mounted without anything
// being fetched, sent or applied.

import { CloudError } from '../errors.js';
import type { Remote, RemoteCapabilities } from '../remote/remote.js';

export function unreachableRemote(displayUrl: string, capabilities: RemoteCapabilities): Remote {
  const refuse = async (): Promise<never> => {
    throw new CloudError('offline', `${displayUrl} is left alone`);
  };
  return {
    displayUrl,
    capabilities,
    connect: refuse,
    ping: refuse,
    stat: refuse,
    list: () => ({ [Symbol.asyncIterator]: () => ({ next: refuse }) }),
    read: refuse,
    put: refuse,
    mkdir: refuse,
    symlink: refuse,
    move: refuse,
    remove: refuse,
    setMeta: refuse,
    lock: refuse,
    refreshLock: refuse,
    unlock: refuse,
    quota: refuse,
    changes: refuse,
    watch: () => undefined,
    close: async () => undefined,
  };
}
