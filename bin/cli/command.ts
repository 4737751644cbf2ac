// Commands as yargs modules, with the types that hold for all of them. A handler returns its exit code or nothing (= 0)
// and throws what goes wrong; `bin/cloudmount.ts` alone prints errors and ends the process.

import type { Argv, CommandModule } from 'yargs';
import type { ExitCode } from './exit_codes.js';

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
  /** Only asked what could be typed next: nothing is run. */
  readonly completing: boolean;
}

/** A command as yargs wants it. */
export function toModule<Options>(command: Command<Options>, runner: Runner): CommandModule {
  return {
    command: command.command,
    ...(command.aliases === undefined ? {} : { aliases: command.aliases }),
    describe: command.describe,
    builder: command.builder as (yargs: Argv) => Argv,
    handler: async (options) => {
      if (runner.completing) return;
      const code = await command.handler(options as unknown as Options);
      if (code !== undefined) runner.report(code);
    },
  };
}

/** `--json`, on everything that reports. */
export const jsonOption = {
  json: { type: 'boolean', default: false, describe: 'Print one JSON document' },
} as const;

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
      for (const command of commands) yargs.command(toModule(command, runner));
      return yargs.demandCommand(1, `Say what to do: cloudmount ${name} --help`);
    },
    handler: () => undefined,
  };
}
