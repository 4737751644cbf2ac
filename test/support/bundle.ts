// Child programs of tests are TypeScript too: bundled once per test run into one file that node can start. Packages stay
// outside; the file lies below node_modules, where they are found.

import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Path of the runnable form of `entry` (a path below the repository). */
export async function bundle(entry: string): Promise<string> {
  const name = basename(entry, '.ts');
  const outDir = join(root, 'node_modules/.cache/cloudmount-tests', `${name}-${process.pid}`);
  await mkdir(outDir, { recursive: true });
  await build({
    configFile: false,
    root,
    logLevel: 'error',
    build: {
      ssr: join(root, entry),
      outDir,
      emptyOutDir: true,
      target: 'node20',
      minify: false,
      rollupOptions: { output: { entryFileNames: `${name}.mjs`, format: 'es' } },
    },
  });
  return join(outDir, `${name}.mjs`);
}
