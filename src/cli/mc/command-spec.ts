// What a command is: its names, arguments, flags, and how it is loaded.

import type { FlagSpec } from './args.ts';
import type { McContext } from './context.ts';

export type CommandRun = (context: McContext, args: readonly string[]) => Promise<void>;

/** A command that runs, or one that holds others. */
export type CommandSpec = {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly isHidden?: boolean;
} & (
  | { readonly commands: readonly CommandSpec[] }
  | {
      /** The arguments, as help shows them. */
      readonly usage: string;
      readonly argsMin: number;
      readonly argsMax: number;
      readonly flags: readonly FlagSpec[];
      load(): Promise<CommandRun>;
    }
);

/** No limit on the number of arguments. */
export const many = 1_000_000;
/** A flag without a value. */
export const flag = (name: string, help: string, aliases: readonly string[] = []): FlagSpec => ({
  name,
  help,
  kind: 'boolean',
  aliases,
});
/** A flag with a value. */
export const option = (
  name: string,
  help: string,
  more: { aliases?: readonly string[]; kind?: 'text' | 'number' | 'list' } = {},
): FlagSpec => ({ name, help, kind: more.kind ?? 'text', aliases: more.aliases ?? [] });
