// Where no push gets through (a proxy without WebSockets), the kernel keeps names and listings all the same: what the feed
// says when it is polled must be enough for it to forget them.

import { expect, it } from 'vitest';
import { FaultProxy } from '../support/fault_proxy.js';
import { eventually } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

it('what the kernel keeps is taken back when the feed is polled, without push', async () => {
  const server = await stage().server('cloudmount');
  await server.dav.mkcol('dir');
  for (const name of ['stays', 'goes', 'grows']) await server.dav.put(`dir/${name}`, name);
  const proxy = await FaultProxy.open({ targetPort: server.port });
  stage().defer(() => proxy.close());
  proxy.add({ path: /^\/push\/ws/, fault: { kind: 'reset' } });
  const through = (url: string) => url.replace(`:${server.port}`, `:${proxy.port}`);
  const login = { ...server.login, root: through(server.login.root) };
  const drive = await stage().mount({ url: through(server.url), login });
  const fs = stage().fs();
  const dir = drive.path('dir');
  const seen = async () => (await fs.list(dir)).sort();
  for (let i = 0; i < 2; i++) {
    expect(await seen()).toEqual(['goes', 'grows', 'stays']);
    expect((await fs.stat(`${dir}/grows`)).size).toBe(5);
    expect(await fs.exists(`${dir}/comes`)).toBe(false);
  }

  await server.dav.put('dir/comes', 'new');
  await server.dav.put('dir/grows', 'grows more');
  await server.dav.remove('dir/goes');
  await server.dav.move('dir/stays', 'dir/moved');
  await eventually('the listing', seen, (names) => names.join() === 'comes,grows,moved');
  await eventually('the size', async () => (await fs.stat(`${dir}/grows`)).size === 10);
  expect(await fs.readText(`${dir}/comes`)).toBe('new');
  expect(await fs.readText(`${dir}/grows`)).toBe('grows more');
  for (const name of ['goes', 'stays']) expect(await fs.exists(`${dir}/${name}`)).toBe(false);

  await server.dav.mkcol('dir/sub');
  await server.dav.put('dir/sub/below', 'x');
  await eventually('a new folder', () => fs.exists(`${dir}/sub/below`));
  await server.dav.remove('dir');
  await eventually('the folder gone', async () => !(await fs.exists(dir)));
  expect(proxy.requests.some(({ method }) => method === 'UPGRADE')).toBe(true);
  await drive.unmount();
});
