// Making a folder that a user named.

import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes `path` and what is missing above it; nothing if it is there. Rejects with the error of mkdir(2). Node's own recursive
 * way tries for ever, a processor at work, where the kernel refuses a name with ENOENT (below /proc). */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  const make = async () => {
    await mkdir(path, { mode }).catch(async (error: unknown) => {
      const found = await stat(path).catch(() => null);
      if (found?.isDirectory() !== true) throw error;
    });
  };
  try {
    await make();
  } catch (error) {
    const above = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || above === path) throw error;
    await makeFolder(above, mode);
    await make();
  }
}
