// After any shares, moves and locks the modes of every drive are what the server reports to its user, which
// `unit/server/sharing/rights_model.test.ts` compares with what it enforces.

import { beforeAll, expect, it } from 'vitest';
import { groupOf, join, type Person } from '../support/people.js';
import { eventually } from '../support/processes.js';
import { gateSeeds, Random } from '../support/random.js';
import type { OwnServer } from '../support/servers.js';
import { useStage } from '../support/world.js';

const stage = useStage();
const STEPS = 25;
const [seed = 0] = gateSeeds(1);
const RIGHTS = [1, 3, 5, 15, 31];
const PLACES = ['A', 'A/B', 'C'];
let server: OwnServer;
let people: Person[];

beforeAll(async () => {
  server = await stage().ownServer();
  const alice = await join(stage(), server, 'alice');
  people = [alice, await join(stage(), server, 'ben'), await join(stage(), server, 'cara')];
  await groupOf(server, 'crew', 'ben', 'cara');
  for (const folder of [...PLACES, 'A/B/D']) await alice.dav.mkcol(folder);
  for (const file of ['A/one', 'A/B/two', 'A/B/D/three', 'C/four']) await alice.dav.put(file, file);
}, 120_000);

async function ocs(method: string, path: string, params: Record<string, string> = {}): Promise<string | null> {
  const { user, password } = server.login;
  const answer = await fetch(`${server.url}/ocs/v2.php/apps/files_sharing/api/v1/${path}?format=json`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
      'ocs-apirequest': 'true',
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: new URLSearchParams(params).toString(),
  });
  const { ocs: said } = (await answer.json()) as { ocs: { meta: { statuscode: number }; data: { id?: string } } };
  return said.meta.statuscode === 200 ? (said.data.id ?? null) : null;
}

const PROPS =
  '<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns"><d:prop><oc:permissions/><oc:fileid/><nc:lock/><nc:lock-owner/></d:prop></d:propfind>';

interface Told {
  readonly bits: number;
  readonly fileid: string;
}

/** Path -> owner's permission bits, as the server's letters and locks demand. */
async function reported(person: Person, folder = ''): Promise<Map<string, Told>> {
  const answer = await person.dav.send('PROPFIND', folder, { headers: { depth: '1' }, body: PROPS });
  const found = new Map<string, Told>();
  for (const [, href = '', rest = ''] of answer.body
    .toString()
    .matchAll(/<d:href>([^<]*)<\/d:href>(.*?)<\/d:response>/gs)) {
    const path = decodeURIComponent(href).replace(`/dav/files/${person.name}/`, '');
    const name = path.replace(/\/$/, '');
    if (name === '' || path === folder) continue;
    const letters = /<oc:permissions>([^<]*)</.exec(rest)?.[1] ?? '';
    const fileid = /<oc:fileid>([^<]*)</.exec(rest)?.[1] ?? '';
    const holder = /<nc:lock-owner>([^<]*)</.exec(rest)?.[1];
    const locked = /<nc:lock>(?:1|true)</.test(rest) && holder !== person.name;
    if (path.endsWith('/')) {
      found.set(name, { bits: /[CK]/.test(letters) ? 7 : 5, fileid });
      for (const [below, bits] of await reported(person, path)) found.set(below, bits);
    } else found.set(name, { bits: letters.includes('W') && !locked ? 6 : 4, fileid });
  }
  return found;
}

async function shown(person: Person, folder = ''): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const name of await person.fs.list(person.path(...(folder === '' ? [] : [folder])))) {
    const path = folder === '' ? name : `${folder}/${name}`;
    const { kind, mode } = await person.fs.stat(person.path(path));
    found.set(path, (mode >> 6) & 7);
    if (kind === 'dir') for (const [below, bits] of await shown(person, path)) found.set(below, bits);
  }
  return found;
}

/** What the drive shows otherwise than the server says. A node that is at two places of one tree (a folder shared beside
 * the one it is in) is one inode and shows at one of them. */
function differences(told: ReadonlyMap<string, Told>, drive: ReadonlyMap<string, number>): string[] {
  const wrong = [...drive].flatMap(([path, bits]) =>
    told.get(path)?.bits === bits ? [] : [`shown as ${bits}: ${path}`],
  );
  const ids = new Set([...drive.keys()].map((path) => told.get(path)?.fileid));
  for (const [path, { bits, fileid }] of told) if (!ids.has(fileid)) wrong.push(`not shown: ${path}, ${bits}`);
  return wrong;
}

it('after random shares, moves and locks every drive shows what the server reports', async () => {
  const random = new Random(seed);
  const ids: string[] = [];
  let nested = 'A/B';
  const log: string[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    const kind = random.pick(['share', 'share', 'edit', 'suspend', 'resume', 'remove', 'move', 'lock', 'unlock']);
    const id = ids.length === 0 ? '0' : random.pick(ids);
    const files = [nested === 'A/B' ? 'A/one' : 'C/four', `${nested}/two`, `${nested}/D/three`];
    if (kind === 'share') {
      const shareWith = random.pick(['ben', 'cara', 'crew']);
      const shareType = shareWith === 'crew' ? '1' : '0';
      const path = random.pick(['A', 'C', nested, `${nested}/D`, files[1] ?? '']);
      const made = await ocs('POST', 'shares', {
        path,
        shareType,
        shareWith,
        permissions: String(random.pick(RIGHTS)),
      });
      if (made !== null) ids.push(made);
    } else if (kind === 'edit') await ocs('PUT', `shares/${id}`, { permissions: String(random.pick(RIGHTS)) });
    else if (kind === 'suspend' || kind === 'resume')
      await ocs('PUT', `shares/${id}`, { suspended: String(kind === 'suspend') });
    else if (kind === 'remove') await ocs('DELETE', `shares/${id}`);
    else if (kind === 'move') {
      const to = nested === 'A/B' ? 'C/B' : 'A/B';
      const moved = await server.dav.send('MOVE', nested, { headers: { destination: `${server.login.root}${to}` } });
      if (moved.status < 300) nested = to;
    } else {
      const method = kind === 'lock' ? 'LOCK' : 'UNLOCK';
      await server.dav.send(method, random.pick(files) ?? '', {
        headers: { 'x-user-lock': '1', timeout: 'Second-600' },
      });
    }
    log.push(`${kind} ${id} ${nested}`);
    for (const person of people) {
      let wrong: string[] = [];
      await eventually('the drive to follow', async () => {
        wrong = differences(await reported(person), await shown(person));
        return wrong.length === 0;
      }).catch(() => undefined);
      expect(wrong, `${person.name}, seed ${seed}, after ${log.join('; ')}`).toEqual([]);
    }
  }
  // Not all of it was refused.
  expect(ids.length).toBeGreaterThan(0);
}, 280_000);
