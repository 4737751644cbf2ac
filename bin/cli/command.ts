// Commands as yargs modules, with the types that hold for all of them. A handler returns its exit code or nothing (= 0)
// and throws what goes wrong; `bin/cloudmount.ts` alone ends the process.

import type { Argv, CommandModule } from 'yargs';
import { CommandError, EXIT, type ExitCode } from './exit_codes.js';
import { printJson, printLine } from './output.js';

// biome-ignore lint/suspicious/noConfusingVoidType: a handler that returns nothing is one that went well
export type CommandResult = Promise<ExitCode | void>;

export interface Command<Options> {
  readonly command: string;
  readonly aliases?: readonly string[];
  /** False hides it from the help. */
  readonly describe: string | false;
  /** Its result is not typed: yargs' types do not know that `--cache-dir` arrives as `cacheDir`. */
  readonly builder: (yargs: Argv) => unknown;
  readonly handler: (options: Options) => CommandResult;
}

export interface Runner {
  report(code: ExitCode): void;
  /** Called with a command's usage line before its arguments are judged: what is wrong with them is told beside it. */
  entered(usage: string): void;
  /** Only asked what could be typed next: nothing is run. */
  readonly completing: boolean;
}

/** A command as yargs wants it. `parent`: the group it is in. */
export function toModule<Options>(command: Command<Options>, runner: Runner, parent = ''): CommandModule {
  const words = command.command.split(' ').filter((word) => word !== '$0');
  const usage = ['cloudmount', parent, ...words].filter(Boolean).join(' ');
  return {
    command: command.command,
    ...(command.aliases === undefined ? {} : { aliases: command.aliases }),
    describe: command.describe,
    builder: (yargs: Argv) => {
      runner.entered(usage);
      nameMissing(yargs, words);
      return refuseRepeated(command.builder(yargs) as Argv);
    },
    handler: async (options) => {
      if (runner.completing) return;
      const code = await command.handler(options as unknown as Options);
      if (code !== undefined) runner.report(code);
    },
  };
}

/** What may be given once: of several yargs makes a list, which no command expects. */
function refuseRepeated(yargs: Argv): Argv {
  const { array } = (yargs as unknown as { getOptions(): { readonly array: readonly string[] } }).getOptions();
  return yargs.check((argv) => {
    for (const [name, value] of Object.entries(argv)) {
      if (name === '_' || !Array.isArray(value) || array.includes(name)) continue;
      throw new CommandError(EXIT.usage, `--${name}: it can be given once, found ${value.length} times.`);
    }
    return true;
  }, false);
}

/** yargs only counts what is missing. Its texts are chosen by how many arguments it has found (one, or another number), and
 * no command requires more than two: so each text knows which are missing. */
function nameMissing(yargs: Argv, words: readonly string[]): void {
  const required = words
    .filter((word) => word.startsWith('<'))
    .map((word) => word.replaceAll(/[<>.]/g, '').toUpperCase());
  const text = (missing: readonly string[]) =>
    `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing (found %s of %s arguments)`;
  yargs.updateStrings({
    'Not enough non-option arguments: got %s, need at least %s': {
      one: text(required.slice(1)),
      other: text(required),
    },
    'Missing required argument: %s': { one: 'an option is missing: --%s', other: 'options are missing: --%s' },
    // The types know texts without a plural only.
  } as unknown as Record<string, string>);
}

/** `--json`, on everything that reports. */
export const jsonOption = {
  json: { type: 'boolean', default: false, describe: 'Print one JSON document' },
} as const;

/** `--account`, on what asks a server. */
export const accountOption = {
  account: { type: 'string', requiresArg: true, describe: 'Account, if you are logged in to several' },
} as const;

/** What a command that changes something has to tell. */
export interface Outcome {
  /** With --json: one document (docs/json.md). */
  readonly json: object;
  /** Without: these lines. */
  readonly text: string;
}

export interface ChangingCommand<Options> extends Omit<Command<Options>, 'handler'> {
  readonly handler: (options: Options) => Promise<Outcome>;
}

/** Gives a command that changes something its `--json`. */
export function changing<Options>(command: ChangingCommand<Options>): Command<Options & { readonly json: boolean }> {
  return {
    ...command,
    builder: (yargs) => {
      yargs.options(jsonOption);
      return command.builder(yargs);
    },
    handler: async (options) => {
      const { json, text } = await command.handler(options);
      if (options.json) printJson(json);
      else printLine(text);
    },
  };
}

/** A command with subcommands. */
export function group(
  name: string,
  describe: string,
  // biome-ignore lint/suspicious/noExplicitAny: each has options of its own
  commands: readonly Command<any>[],
  runner: Runner,
): CommandModule {
  return {
    command: name,
    describe,
    builder: (yargs: Argv) => {
      runner.entered(
        `cloudmount ${name} ${commands
          .map(({ command }) => command.split(' ')[0])
          .filter((word) => word !== '$0')
          .join('|')}`,
      );
      for (const command of commands) yargs.command(toModule(command, runner, name));
      return yargs.demandCommand(1, `Say what to do: cloudmount ${name} --help`);
    },
    handler: () => undefined,
  };
}
