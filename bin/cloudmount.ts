#!/usr/bin/env node
// The program: reads the command line, runs one command, prints what went wrong, ends with its exit code
// (docs/exit-codes.md). The only place that composes everything and ends the process.

import yargs, { type Argv, type CommandModule } from 'yargs';
import { exactArguments } from './cli/arguments.js';
import { type Command, type Runner, toModule } from './cli/command.js';
import { knownValues, NOTHING_KNOWN } from './cli/complete.js';
import { CommandError, EXIT, type ExitCode, exitCodeOf } from './cli/exit_codes.js';
import { noteFailure, reportFailure } from './cli/failure.js';
import { nearest } from './cli/nearest.js';
import { printable, printLine, requireOutput, watchOutput } from './cli/output.js';
import { packageVersion } from './cli/version.js';

/** The process that `mount` starts in the background. */
const DRIVE_PROCESS = 'drive-process';

/** What yargs hands to a completion function. */
type Done = (completions: string[]) => void;
type Defaults = (use: (error: Error | null, completions?: string[]) => void) => unknown;

type Loader = (runner: Runner) => Promise<CommandModule>;

/** A command is loaded when it is named, so that none pays for what the others need. */
const command =
  // biome-ignore lint/suspicious/noExplicitAny: each has options of its own
    (load: () => Promise<Command<any>>): Loader =>
    async (runner) =>
      toModule(await load(), runner);

/** In the order of the help. */
const COMMANDS: Readonly<Record<string, Loader>> = {
  up: command(async () => (await import('./commands/up.js')).up),
  login: command(async () => (await import('./commands/login.js')).login),
  logout: command(async () => (await import('./commands/login.js')).logout),
  accounts: command(async () => (await import('./commands/login.js')).accounts),
  mount: command(async () => (await import('./commands/mount.js')).mount),
  unmount: command(async () => (await import('./commands/unmount.js')).unmount),
  status: command(async () => (await import('./commands/status.js')).status),
  pin: command(async () => (await import('./commands/pin.js')).pin),
  unpin: command(async () => (await import('./commands/pin.js')).unpin),
  pins: command(async () => (await import('./commands/pin.js')).pins),
  free: command(async () => (await import('./commands/pin.js')).free),
  flush: command(async () => (await import('./commands/flush.js')).flush),
  lock: command(async () => (await import('./commands/lock.js')).lock),
  locks: command(async () => (await import('./commands/lock.js')).locks),
  unlock: command(async () => (await import('./commands/lock.js')).unlock),
  share: async (runner) => (await import('./commands/share.js')).shareModule(runner),
  shares: command(async () => (await import('./commands/share.js')).shares),
  log: command(async () => (await import('./commands/log.js')).log),
  conflicts: command(async () => (await import('./commands/conflicts.js')).conflicts),
  resolve: command(async () => (await import('./commands/conflicts.js')).resolve),
  discard: command(async () => (await import('./commands/conflicts.js')).discard),
  check: command(async () => (await import('./commands/check.js')).check),
  doctor: command(async () => (await import('./commands/doctor.js')).doctor),
  serve: command(async () => (await import('./commands/serve.js')).serve),
  user: async (runner) => (await import('./commands/user.js')).userModule(runner),
  group: async (runner) => (await import('./commands/group.js')).groupModule(runner),
  admin: async (runner) => (await import('./commands/admin.js')).adminModule(runner),
  token: async (runner) => (await import('./commands/token.js')).tokenModule(runner),
  backup: command(async () => (await import('./commands/backup.js')).backup),
  restore: command(async () => (await import('./commands/backup.js')).restore),
  completion: command(async () => (await import('./commands/completion.js')).completion),
  [DRIVE_PROCESS]: command(async () => (await import('./commands/mount.js')).driveProcess),
};
const ALIASES: Readonly<Record<string, string>> = { umount: 'unmount' };

/** What the scripts of `completion` call: this, then the words of the command line, the last one half typed. */
const COMPLETE = '--get-yargs-completions';

async function build(args: readonly string[], runner: Runner): Promise<Argv> {
  const { completing } = runner;
  // yargs answers from inside its parsing and cannot wait there.
  const known = completing ? await knownValues(args.slice(2)).catch(() => NOTHING_KNOWN) : NOTHING_KNOWN;
  let usage = 'cloudmount COMMAND';
  const tracked: Runner = {
    ...runner,
    entered: (line) => {
      usage = line;
    },
  };
  const program = yargs([...args])
    .scriptName('cloudmount')
    .usage(
      '$0 COMMAND\n\nA cloud as a drive: on-demand files, offline pins, locks and rights, and the server behind it.',
    )
    .version(packageVersion())
    .help()
    .alias('h', 'help')
    .strict()
    .demandCommand(1, 'Say what to do; all commands: cloudmount --help')
    .completion('complete-values', false, (word: string, _line: unknown, defaults: Defaults, done: Done) =>
      // Options are offered to who has typed a dash: to everybody else the shell's file names are worth more.
      defaults((_error, completions = []) => {
        const fits = (one: string) => !one.startsWith('$0') && (word.startsWith('-') || !one.startsWith('-'));
        done([...(known.isValue ? [] : completions.filter(fits)), ...known.values]);
      }),
    )
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .exitProcess(completing)
    .showHelpOnFail(false)
    .epilogue(
      'Exit codes: 0 done, 1 failed, 2 usage, 3 not mounted, 4 offline, 5 login refused, 6 conflict, 7 busy or locked, 8 unfinished, 9 problems found.',
    )
    .fail((message, error) => {
      // A half typed line is no mistake.
      if (completing) return;
      // What yargs itself finds wrong is the caller's, even where it throws.
      if (error !== undefined && error.name !== 'YError') throw error;
      const found = error?.message ?? message;
      throw new CommandError(EXIT.usage, `${found}\nUsage: ${usage} (--help explains)`);
    });
  const word = args[completing ? 2 : 0];
  const named = word === undefined ? undefined : (ALIASES[word] ?? word);
  if (!completing && word !== undefined && named !== undefined && isUnknown(named)) {
    const guess = nearest(word, [...Object.keys(COMMANDS).filter((name) => name !== DRIVE_PROCESS), 'umount']);
    const hint = guess === null ? '' : ` Did you mean ${guess}?`;
    throw new CommandError(EXIT.usage, `"${printable(word)}" is no command.${hint} All commands: cloudmount --help`);
  }
  const only = named !== undefined && Object.hasOwn(COMMANDS, named) ? COMMANDS[named] : undefined;
  for (const load of only === undefined ? Object.values(COMMANDS) : [only]) {
    program.command(await load(tracked));
  }
  return program;
}

function isUnknown(word: string): boolean {
  return !word.startsWith('-') && !Object.hasOwn(COMMANDS, word);
}

/** In a drive whose daemon has gone, and in a folder that was removed, not even the name of the folder can be had. */
function requireCurrentFolder(): void {
  try {
    process.cwd();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const folder = printable(process.env['PWD'] ?? 'the current folder');
    throw new CommandError(
      EXIT.notRunning,
      code === 'ENOTCONN' || code === 'EIO'
        ? `You are in ${folder}, in a drive that does not run any more: leave it first (cd ~), then ask again.`
        : `You are in ${folder}, which is not there any more: go to another folder (cd ~), then ask again.`,
    );
  }
}

async function main(args: readonly string[]): Promise<ExitCode> {
  let code: ExitCode = EXIT.ok;
  if (args[0] === COMPLETE && args.length <= 3) {
    // The commands' names are known without loading them all.
    for (const name of Object.keys(COMMANDS)) {
      if (name.startsWith(args[2] ?? '') && name !== DRIVE_PROCESS) printLine(name);
    }
    return code;
  }
  try {
    requireCurrentFolder();
    const program = await build(args, {
      report: (reported) => {
        code = reported;
      },
      entered: () => undefined,
      completing: args[0] === COMPLETE,
    });
    await program.parseAsync();
    return code;
  } catch (error) {
    reportFailure(error, args.includes('--json'));
    return exitCodeOf(error);
  }
}

// What is waited for may hang on timers that do not keep a process running (a pause between two attempts): the command
// decides when it is over.
setInterval(() => undefined, 60_000);
watchOutput();
const code = await main(exactArguments(process.argv.slice(2)));
try {
  await requireOutput();
} catch (error) {
  noteFailure(error);
  // What went wrong before says more.
  process.exit(code === EXIT.ok ? exitCodeOf(error) : code);
}
process.exit(code);
