// D-Bus of a test's own: a bus, and on it what a desktop has there. Ended with the stage.

import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, must, spawnTracked, stop } from './processes.js';
import type { Stage } from './stage.js';

/** Without a screen nothing can ask the user, and what would ask gives up at once. */
const NO_SCREEN = { DISPLAY: '', WAYLAND_DISPLAY: '' };

/** Starts a bus; answers its address. */
export async function startBus(stage: Stage): Promise<string> {
  const bus = spawnTracked('dbus-daemon', ['--session', '--nofork', '--nopidfile', '--print-address=1'], {
    env: NO_SCREEN,
  });
  stage.defer(async () => {
    await stop(bus);
  });
  bus.stderr?.resume();
  if (bus.stdout === null) throw new Error('dbus-daemon: no output');
  const [line] = (await once(bus.stdout, 'data')) as [Buffer];
  bus.stdout.resume();
  return line.toString().trim();
}

export interface Keyring {
  /** For programs of this desktop. */
  readonly env: Readonly<Record<string, string>>;
  readonly pid: number;
  lock(): Promise<void>;
}

/** An unlocked gnome-keyring on a bus of its own. */
export async function startKeyring(stage: Stage): Promise<Keyring> {
  const address = await startBus(stage);
  const home = join(stage.dir, 'keyring');
  mkdirSync(join(home, 'run'), { recursive: true, mode: 0o700 });
  const env = { DBUS_SESSION_BUS_ADDRESS: address };
  const keyring = spawnTracked(
    'gnome-keyring-daemon',
    ['--unlock', '--foreground', '--components=secrets', `--control-directory=${join(home, 'run')}`],
    { env: { ...env, ...NO_SCREEN, HOME: home, XDG_DATA_HOME: join(home, 'data') }, stdin: 'pipe' },
  );
  stage.defer(async () => {
    await stop(keyring);
  });
  keyring.stdout?.resume();
  keyring.stderr?.resume();
  keyring.stdin?.end('password of the keyring');
  await eventually('the keyring to answer', async () => {
    const said = await must('dbus-send', [...TO_BUS, 'string:org.freedesktop.secrets'], { env });
    return said.includes('true');
  });
  return {
    env,
    pid: keyring.pid ?? 0,
    lock: async () => {
      const login = 'array:objpath:/org/freedesktop/secrets/collection/login';
      await must('dbus-send', [...SECRETS, 'org.freedesktop.Secret.Service.Lock', login], { env });
    },
  };
}

const SEND = ['--session', '--print-reply'];
const TO_BUS = [...SEND, '--dest=org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus.NameHasOwner'];
const SECRETS = [...SEND, '--dest=org.freedesktop.secrets', '/org/freedesktop/secrets'];

export interface Logind {
  readonly env: Readonly<Record<string, string>>;
  /** What is kept from happening, by whom and why; one line each. */
  inhibitors(): Promise<string>;
}

/** A stand-in for systemd-logind (python-dbusmock) on a bus that programs take for the system's. */
export async function startLogind(stage: Stage): Promise<Logind> {
  const address = await startBus(stage);
  const env = { DBUS_SYSTEM_BUS_ADDRESS: address, DBUS_SESSION_BUS_ADDRESS: address };
  const logind = spawnTracked('/usr/bin/python3', ['-m', 'dbusmock', '--system', '--template', 'logind'], { env });
  stage.defer(async () => {
    await stop(logind);
  });
  logind.stdout?.resume();
  logind.stderr?.resume();
  await eventually('logind to answer', async () => {
    const said = await must('dbus-send', [...TO_BUS, 'string:org.freedesktop.login1'], { env });
    return said.includes('true');
  });
  return { env, inhibitors: () => must('systemd-inhibit', ['--list', '--no-legend'], { env }) };
}
