import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { must } from '../support/processes.js';
import { onServers } from '../support/world.js';

const GIT_ENV = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Test',
  GIT_AUTHOR_EMAIL: 'test@example.org',
  GIT_COMMITTER_NAME: 'Test',
  GIT_COMMITTER_EMAIL: 'test@example.org',
};

/** A small tree with sub-folders, odd names, an executable and old times, outside the drive. */
async function sampleTree(dir: string): Promise<void> {
  await mkdir(join(dir, 'src/deep/er'), { recursive: true });
  for (let i = 0; i < 60; i++) await writeFile(join(dir, 'src', `file ${i}.txt`), `content ${i}\n`.repeat(i + 1));
  await writeFile(join(dir, 'src/deep/er/ü & co.bin'), Buffer.alloc(150_000, 'bin'));
  await writeFile(join(dir, 'run.sh'), '#!/bin/sh\necho run\n', { mode: 0o755 });
  await must('find', [dir, '-exec', 'touch', '-d', '2020-02-03 04:05:06.123456789', '{}', '+']);
}

onServers(['cloudmount', 'apache'], {}, (world) => {
  it('git: init, commit, clone, branch, gc, fsck and status are correct', async () => {
    const dir = await world.folder();
    const git = (args: string[], cwd = dir) => world.drive.must('git', args, { cwd, env: GIT_ENV });
    const origin = world.stage.folder('origin');
    await sampleTree(origin);
    await must('git', ['init', '-q', '-b', 'main'], { cwd: origin, env: GIT_ENV });
    await must('git', ['add', '.'], { cwd: origin, env: GIT_ENV });
    await must('git', ['commit', '-qm', 'first'], { cwd: origin, env: GIT_ENV });
    await git(['clone', '-q', origin, 'clone']);
    const clone = `${dir}/clone`;
    expect(await git(['status', '--porcelain'], clone)).toBe('');
    for (let i = 0; i < 10; i++) {
      await world.fs.writeFile(`${clone}/note`, `version ${i}\n`);
      await git(['add', 'note'], clone);
      await git(['commit', '-qm', `note ${i}`], clone);
    }
    await git(['checkout', '-q', '-b', 'side', 'HEAD~5'], clone);
    expect(await world.fs.readText(`${clone}/note`)).toBe('version 4\n');
    await git(['checkout', '-q', 'main'], clone);
    await git(['gc', '-q'], clone);
    await git(['fsck', '--full', '--strict'], clone);
    expect((await git(['log', '--oneline'], clone)).trim().split('\n')).toHaveLength(11);
    await world.drive.flush();
    expect(await git(['diff', 'HEAD', '--stat'], clone)).toBe('');
    await world.drive.remount({ emptyCache: true });
    // Plain WebDAV stores no modes: an empty cache knows nothing of them, as on another machine.
    if (world.kind !== 'cloudmount') await git(['config', 'core.fileMode', 'false'], clone);
    await git(['fsck', '--full'], clone);
    expect((await git(['log', '--oneline'], clone)).trim().split('\n')).toHaveLength(11);
    expect(await git(['diff', 'HEAD', '--stat'], clone)).toBe('');
  });

  it('tar writes a tree into the drive and reads it back unchanged, times included', async () => {
    const dir = await world.folder();
    const tree = world.stage.folder('tree');
    await sampleTree(tree);
    const archive = join(world.stage.folder('tar'), 'a.tar');
    await must('tar', ['-cf', archive, '-C', tree, '.']);
    await world.drive.must('tar', ['-xf', archive, '-C', dir]);
    await must('tar', [
      '--compare',
      '-f',
      archive,
      '-C',
      dir,
      ...(world.kind === 'cloudmount' ? [] : ['--no-same-owner']),
    ]);
    await world.drive.must('sh', ['-c', 'tar -cf - . | tar -tf - | wc -l'], { cwd: dir });
    await world.drive.flush();
    await must('tar', ['--compare', '-f', archive, '-C', dir]);
  });

  it('rsync -a: a second run transfers nothing, also after the upload', async () => {
    const dir = await world.folder();
    const tree = world.stage.folder('tree');
    await sampleTree(tree);
    const rsync = () => must('rsync', ['-a', '--itemize-changes', `${tree}/`, `${dir}/`]);
    expect(await rsync()).toContain('run.sh');
    expect(await rsync()).toBe('');
    await world.drive.flush();
    expect(await rsync()).toBe('');
    await writeFile(join(tree, 'run.sh'), '#!/bin/sh\necho other\n');
    expect(
      (await rsync())
        .trim()
        .split('\n')
        .filter((line) => line.startsWith('>f')),
    ).toHaveLength(1);
    await must('diff', ['-r', tree, dir]);
  });

  it('cp -a and find -newer go by the times they find', async () => {
    const dir = await world.folder();
    const tree = world.stage.folder('tree');
    await sampleTree(tree);
    await must('cp', ['-a', tree, `${dir}/copy`]);
    await must('diff', ['-r', tree, `${dir}/copy`]);
    await world.drive.must('cp', ['-a', 'copy', 'again'], { cwd: dir });
    await world.fs.writeFile(`${dir}/again/fresh`, 'new');
    const newer = await world.drive.must('find', ['again', '-type', 'f', '-newer', 'copy/run.sh'], { cwd: dir });
    expect(newer.trim()).toBe('again/fresh');
    const same = await world.drive.must(
      'find',
      ['again', '-newermt', '2020-02-03 04:05:05', '!', '-newermt', '2020-02-03 04:05:07', '-type', 'f'],
      { cwd: dir },
    );
    expect(same.trim().split('\n').length).toBeGreaterThan(60);
  });

  it('sqlite3 with a rollback journal and with WAL: several writers, integrity, and the same database on the server', async () => {
    const dir = await world.folder();
    for (const mode of ['delete', 'wal']) {
      const path = `${dir}/${mode}.db`;
      const sql = (text: string) => world.drive.must('sqlite3', ['-cmd', '.timeout 20000', path, text]);
      await sql(`PRAGMA journal_mode=${mode}; CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, x INTEGER);`);
      const writer = (who: string) =>
        world.drive.must('sh', [
          '-c',
          `for i in $(seq 15); do sqlite3 -cmd '.timeout 20000' "$0" "BEGIN IMMEDIATE; INSERT INTO t (who, x) VALUES ('${who}', $i); COMMIT;" || exit 1; done`,
          path,
        ]);
      await Promise.all([writer('a'), writer('b'), writer('c')]);
      expect((await sql('SELECT count(*), count(DISTINCT who) FROM t; PRAGMA integrity_check;')).trim()).toBe(
        '45|3\nok',
      );
      await sql('PRAGMA wal_checkpoint(TRUNCATE);');
      await world.drive.flush();
      const copy = join(world.stage.folder('db'), 'copy.db');
      await writeFile(copy, await world.server.dav.get(`${world.remote(dir)}/${mode}.db`));
      expect((await must('sqlite3', [copy, 'SELECT count(*) FROM t; PRAGMA integrity_check;'])).trim()).toBe('45\nok');
    }
  });

  it('a C project is configured, built, run, touched and rebuilt by make', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(
      `${dir}/main.c`,
      '#include <stdio.h>\n#include "lib.h"\nint main(void) { printf("%d\\n", twice(21)); return 0; }\n',
    );
    await world.fs.writeFile(`${dir}/lib.c`, '#include "lib.h"\nint twice(int x) { return 2 * x; }\n');
    await world.fs.writeFile(`${dir}/lib.h`, 'int twice(int x);\n');
    await world.fs.writeFile(
      `${dir}/Makefile`,
      'prog: main.o lib.o\n\tgcc -o $@ $^\n%.o: %.c lib.h\n\tgcc -c -o $@ $<\n',
    );
    await world.drive.must('make', ['-j2'], { cwd: dir });
    expect(await world.drive.must('./prog', [], { cwd: dir })).toBe('42\n');
    await world.drive.flush();
    expect(await world.drive.must('make', [], { cwd: dir })).toContain('up to date');
    await world.fs.writeFile(`${dir}/lib.c`, '#include "lib.h"\nint twice(int x) { return x + x + 1; }\n');
    const rebuilt = await world.drive.must('make', [], { cwd: dir });
    expect(rebuilt).toContain('lib.o');
    expect(rebuilt).not.toContain('main.o main.c');
    expect(await world.drive.must('./prog', [], { cwd: dir })).toBe('43\n');
  });

  it('sed -i, vim and a temporary file renamed over the target are one new version of the target', async () => {
    const dir = await world.folder();
    const path = `${dir}/doc.txt`;
    await world.fs.writeFile(path, 'one\ntwo\nthree\n');
    await world.drive.flush();
    const fileid = () => world.fs.getxattr(path, 'user.cloudmount.fileid').then(String);
    const before = world.kind === 'cloudmount' ? await fileid() : null;
    await world.drive.must('sed', ['-i', 's/two/2/', path]);
    expect(await world.fs.readText(path)).toBe('one\n2\nthree\n');
    await world.drive.must('vim', ['-u', 'NONE', '-es', '-c', '%s/three/3/', '-c', 'wq', path]);
    expect(await world.fs.readText(path)).toBe('one\n2\n3\n');
    await world.drive.must('sh', ['-c', 'printf "atomic\\n" > "$0.tmp" && sync "$0.tmp" && mv "$0.tmp" "$0"', path]);
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/doc.txt`)).toBe('atomic\n');
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['doc.txt']);
    if (before !== null) expect(await fileid()).toBe(before);
  });

  it('python: mmap, shelve, zipfile and a temporary file', async () => {
    const dir = await world.folder();
    const program = `
import mmap, os, shelve, tempfile, zipfile
with open('data', 'wb') as f: f.write(b'x' * 100000)
with open('data', 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
    m[50000:50005] = b'hello'
    m.flush()
assert open('data', 'rb').read()[49999:50006] == b'xhellox'
with shelve.open('shelf') as s: s['key'] = list(range(1000))
with shelve.open('shelf') as s: assert s['key'][999] == 999
with zipfile.ZipFile('a.zip', 'w') as z: z.writestr('inner', 'text' * 1000)
assert zipfile.ZipFile('a.zip').read('inner') == b'text' * 1000
with tempfile.TemporaryFile(dir='.') as t:
    t.write(b'anonymous'); t.seek(0); assert t.read() == b'anonymous'
with tempfile.NamedTemporaryFile(dir='.') as t: assert os.path.exists(t.name)
print(sorted(os.listdir('.')))
`;
    const said = await world.drive.must('python3', ['-c', program], { cwd: dir });
    expect(said).toContain("'a.zip', 'data'");
  });

  it('files larger than one request copied in and out are the same', async () => {
    const dir = await world.folder();
    const source = join(world.stage.folder('big'), 'source');
    await must('sh', ['-c', 'head -c 40000000 /dev/urandom > "$0"', source]);
    await must('cp', [source, `${dir}/copy`]);
    await world.drive.flush();
    await world.drive.mustCli(['free', `${dir}/copy`]);
    await must('cmp', [source, `${dir}/copy`]);
  });
});
