import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { ALL_SERVERS, onServers } from '../support/world.js';

onServers(ALL_SERVERS, {}, (world) => {
  it('what was written is read back at once and is on the server after a flush', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/note.txt`, 'first');
    expect(await world.fs.readText(`${dir}/note.txt`)).toBe('first');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/note.txt`)).toBe('first');
    await world.fs.writeFile(`${dir}/note.txt`, 'second, and longer');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/note.txt`)).toBe('second, and longer');
  });

  it('writes of one descriptor are seen through another at once', async () => {
    const dir = await world.folder();
    const writer = await world.fs.open(`${dir}/shared`, 'O_RDWR|O_CREAT');
    const other = world.stage.fs();
    const reader = await other.open(`${dir}/shared`, 'O_RDONLY');
    await world.fs.pwrite(writer, 'hello', 0);
    expect((await other.pread(reader, 100, 0)).toString()).toBe('hello');
    await world.fs.pwrite(writer, 'J', 0);
    expect((await other.pread(reader, 100, 0)).toString()).toBe('Jello');
    expect((await other.fstat(reader)).size).toBe(5);
    await world.fs.close(writer);
    await other.end();
  });

  it('a file rewritten while somebody reads it has its new size and content, here and on the server', async () => {
    const dir = await world.folder();
    for (const again of ['O_WRONLY|O_TRUNC', 'O_WRONLY|O_CREAT|O_TRUNC', 'O_RDWR', 'O_WRONLY|O_APPEND']) {
      const path = `${dir}/${again.replaceAll('|', '-')}`;
      await world.fs.writeFile(path, 'thirteen here');
      const reader = await world.fs.open(path);
      expect((await world.fs.pread(reader, 100, 0)).toString()).toBe('thirteen here');
      const writer = await world.fs.open(path, again);
      await world.fs.write(writer, 'a text that is longer than what was there before');
      await world.fs.close(writer);
      const expected = `${again.endsWith('APPEND') ? 'thirteen here' : ''}a text that is longer than what was there before`;
      expect((await world.fs.fstat(reader)).size).toBe(expected.length);
      expect((await world.fs.stat(path)).size).toBe(expected.length);
      expect((await world.fs.pread(reader, 100, 0)).toString()).toBe(expected);
      await world.fs.close(reader);
      await world.drive.flush();
      expect(await world.server.dav.text(world.remote(path))).toBe(expected);
    }
  });

  it('overwriting the middle of a file that is only on the server keeps the rest of it', async () => {
    const dir = await world.folder();
    await world.drive.flush();
    const content = Buffer.alloc(1_000_000, 'abcdefghij');
    await world.server.dav.put(`${world.remote(dir)}/doc`, content);
    await eventually('the file to appear', () => world.fs.exists(`${dir}/doc`));
    const fd = await world.fs.open(`${dir}/doc`, 'O_WRONLY');
    await world.fs.pwrite(fd, 'MIDDLE', 500_003);
    await world.fs.close(fd);
    content.write('MIDDLE', 500_003);
    expect((await world.fs.readFile(`${dir}/doc`)).equals(content)).toBe(true);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/doc`)).equals(content)).toBe(true);
  });

  it('many writes of odd sizes at odd places arrive as one correct file', async () => {
    const dir = await world.folder();
    const model = Buffer.alloc(400_000);
    const fd = await world.fs.open(`${dir}/odd`, 'O_RDWR|O_CREAT');
    let size = 0;
    let random = 12345;
    for (let i = 0; i < 120; i++) {
      random = (random * 1103515245 + 12345) & 0x7fffffff;
      const offset = random % 390_000;
      const data = Buffer.alloc(1 + (random % 9973), i + 1);
      await world.fs.pwrite(fd, data, offset);
      data.copy(model, offset);
      size = Math.max(size, Math.min(offset + data.length, 400_000));
      if (offset + data.length > 400_000) await world.fs.ftruncate(fd, 400_000);
    }
    await world.fs.close(fd);
    const expected = model.subarray(0, size);
    expect((await world.fs.readFile(`${dir}/odd`)).equals(expected)).toBe(true);
    await world.drive.flush();
    expect((await world.server.dav.get(`${world.remote(dir)}/odd`)).equals(expected)).toBe(true);
  });

  it('close after close of a duplicate, and fsync in between, give no error and lose nothing', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/file`, 'O_WRONLY|O_CREAT');
    const twin = await world.fs.call<number>({ op: 'dup', fd });
    await world.fs.write(fd, 'one ');
    await world.fs.close(fd);
    await world.fs.write(twin, 'two');
    await world.fs.fsync(twin);
    await world.fs.call({ op: 'fdatasync', fd: twin });
    await world.fs.close(twin);
    expect(await world.fs.readText(`${dir}/file`)).toBe('one two');
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/file`)).toBe('one two');
  });

  it('an empty file and an empty folder arrive on the server', async () => {
    const dir = await world.folder();
    await world.fs.writeFile(`${dir}/empty`, '');
    await world.fs.mkdir(`${dir}/folder`);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['empty', 'folder']);
    expect(await world.server.dav.get(`${world.remote(dir)}/empty`)).toHaveLength(0);
  });

  it('a file that is being written is uploaded as what it is when it is closed', async () => {
    const dir = await world.folder();
    const fd = await world.fs.open(`${dir}/log`, 'O_WRONLY|O_CREAT');
    for (let i = 0; i < 5; i++) await world.fs.write(fd, `line ${i}\n`);
    await world.fs.close(fd);
    await world.drive.flush();
    expect(await world.server.dav.text(`${world.remote(dir)}/log`)).toBe('line 0\nline 1\nline 2\nline 3\nline 4\n');
  });
});
