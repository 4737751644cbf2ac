// While uploads are pending the computer asks before it goes off: systemd-inhibit(1) with a logind of the test's own.

import { expect, it } from 'vitest';
import { startLogind } from '../support/buses.js';
import { eventually } from '../support/processes.js';
import { useStage } from '../support/world.js';

const stage = useStage();

it('a shutdown is held up while uploads are pending, not longer, and not by a daemon that was killed', async () => {
  const logind = await startLogind(stage());
  const server = await stage().ownServer();
  const link = await stage().link(server, { rate_bitsPerSecond: 8_000_000 });
  const drive = await stage().mount(link, { env: logind.env });
  const fs = stage().fs();
  expect(await logind.inhibitors()).not.toContain('cloudmount');
  await fs.writeFile(drive.path('large'), Buffer.alloc(4 << 20, 'x'));
  await eventually('the inhibitor', async () => (await logind.inhibitors()).includes('cloudmount'));
  expect(await logind.inhibitors()).toMatch(/shutdown +Uploading a change to \S+ +block/);
  expect(JSON.parse(await drive.mustCli(['status', drive.dir, '--json']))).toMatchObject({ shutdownInhibited: true });
  await drive.flush();
  await eventually('its end', async () => !(await logind.inhibitors()).includes('cloudmount'));

  await fs.writeFile(drive.path('large'), Buffer.alloc(4 << 20, 'y'));
  await eventually('the inhibitor', async () => (await logind.inhibitors()).includes('cloudmount'));
  // Offline nothing could be sent by waiting.
  link.proxy.cut = true;
  await eventually('its end while offline', async () => !(await logind.inhibitors()).includes('cloudmount'));
  link.proxy.cut = false;
  await eventually('the inhibitor again', async () => (await logind.inhibitors()).includes('cloudmount'));
  await drive.kill9();
  await eventually('its end with the daemon', async () => !(await logind.inhibitors()).includes('cloudmount'));
});
