import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLog, openLogFile } from '../../../src/daemon/log/logger.js';
import { redact, redactText } from '../../../src/daemon/log/redact.js';
import { RotatingFile } from '../../../src/daemon/log/rotating_file.js';
import { CloudError } from '../../../src/errors.js';

describe('redaction', () => {
  const secret = 'hunter2hunter2';

  it.each([
    ['a URL with a password', `https://anna:${secret}@cloud.example.org/x`],
    ['Basic credentials', `Authorization: Basic ${Buffer.from(`anna:${secret}`).toString('base64')}`],
    ['a bearer token', `bearer ${secret}`],
    ['an app token in a path', '/x/cmt_gPMInR_8IyWJLu0ImcM3PpzZfIKZ1NQVQOYIbk1QgzU/y'],
    ['an app token', 'using cmt_gPMInR_8IyWJLu0ImcM3PpzZfIKZ1NQVQOYIbk1QgzU now'],
    ['the token of a public link', '/s/abcdgPMInR_8IyWJLu0ImcM3PpzZfIKZ'],
    ['that of a file in one', '/index.php/s/abcdgPMInR_8IyWJLu0ImcM3PpzZfIKZ/My%20file.txt'],
    ['that of a link over WebDAV', '/public.php/dav/files/abcdgPMInR_8IyWJLu0ImcM3PpzZfIKZ/x'],
    ['that in an address', 'asking https://cloud.example.org:8443/s/abcdgPMInR_8IyWJLu0ImcM3PpzZfIKZ?download=1'],
    ['that of a login under way', '/login/v2/flow/abcdgPMInR_8IyWJLu0ImcM3PpzZfIKZ1NQVQOYIbk1QgzU'],
    ['a query parameter', `GET /x?token=${secret}&a=b`],
  ])('blanks %s in text', (_what, text) => {
    const out = redactText(text);
    expect(out).not.toContain(secret);
    expect(out).not.toContain('gPMInR_8IyWJ');
    expect(out).not.toContain(Buffer.from(`anna:${secret}`).toString('base64'));
    expect(out).toContain('[redacted]');
  });

  it('leaves ordinary text alone', () => {
    for (const text of [
      'https://cloud.example.org/a?b=c',
      'anna@example.org',
      'basic idea',
      '12:30@noon',
      'a:b@c',
      '/dav/files/anna/login/v2/flow/a_name_that_is_long_enough_for_a_token',
      '/dav/files/anna/s/a_name_that_is_long_enough_for_a_token',
    ]) {
      expect(redactText(text)).toBe(text);
    }
  });

  it.each([
    'password',
    'Password',
    'passwd',
    'secret',
    'token',
    'lockToken',
    'authorization',
    'cookie',
    'credentials',
    'apiKey',
  ])('blanks a field named %s, however deep', (key) => {
    const out = JSON.stringify(redact({ a: [{ b: { [key]: secret, [`other${key}x`]: 'kept' } }] }));
    expect(out).not.toContain(secret);
    expect(out).toContain('kept');
  });

  it('blanks a whole object under such a name, and keeps flags and numbers', () => {
    expect(redact({ credentials: { user: 'anna', value: secret }, token: true, key: 3 })).toEqual({
      credentials: '[redacted]',
      token: true,
      key: 3,
    });
  });

  it('spells out errors with their causes, without secrets', () => {
    const error = new CloudError('network', `fetching https://anna:${secret}@host/x`, {
      cause: new Error(`Basic ${secret}`),
      status: 500,
    });
    const out = redact({ error });
    expect(JSON.stringify(out)).not.toContain(secret);
    expect(out).toMatchObject({
      error: { type: 'CloudError', code: 'network', details: { status: 500 }, cause: { type: 'Error' } },
    });
  });

  it('ends on cycles and shows bytes as a count', () => {
    const loop: Record<string, unknown> = { data: Buffer.from(secret) };
    loop['self'] = loop;
    const out = JSON.stringify(redact(loop));
    expect(out).not.toContain(secret);
    expect(out).toContain('[14 bytes]');
  });

  it('holds for fields and messages of a log line', () => {
    const lines: string[] = [];
    const log = createLog({ write: (line) => void lines.push(line) }, 'debug');
    log.info({ password: secret, url: `https://a:${secret}@h/`, path: 'a/b' }, `trying https://a:${secret}@h/`);
    log.error({ error: new Error(`Bearer ${secret}`) }, 'failed');
    expect(lines).toHaveLength(2);
    expect(lines.join('')).not.toContain(secret);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 30, path: 'a/b', msg: 'trying https://a:[redacted]@h/' });
  });
});

describe('rotating file', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'cm-log-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it('keeps every line in order, and no more files than asked', async () => {
    const file = new RotatingFile(join(dir, 'x.log'), { maxBytes: 100, keep: 2 });
    for (let i = 0; i < 30; i++) {
      file.write(`line ${String(i).padStart(4, '0')} ${'x'.repeat(20)}\n`);
      if (i % 3 === 0) await file.flush();
    }
    await file.close();
    expect((await readdir(dir)).sort()).toEqual(['x.log', 'x.log.1', 'x.log.2']);
    const parts = await Promise.all(['x.log.2', 'x.log.1', 'x.log'].map((name) => readFile(join(dir, name), 'utf8')));
    const numbers = [...parts.join('').matchAll(/line (\d+)/g)].map((match) => Number(match[1]));
    expect(numbers.at(-1)).toBe(29);
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => 30 - numbers.length + i));
    expect(numbers.length).toBeGreaterThan(3);
  });

  it('goes on with a file that is there', async () => {
    await writeFile(join(dir, 'x.log'), 'before\n');
    const file = openLogFile(join(dir, 'x.log'), 'info');
    file.log.info({}, 'after');
    await file.close();
    const [first, second] = (await readFile(join(dir, 'x.log'), 'utf8')).split('\n');
    expect(first).toBe('before');
    expect(JSON.parse(second ?? '')).toMatchObject({ msg: 'after' });
  });

  it('writes what waits when the process must end', async () => {
    const file = new RotatingFile(join(dir, 'x.log'), { maxBytes: 1000, keep: 1 });
    file.write('last words\n');
    file.flushSync();
    expect(await readFile(join(dir, 'x.log'), 'utf8')).toBe('last words\n');
    await file.close();
    expect(await readFile(join(dir, 'x.log'), 'utf8')).toBe('last words\n');
  });

  it('survives a place that cannot be written, and recovers', async () => {
    const path = join(dir, 'sub', 'x.log');
    const file = new RotatingFile(path, { maxBytes: 1000, keep: 1 });
    file.write('lost\n');
    await file.flush();
    const { mkdir } = await import('node:fs/promises');
    await mkdir(join(dir, 'sub'));
    file.write('kept\n');
    await file.close();
    expect(await readFile(path, 'utf8')).toBe('kept\n');
  });
});
