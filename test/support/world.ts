// The usual set-up of a mount test: one server, one mounted drive and one process that makes the system calls, shared by
// the tests of a file; each test works in a folder of its own. `onServers` repeats the tests on several servers.

import { afterAll, beforeAll, describe } from 'vitest';
import type { Drive, DriveOptions } from './drive.js';
import type { FsProcess } from './fs_process.js';
import type { ServerKind, TestServer } from './servers.js';
import { Stage } from './stage.js';

export interface World {
  readonly kind: ServerKind;
  readonly stage: Stage;
  readonly server: TestServer;
  readonly drive: Drive;
  readonly fs: FsProcess;
  /** A new, empty folder in the drive: its path, and its name (= its path on the server). */
  folder(): Promise<string>;
  /** The path on the server of a path in the drive. */
  remote(path: string): string;
}

export interface WorldOptions extends DriveOptions {
  readonly serverArgs?: readonly string[];
}

/** The servers to test on; `CLOUDMOUNT_TEST_SERVERS=cloudmount,apache` narrows them down. */
export function wanted(kinds: readonly ServerKind[]): readonly ServerKind[] {
  const only = process.env['CLOUDMOUNT_TEST_SERVERS'];
  return only === undefined ? kinds : (only.split(',') as ServerKind[]);
}

/** Our server and a plain WebDAV one; `rclone serve` is covered by the contract and conformance suites, or here with
 * `CLOUDMOUNT_TEST_SERVERS=rclone`. */
export const ALL_SERVERS: readonly ServerKind[] = ['cloudmount', 'apache'];

export function onServers(kinds: readonly ServerKind[], options: WorldOptions, tests: (world: World) => void): void {
  for (const kind of wanted(kinds)) {
    describe(`on ${kind}`, () => {
      let stage: Stage | undefined;
      let parts: { server: TestServer; drive: Drive; fs: FsProcess } | undefined;
      let folders = 0;
      const ready = () => {
        if (parts === undefined) throw new Error('the world is only there while its tests run');
        return parts;
      };
      beforeAll(async () => {
        stage = new Stage();
        const server = await stage.server(kind, options.serverArgs);
        const drive = await stage.mount(server, options);
        parts = { server, drive, fs: stage.fs() };
      });
      afterAll(async () => {
        await stage?.close();
      });
      tests({
        kind,
        get stage() {
          if (stage === undefined) throw new Error('the world is only there while its tests run');
          return stage;
        },
        get server() {
          return ready().server;
        },
        get drive() {
          return ready().drive;
        },
        get fs() {
          return ready().fs;
        },
        async folder() {
          folders += 1;
          const path = ready().drive.path(`t${folders}`);
          await ready().fs.mkdir(path);
          return path;
        },
        remote(path) {
          return path.slice(ready().drive.dir.length + 1);
        },
      });
    });
  }
}

/** Tests that need nothing but a stage. */
export function useStage(): () => Stage {
  let stage: Stage | undefined;
  beforeAll(() => {
    stage = new Stage();
  });
  afterAll(async () => {
    await stage?.close();
  });
  return () => {
    if (stage === undefined) throw new Error('the stage is only there while its tests run');
    return stage;
  };
}

/** For `expect(promise).rejects`: a system call that failed with this errno. */
export function errno(name: string): { readonly errno: string } {
  return { errno: name };
}
