// `coffer mc`: finds the command in the table, reads its flags, runs it, and turns what happened into an
// exit code: 0, 1 for any failure, 130 or 143 when interrupted or terminated.

import { readFileSync } from 'node:fs';

import type { CliIo } from '../io.ts';
import { parseArguments } from './args.ts';
import type { Flags, ParsedArguments } from './args.ts';
import { commands, missingCommands } from './commands.ts';
import type { CommandSpec } from './command-spec.ts';
import { AliasStore, configFolder } from './config.ts';
import type { McContext } from './context.ts';
import { McError, toMcError } from './error.ts';
import { Failure } from './failure.ts';
import { globalFlags } from './flags.ts';
import { commandHelp, flagLines, groupHelp } from './help.ts';
import { parseSize } from './format.ts';
import { Http } from './http.ts';
import { Output } from './output.ts';
import { Throttle } from './throttle.ts';

const versionFlag = {
  name: 'version',
  aliases: ['v'],
  kind: 'boolean',
  help: 'print the version',
} as const;

/** Runs one command; `argv` is without the program's name. Never throws; resolves to the exit code. */
export async function runMc(argv: string[], io: CliIo): Promise<number> {
  let out = new Output(io, { isJson: argv.includes('--json'), isQuiet: false, isColour: false });
  try {
    const first = parseArguments(argv, [...globalFlags, versionFlag], {
      env: {},
      isStoppingAtFirst: true,
    });
    if (first.flags.has('version')) {
      out.line(`mc version ${readVersion()} (coffer)`);
      return 0;
    }
    const found = findCommand(first.positional, commands);
    if (!('usage' in found.command)) {
      out.line(groupHelp(['mc', ...found.names], found.command.commands));
      return found.names.length === 0 && !first.flags.has('help') ? 1 : 0;
    }
    const { command } = found;
    const names = ['mc', ...found.names];
    // Flags typed before the command are read again with its own.
    const leading = argv.slice(0, argv.length - first.positional.length);
    const parsed = parseCommand([...leading, ...found.rest], { command, io });
    out = openOutput(parsed.flags, io);
    if (parsed.flags.has('help')) {
      out.line(commandHelp(names, command));
      return 0;
    }
    const isCountRight =
      parsed.positional.length >= command.argsMin && parsed.positional.length <= command.argsMax;
    const isEmptyRm =
      command.name === 'rm' && parsed.positional.length === 0 && !parsed.flags.has('stdin');
    if (!isCountRight || isEmptyRm) {
      out.line(commandHelp(names, command));
      return 1;
    }
    return await runCommand(command, parsed, { out, io });
  } catch (error) {
    return report(error, { out, io });
  }
}

type Runnable = Extract<CommandSpec, { usage: string }>;

async function runCommand(
  command: Runnable,
  parsed: ParsedArguments,
  shared: { out: Output; io: CliIo },
): Promise<number> {
  const { out, io } = shared;
  const aliases = new AliasStore(configFolder(parsed.flags.find('config-dir'), io.env), io.env);
  const http = openHttp(parsed.flags, aliases, shared);
  const context: McContext = { io, flags: parsed.flags, out, aliases, http, clients: new Map() };
  try {
    const run = await command.load();
    await run(context, parsed.positional);
    return out.hasFailed ? 1 : 0;
  } catch (error) {
    return report(error, shared);
  } finally {
    await http.close();
  }
}

function report(error: unknown, shared: { out: Output; io: CliIo }): number {
  const { out, io } = shared;
  if (io.signal.aborted) return io.signal.reason === 'SIGTERM' ? 143 : 130;
  // The reader of a pipe may leave early: that ends the command quietly.
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') return 0;
  if (error instanceof UsageError) {
    io.stderr.write(`${error.message}\n`);
    return 1;
  }
  if (error instanceof Failure) out.failure(error);
  else {
    const reason = toMcError(error);
    if (reason.code === 'cancelled') return 130;
    out.failure(new Failure('Unable to run the command.', reason));
  }
  return 1;
}

/** A wrong flag: told on standard error in both forms, with the flags there are. */
class UsageError extends Error {}

function parseCommand(
  rest: readonly string[],
  call: { command: Runnable; io: CliIo },
): ParsedArguments {
  const specs = [...call.command.flags, ...globalFlags];
  try {
    return parseArguments(rest, specs, { env: call.io.env });
  } catch (error) {
    if (!(error instanceof McError)) throw error;
    const lines = flagLines(specs).map((line) => ` ${line}`);
    throw new UsageError(
      `mc: <ERROR> Invalid command usage, ${error.message}\n\nSUPPORTED FLAGS:\n${lines.join('\n')}`,
    );
  }
}

function findCommand(
  words: readonly string[],
  table: readonly CommandSpec[],
): { command: CommandSpec; names: string[]; rest: readonly string[] } {
  const names: string[] = [];
  let command: CommandSpec = { name: 'mc', summary: '', commands: table };
  let rest = words;
  while ('commands' in command) {
    const word = rest[0];
    if (word === undefined || word.startsWith('-')) return { command, names, rest };
    const next: CommandSpec | undefined = command.commands.find(
      (entry) => entry.name === word || entry.aliases?.includes(word) === true,
    );
    if (next === undefined) throw unknownCommand(word);
    names.push(next.name);
    command = next;
    rest = rest.slice(1);
  }
  return { command, names, rest };
}

function unknownCommand(word: string): Failure {
  if (missingCommands.has(word)) {
    return new Failure(
      `\`${word}\` is not available in this program. Get help using \`--help\` flag.`,
    );
  }
  return new Failure(`\`${word}\` is not a recognized command. Get help using \`--help\` flag.`);
}

function openOutput(flags: Flags, io: CliIo): Output {
  return new Output(io, {
    isJson: flags.has('json'),
    isQuiet: flags.has('quiet'),
    isColour:
      !flags.has('no-color') && io.env['NO_COLOR'] === undefined && io.env['TERM'] !== 'dumb',
  });
}

function openHttp(flags: Flags, aliases: AliasStore, shared: { out: Output; io: CliIo }): Http {
  const customHeaders: Record<string, string> = {};
  for (const text of flags.list('custom-header')) {
    const colon = text.indexOf(':');
    if (colon < 1) {
      throw new Failure(
        'Unable to parse custom header',
        new McError('argument', 'Write it as NAME:VALUE.'),
      );
    }
    customHeaders[text.slice(0, colon).trim().toLowerCase()] = text.slice(colon + 1).trim();
  }
  const resolve = new Map<string, string>();
  for (const text of flags.list('resolve')) {
    const [host = '', address = ''] = text.split('=');
    resolve.set(host, address);
  }
  return new Http({
    isInsecure: flags.has('insecure'),
    caFolder: aliases.caFolder,
    resolve,
    customHeaders,
    userAgent: `Coffer (${process.platform}; ${process.arch}) mc/${readVersion()}`,
    debug: flags.has('debug')
      ? (text) => {
          shared.out.warn(text);
        }
      : undefined,
    ...limits(flags),
    signal: shared.io.signal,
  });
}

function limits(flags: Flags): { uploads?: Throttle; downloads?: Throttle } {
  const open = (name: string): Throttle | undefined => {
    const text = flags.find(name);
    if (text === undefined) return undefined;
    try {
      return new Throttle(Math.max(parseSize(text.replace(/\/s$/, '')), 1));
    } catch (error) {
      throw new Failure(`Unable to parse --${name}.`, toMcError(error));
    }
  };
  const uploads = open('limit-upload');
  const downloads = open('limit-download');
  return {
    ...(uploads === undefined ? {} : { uploads }),
    ...(downloads === undefined ? {} : { downloads }),
  };
}

function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version?: unknown }).version);
}
