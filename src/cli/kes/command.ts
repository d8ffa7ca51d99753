// What a command of this folder is: a row in a table, with its flags, its arguments and its help. The
// dispatcher in `main.ts` reads the table.

import type { KesClient } from '../../wire/kes-client.ts';
import type { CliIo } from '../io.ts';
import { KesCommandError } from './command-error.ts';
import { connectKesClient } from './connect.ts';
import type { FlagSpec, ParsedFlags } from './flags.ts';
import type { Output } from './output.ts';

/** A command line under way. */
export type KesCall = {
  readonly io: CliIo;
  readonly flags: ParsedFlags;
  readonly output: Output;
  /** `kes key create`: for messages. */
  readonly name: string;
};

export type KesCommand = {
  /** Words after `kes`, for example `key create`. */
  readonly words: string;
  /** Arguments as the help shows them. */
  readonly argsHelp: string;
  readonly help: string;
  readonly flags: readonly FlagSpec[];
  /** What each required argument is called when it is missing. */
  readonly required: readonly string[];
  /** Most arguments; the required ones by default. */
  readonly argsMax?: number;
  run(call: KesCall): Promise<void>;
};

/**
 * A command that reads its own arguments and prints its own help: the table knows of it for the help of its
 * group and for completion. Such commands are handed in by the program, because they open key stores.
 */
export type KesRawCommand = Pick<KesCommand, 'words' | 'argsHelp' | 'help' | 'flags'> & {
  /** `argv` without the words of the command; the result is the exit code. */
  runRaw(argv: readonly string[], io: CliIo): Promise<number>;
};

/** A row of the table. */
export type KesTableRow = KesCommand | KesRawCommand;

export const insecureFlag: FlagSpec = {
  name: 'insecure',
  short: 'k',
  kind: 'switch',
  help: 'Skip the check of the server certificate',
};
export const jsonFlag: FlagSpec = { name: 'json', kind: 'switch', help: 'Print JSON' };
export const colorFlag: FlagSpec = {
  name: 'color',
  kind: 'text',
  value: 'auto|never|always',
  help: 'When to use colours',
};
/** Of an earlier edition: accepted, without effect. */
export const enclaveFlag: FlagSpec = { name: 'enclave', short: 'e', kind: 'text' };

/** Runs the work with a client that is closed afterwards. */
export async function withClient(
  call: KesCall,
  work: (client: KesClient) => Promise<void>,
): Promise<void> {
  const { flags } = call;
  const client = await connectKesClient(call.io, {
    isInsecure: flags.switches.has('insecure'),
    servers: flags.texts.get('server'),
    apiKey: flags.texts.get('api-key'),
  });
  try {
    await work(client);
  } finally {
    client.close();
  }
}

/** Puts what was tried in front of what went wrong: `failed to create key "x": key already exists`. */
export async function explained<T>(prefix: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown error';
    throw new KesCommandError('failed', `${prefix}: ${reason}`, { cause: error });
  }
}

/** The argument at the place; the dispatcher has checked that the required ones are there. */
export function argOf(call: KesCall, index: number): string {
  return call.flags.args[index] ?? '';
}
