import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { watchForDefects } from '../../src/daemon/last_words.js';
import { createLog, LOG_LEVELS, type LogLevel } from '../../src/daemon/log/logger.js';
import { redactText } from '../../src/daemon/log/redact.js';
import { RotatingFile } from '../../src/daemon/log/rotating_file.js';
import { serviceManager } from '../../src/daemon/sd_notify.js';
import { onStopSignals } from '../../src/daemon/stop_signals.js';
import { toCloudError } from '../../src/errors.js';
import { makeFolder } from '../../src/make_folder.js';
import { AccessLines, type AccessLog, startServer } from '../../src/server/server.js';
import { describeAddresses } from '../cli/addresses.js';
import type { Command } from '../cli/command.js';
import { CommandError, EXIT } from '../cli/exit_codes.js';
import { note, printable } from '../cli/output.js';
import { listenProblem } from '../cli/ports.js';
import { dataOption, isLoopback, parseListen, serverDir } from '../cli/server_options.js';

interface Options {
  readonly listen: string;
  readonly data?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
  readonly trustProxy: boolean;
  readonly logFile?: string | undefined;
  readonly logLevel: LogLevel;
}

/** What running requests get to finish. */
const GRACEFUL_MS = 3_000;

/** Message to the process that started the server (`up`) over the IPC channel. */
export type ServingMessage = { readonly kind: 'serving'; readonly url: string };

export const serve: Command<Options> = {
  command: 'serve',
  describe: 'Run the server',
  builder: (yargs) =>
    yargs
      .options({
        listen: {
          type: 'string',
          default: '127.0.0.1:8080',
          requiresArg: true,
          describe: 'HOST:PORT, or :PORT for all addresses',
        },
        ...dataOption,
        'tls-cert': {
          type: 'string',
          requiresArg: true,
          describe: 'PEM file of the certificate chain; read again when renewed',
        },
        'tls-key': { type: 'string', requiresArg: true, describe: 'PEM file of its key' },
        'trust-proxy': {
          type: 'boolean',
          default: false,
          describe: 'Believe X-Forwarded-*: only behind a proxy that sets them',
        },
        'log-file': {
          type: 'string',
          requiresArg: true,
          describe: 'Log to this file, rotated at 10 MB [default: standard error]',
        },
        'log-level': { choices: LOG_LEVELS, default: 'info' as const, describe: 'How much is logged' },
      })
      .example('$0 serve --data /srv/cloud', 'For this machine only')
      .example(
        '$0 serve --listen :443 --data /srv/cloud --tls-cert fullchain.pem --tls-key privkey.pem',
        'For everybody',
      ),
  handler: async (options) => {
    const listen = parseListen(options.listen);
    if ((options.tlsCert === undefined) !== (options.tlsKey === undefined)) {
      throw new CommandError(EXIT.usage, '--tls-cert and --tls-key belong together.');
    }
    const tls =
      options.tlsCert === undefined || options.tlsKey === undefined
        ? null
        : { certFile: resolve(options.tlsCert), keyFile: resolve(options.tlsKey) };
    if (tls === null && !isLoopback(listen.host) && !options.trustProxy) {
      note(
        `Warning: ${options.listen} is reachable from elsewhere without encryption. Use --tls-cert and --tls-key, or a proxy that does TLS and --trust-proxy.`,
      );
    }
    // A folder that is not there yet is not made for a server that cannot start.
    if (!existsSync(serverDir(options.data)) && (await listenProblem(listen.host, listen.port)) === 'EADDRINUSE') {
      throw new CommandError(
        EXIT.busy,
        `listening on ${options.listen}: another program listens there; stop it, or choose another port with --listen`,
      );
    }
    process.umask(0o077);
    const logFile = await openLogFile(options);
    const log = createLog(logFile ?? process.stderr, options.logLevel);
    const access = new AccessLines(logFile ?? process.stderr, redactText);
    const flushSync = () => {
      access.flush();
      logFile?.flushSync();
    };
    const unwatch = watchForDefects(log, { flushSync, exit: () => process.exit(EXIT.failed) });
    let stopRequested: (reason: string) => void = () => undefined;
    const stopped = new Promise<string>((resolve_) => {
      stopRequested = resolve_;
    });
    const restore = onStopSignals({
      stop: (signal) => stopRequested(signal),
      abandon: (reason) => {
        log.error({ reason }, 'stopped without finishing');
        flushSync();
        process.exit(EXIT.failed);
      },
    });
    // Started by `up`: without it nobody would stop us.
    process.once('disconnect', () => stopRequested('the process that started the server is gone'));
    try {
      const service = await serviceManager(log);
      const server = await startServer({
        dataDir: serverDir(options.data),
        listen,
        ...(tls === null ? {} : { tls }),
        trustProxy: options.trustProxy,
        log,
        ...accessFor(options.logLevel, access),
      });
      const { host } = server.address;
      note(
        `Serving ${printable(serverDir(options.data))} at ${describeAddresses(server.url, host, tls?.certFile ?? null)}`,
      );
      if ((await server.accounts.list()).length === 0) {
        const where = options.data === undefined ? '' : ` --data '${printable(serverDir(options.data))}'`;
        note(
          `There are no users yet, so nobody can log in. Add one, from another terminal: cloudmount user add NAME${where}`,
        );
      }
      const serving: ServingMessage = { kind: 'serving', url: server.url };
      process.send?.(serving);
      service.ready(`serving at ${server.url}`);
      const reason = await stopped;
      log.info({ reason }, 'stopping');
      service.stopping();
      await server.close({ graceful_ms: GRACEFUL_MS });
    } finally {
      restore();
      unwatch();
      access.flush();
      await logFile?.close();
      if (process.connected) process.disconnect();
    }
  },
};

/** Who debugs sees every request, through the log itself; who wants warnings only sees none. */
function accessFor(level: LogLevel, lines: AccessLines): { readonly access?: AccessLog } {
  switch (level) {
    case 'debug':
      return {};
    case 'info':
      return { access: lines.note };
    case 'warn':
    case 'error':
      return { access: () => undefined };
  }
}

/** 10 MB, three old files kept: 40 MB at most. */
async function openLogFile(options: Options): Promise<RotatingFile | null> {
  if (options.logFile === undefined) return null;
  const path = resolve(options.logFile);
  try {
    await makeFolder(dirname(path), 0o700);
    // What cannot be written later is dropped: a server that has no log from the start has to say so.
    await (await open(path, 'a', 0o600)).close();
    return new RotatingFile(path, { maxBytes: 10 * 1024 * 1024, keep: 3 });
  } catch (error) {
    throw toCloudError(error, `opening the log ${path}`);
  }
}
