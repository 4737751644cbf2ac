import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { startDriveProcess } from '../../src/daemon/drive_process.js';
import { checkMountPoint } from '../../src/daemon/mount_point.js';
import { runningMounts } from '../../src/daemon/mount_registry.js';
import { onStopSignals } from '../../src/daemon/stop_signals.js';
import { dataDirLayout } from '../../src/server/data_dir.js';
import { isServed, refuseIfServed } from '../../src/server/server_lock.js';
import { addressesElsewhere } from '../cli/addresses.js';
import type { Command } from '../cli/command.js';
import { type Context, commandContext } from '../cli/context.js';
import { cacheDirOf, localIdentity, planDrive } from '../cli/drive_plan.js';
import { EmbeddedServer } from '../cli/embedded_server.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { followParents } from '../cli/find_drive.js';
import { firstUser, localAccountName, ownToken } from '../cli/local_account.js';
import { note, printable, printLine } from '../cli/output.js';
import { choosePort } from '../cli/ports.js';
import { refuseIfMissing } from '../cli/refuse.js';
import { mountRequirements } from '../cli/requirements.js';
import { dataOption, isLoopback, parseListen, serverDir } from '../cli/server_options.js';
import { packageVersion, userAgent } from '../cli/version.js';
import { type DriveOptions, driveOptions, mergeOptions, tellOfDeath } from './mount.js';

interface Options extends DriveOptions {
  readonly dir?: string | undefined;
  readonly listen?: string | undefined;
  readonly data?: string | undefined;
}

export const up: Command<Options> = {
  command: 'up [dir]',
  describe: 'Start a server and mount its drive: your own cloud in one command',
  builder: (yargs) =>
    yargs
      .positional('dir', { type: 'string', describe: 'Where the drive is shown [default: ~/Cloud]' })
      .options({
        listen: {
          type: 'string',
          requiresArg: true,
          describe: 'HOST:PORT of the server [default: 127.0.0.1:8080, or the next free port]',
        },
        ...dataOption,
        ...driveOptions,
      })
      .example('$0 up', 'The drive is at ~/Cloud; Ctrl-C unmounts and stops')
      .example('$0 up ~/Drive --data /srv/cloud --listen :8080', 'Reachable from other machines'),
  handler: async (options) => {
    refuseIfMissing(mountRequirements());
    const context = commandContext();
    const merged = mergeOptions(options);
    const dataDir = serverDir(options.data);
    const name = localAccountName(dataDir);
    await refuseSecondStart(context, dataDir, cacheDirOf(name, merged, context));
    const dir = await followParents(resolve(options.dir ?? join(homedir(), 'Cloud')));
    await checkMountPoint(dir, {
      create: true,
      nonEmpty: merged.nonEmpty ?? false,
      outside: [dataDir, context.dirs.data],
    });
    const listen = options.listen === undefined ? null : parseListen(options.listen);
    const host = listen?.host ?? '127.0.0.1';
    if (!isLoopback(host))
      note('Warning: the server is reachable from other machines without encryption; `serve` can do TLS.');

    const stopping = stopRequest();
    try {
      const saved = await context.accounts.get(name);
      const lastPort = saved === null ? null : Number(new URL(saved.url).port);
      const port = listen?.port ?? (await choosePort(host, lastPort));
      if (listen === null && lastPort !== null && port !== lastPort) {
        note(
          `Warning: another program has port ${lastPort} now, so the server moves to port ${port}: tell your other devices, or stop that program and say --listen ${host}:${lastPort}.`,
        );
      }
      const { user, newPassword } = await firstUser(dataDir, saved?.user ?? null);
      if (newPassword !== null) {
        printLine(`Account  ${user}, made at this first start`);
        printLine(`Password ${newPassword}  (for other devices and programs; it is not shown again)`);
      }
      const logFile = join(context.dirs.state, name, 'server.log');
      const server = await EmbeddedServer.start({
        dataDir,
        host,
        port,
        logFile,
        onRestart: (reason) =>
          note(`The server stopped (${reason.trim()}) and is started again; see ${printable(logFile)}`),
        onSlow: (seconds) =>
          note(`The server has been starting for ${seconds} s; it is waited for, see ${printable(logFile)}`),
      });
      stopping.beforeAbandon(() => server.kill());
      try {
        const url = reachableUrl(server.url);
        const password = await ownToken(context, name, user, dataDir);
        await context.accounts.put({
          name,
          url,
          user,
          // The server's own files lie beside it, open to the same user: a keyring would protect nothing here.
          credential: 'file',
          appToken: true,
          tls: {},
          addedAt: saved?.addedAt ?? new Date().toISOString(),
          serverDir: dataDir,
        });
        const config = await planDrive(
          { account: name, url, user, password, tls: {}, identity: localIdentity(user, dataDir) },
          dir,
          merged,
          context,
        );
        await tellOfDeath(config, context.dirs);
        const running = await startDriveProcess(config, {
          dirs: context.dirs,
          version: packageVersion(),
          userAgent: userAgent(),
        });
        stopping.beforeAbandon(() => running.logFile.flushSync());
        printLine(`Drive    ${printable(config.mountPoint)}`);
        printLine(`Server   ${server.url}  (user ${user})`);
        for (const elsewhere of addressesElsewhere(server.url, host))
          printLine(`         ${elsewhere}  from elsewhere`);
        printLine(`WebDAV   ${new URL(`/dav/files/${encodeURIComponent(user)}/`, server.url).href}`);
        printLine(`Data     ${printable(dataDir)}`);
        printLine(`Logs     ${printable(running.logFile.path)}`);
        printLine(`         ${printable(logFile)}`);
        printLine('Ctrl-C unmounts and stops.');
        let asked = false;
        void running.drive.closed.then(() => {
          if (!asked) note('The drive was unmounted; the server goes on. Ctrl-C stops it.');
        });
        const reason = await stopping.requested;
        asked = true;
        await running.stop(reason);
      } finally {
        await server.stop();
      }
      printLine('Stopped. Everything is kept; the next start continues.');
      return EXIT.ok;
    } finally {
      stopping.restore();
    }
  },
};

/** Its own drive or its own server runs already. Other drives of the account, with a cache of their own, are no obstacle. */
async function refuseSecondStart({ dirs }: Context, dataDir: string, cacheDir: string): Promise<void> {
  const data = dataDirLayout(dataDir);
  const running = (await runningMounts(dirs)).find((mount) => mount.cacheDir === cacheDir);
  if (running === undefined) return refuseIfServed(data);
  const mountPoint = printable(running.mountPoint);
  throw new CommandError(
    EXIT.busy,
    isServed(data)
      ? `It runs already: the drive is at ${mountPoint}, the server at ${running.url} (process ${running.pid}). Another one needs another --data.`
      : `Its drive is mounted already, without its server: at ${mountPoint} (process ${running.pid}). Unmount it first (cloudmount unmount ${mountPoint}), or start the server alone: cloudmount serve --data ${printable(dataDir)}`,
  );
}

interface StopRequest {
  /** Resolves with the first signal's name. */
  readonly requested: Promise<string>;
  /** What must still be done when the process has to end at once. */
  beforeAbandon(step: () => void): void;
  restore(): void;
}

function stopRequest(): StopRequest {
  const steps: (() => void)[] = [];
  let request: (reason: string) => void = () => undefined;
  const requested = new Promise<string>((resolve_) => {
    request = resolve_;
  });
  const restore = onStopSignals({
    stop: (signal) => request(signal),
    abandon: () => {
      for (const step of steps) step();
      process.exit(EXIT.failed);
    },
  });
  return { requested, beforeAbandon: (step) => void steps.push(step), restore };
}

/** The drive asks no resolver for its own machine. A server that listens on all addresses takes IPv4 too. */
function reachableUrl(serverUrl: string): string {
  const url = new URL(serverUrl);
  if (url.hostname === 'localhost') url.hostname = '127.0.0.1';
  return url.href;
}
