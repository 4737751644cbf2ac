import { expect, it } from 'vitest';
import { eventually } from '../support/processes.js';
import { ALL_SERVERS, errno, onServers } from '../support/world.js';

/** A byte of a name as the test writes it: what is no UTF-8 alone is a lone surrogate (PEP 383). */
function nameOfByte(byte: number): string {
  return byte < 0x80 ? String.fromCharCode(byte) : String.fromCharCode(0xdc00 + byte);
}

const ODD_NAMES: readonly string[] = [
  ' leading and trailing ',
  'per%cent %20 %2F %zz',
  'hash#fragment',
  'question?mark=1',
  'amper&sand;&amp;',
  `quotes "double" 'single' \`back\``,
  'angle <b>tags<b> ]]> &lt;',
  'new\nline and\ttab\rreturn',
  'back\\slash',
  'colon:semi;comma,',
  'plus+equals=at@tilde~',
  '*star*[bracket]{brace}|pipe',
  'dollar$ caret^ bang!',
  'é precomposed'.normalize('NFC'),
  'é decomposed'.normalize('NFD'),
  'emoji 👩‍👩‍👧‍👦🏳️‍🌈 and astral 𝕏',
  'ünïcödé 漢字 العربية עברית',
  '\u200bzero width\ufeff',
  '...',
  '..dots..',
  '-dash',
  '~home',
  'CON',
  'trailing.',
  'x'.repeat(255),
  'ü'.repeat(127),
  '€'.repeat(85),
];

onServers(['cloudmount'], {}, (world) => {
  it('names: every byte except / and NUL round-trips through mount, server and a second mount', async () => {
    const dir = await world.folder();
    const names: string[] = [];
    for (let byte = 1; byte < 256; byte++) {
      if (byte !== 0x2f) names.push(`b${nameOfByte(byte)}e`, `${nameOfByte(byte)}x`);
    }
    names.push(...ODD_NAMES, `${nameOfByte(0xff)}${nameOfByte(0xfe)}`, `ü${nameOfByte(0xc3)}`);
    const answers = await world.fs.batch(
      names.map((name, i) => ({
        op: 'write_file',
        path: `${dir}/${name}`,
        data: Buffer.from(String(i)).toString('base64'),
      })),
    );
    expect(answers.filter((answer) => 'errno' in answer)).toEqual([]);
    const sorted = (list: readonly string[]) => [...list].sort();
    expect(sorted(await world.fs.list(dir))).toEqual(sorted(names));
    await world.drive.flush();
    const second = await world.stage.mount(world.server);
    const there = second.path(world.remote(dir));
    expect(sorted(await world.fs.list(there))).toEqual(sorted(names));
    const contents = await world.fs.batch(names.map((name) => ({ op: 'read_file', path: `${there}/${name}` })));
    expect(contents).toEqual(names.map((_, i) => ({ ok: Buffer.from(String(i)).toString('base64') })));
    await second.unmount();
  });
});

onServers(ALL_SERVERS, {}, (world) => {
  it('names with reserved and foreign characters: made, renamed, listed and removed', async () => {
    const dir = await world.folder();
    // `rclone serve` shows control characters as pictures of them, whoever made the name.
    const names = world.kind === 'rclone' ? ODD_NAMES.filter((name) => !/[\n\t\r]/.test(name)) : ODD_NAMES;
    for (const [i, name] of names.entries()) {
      const answer = await world.fs.ask({
        op: 'write_file',
        path: `${dir}/${name}`,
        data: Buffer.from(`content ${i}`).toString('base64'),
      });
      // What a server cannot hold is refused at creation, never mangled: ours and Apache hold them all.
      expect(answer).toEqual({ ok: null });
    }
    await world.drive.flush();
    expect(new Set(await world.server.dav.list(world.remote(dir)))).toEqual(new Set(names));
    for (const [i, name] of names.entries()) {
      expect(await world.server.dav.text(`${world.remote(dir)}/${name}`)).toBe(`content ${i}`);
    }
    await world.fs.mkdir(`${dir}/sub & folder`);
    for (const name of names) await world.fs.rename(`${dir}/${name}`, `${dir}/sub & folder/${name}`);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual(['sub & folder']);
    expect(new Set(await world.server.dav.list(`${world.remote(dir)}/sub & folder`))).toEqual(new Set(names));
    await world.drive.must('rm', ['-r', `${dir}/sub & folder`]);
    await world.drive.flush();
    expect(await world.server.dav.list(world.remote(dir))).toEqual([]);
  });

  it('a name of 256 bytes is ENAMETOOLONG everywhere', async () => {
    const dir = await world.folder();
    const long = 'n'.repeat(256);
    await world.fs.writeFile(`${dir}/file`, '');
    await expect(world.fs.stat(`${dir}/${long}`)).rejects.toMatchObject(errno('ENAMETOOLONG'));
    await expect(world.fs.mkdir(`${dir}/${long}`)).rejects.toMatchObject(errno('ENAMETOOLONG'));
    await expect(world.fs.writeFile(`${dir}/${long}`, '')).rejects.toMatchObject(errno('ENAMETOOLONG'));
    await expect(world.fs.rename(`${dir}/file`, `${dir}/${long}`)).rejects.toMatchObject(errno('ENAMETOOLONG'));
  });

  it('names that differ only in case or in normal form are different files', async () => {
    const dir = await world.folder();
    const names = ['readme', 'README', 'é'.normalize('NFC'), 'é'.normalize('NFD')];
    for (const name of names) await world.fs.writeFile(`${dir}/${name}`, name);
    await world.drive.flush();
    for (const name of names) expect(await world.server.dav.text(`${world.remote(dir)}/${name}`)).toBe(name);
    expect((await world.fs.list(dir)).sort()).toEqual([...names].sort());
  });

  it('a name made by another client appears as it is', async () => {
    const dir = await world.folder();
    await world.drive.flush();
    await world.server.dav.put(`${world.remote(dir)}/von außen & "so" 100%.txt`, 'x');
    await eventually('the name to appear', async () =>
      (await world.fs.list(dir)).includes('von außen & "so" 100%.txt'),
    );
  });
});
