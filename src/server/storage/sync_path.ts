import { open } from 'node:fs/promises';

/** The names in a folder, or the content of a file, are on the disk then. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
