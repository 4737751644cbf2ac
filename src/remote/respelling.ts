// Renaming on servers that mind no case, or not how accents are composed (Windows, macOS, many a NAS). To them the new name
// is taken: by what is to be renamed. Told to overwrite, some remove the target first, which is the source. So it goes by
// a third name.

import { randomBytes } from 'node:crypto';
import { joinPath, type RemotePath, splitPath } from '../ids.js';
import { folded, labelled } from '../names.js';
import { type Dav, show } from './dav.js';
import { lookAt } from './guard.js';
import { list } from './listing.js';
import type { CallOptions } from './remote.js';
import { retry } from './retry.js';

/** Are both names of one thing to the server? Asked only where they are alike. */
export async function isRespelling(dav: Dav, from: RemotePath, to: RemotePath, options: CallOptions): Promise<boolean> {
  const { parent } = splitPath(to);
  if (dav.info.dialect === 'cloudmount' || splitPath(from).parent !== parent || folded(from) !== folded(to))
    return false;
  if ((await lookAt(dav, to, options)) === null || (await lookAt(dav, from, options)) === null) return false;
  let alike = 0;
  for await (const batch of list(dav, parent, options)) {
    alike += batch.filter(({ path }) => path !== parent && folded(path) === folded(to)).length;
  }
  return alike === 1;
}

/** Moves `from` to `to`, another spelling of it. `send` moves what is at the one to the other, which is free. */
export async function respell(
  dav: Dav,
  from: RemotePath,
  to: RemotePath,
  send: (from: RemotePath, to: RemotePath) => Promise<void>,
  options: CallOptions,
): Promise<void> {
  const { parent, name } = splitPath(to);
  const aside = joinPath(parent, labelled(name, ` (renamed ${randomBytes(4).toString('hex')})`));
  try {
    await retry(async () => {
      // There already: the answer was lost.
      if ((await lookAt(dav, aside, options)) === null) await send(from, aside);
      await send(aside, to);
    }, dav.retrying(options));
  } catch (error) {
    await putBack().catch((failure: unknown) => {
      dav.log.warn(
        { path: from, now: aside, error: String(failure) },
        `${show(from)} could not be given its name back`,
      );
    });
    throw error;
  }

  async function putBack(): Promise<void> {
    if ((await lookAt(dav, aside, {})) !== null) await send(aside, from);
  }
}
