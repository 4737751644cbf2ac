// Remembers in a shadow folder what has been synced: the content of every content file as of its last fdatasync or fsync,
// the names in every folder as of its last fsync, and how long the WAL was. Must be imported before everything else.

import fs, { mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join, relative } from 'node:path';

interface Paths {
  readonly dir: string;
  readonly shadow: string | null;
}

const { dir, shadow } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Paths;

type Done = (error: NodeJS.ErrnoException | null) => void;

if (shadow !== null) {
  let writes = 0;
  const keep = (name: string, bytes: Buffer | string) => {
    const path = join(shadow, name);
    writes += 1;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.${writes}.new`, bytes);
    renameSync(`${path}.${writes}.new`, path);
  };
  /** What to keep when the sync that begins now has ended well. */
  const capture = (fd: number): (() => void) => {
    const path = readlinkSync(`/proc/self/fd/${fd}`);
    const name = relative(dir, path);
    if (name.startsWith('..')) return () => undefined;
    if (name === 'metadata.db-wal') {
      const wal = readFileSync(path);
      return () => keep('wal.json', JSON.stringify({ size: wal.length, salt: wal.subarray(16, 24).toString('hex') }));
    }
    if (!/^content\/[0-9a-f]{2}\/\d+\.\d+$/.test(name)) return () => undefined;
    const bytes = readFileSync(`/proc/self/fd/${fd}`);
    return () => keep(join('data', name), bytes);
  };
  for (const call of ['fdatasync', 'fsync'] as const) {
    const original = fs[call];
    const wrapped = (fd: number, done: Done) => {
      const kept = capture(fd);
      original(fd, (error) => {
        if (error === null) kept();
        done(error);
      });
    };
    Object.assign(fs, { [call]: wrapped });
  }
  const probe = await fs.promises.open('/', 'r');
  const proto = Object.getPrototypeOf(probe) as { sync(this: { readonly fd: number }): Promise<void> };
  await probe.close();
  const { sync } = proto;
  proto.sync = async function (this: { readonly fd: number }) {
    const path = readlinkSync(`/proc/self/fd/${this.fd}`);
    const folder = relative(dir, path);
    const names = folder.startsWith('content/') ? readdirSync(path) : [];
    await sync.call(this);
    for (const name of names) keep(join('names', folder, name), '');
  };
  syncBuiltinESMExports();
}
