// `coffer play`: a key service and a store on this machine, in one folder, to try the documented procedure
// word for word. It prints each step ready to paste; `--demo` runs them all by itself.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

import { Command, CommanderError } from 'commander';

import type { CliIo } from '../cli/io.ts';
import { PlayChildren, PlayError } from './play-children.ts';
import { runDemo } from './play-demo.ts';
import {
  formatKmsSettings,
  isFolderMade,
  makeFolder,
  type PlayFolder,
  planFolder,
  playAlias,
  playKeyName,
  type Program,
} from './play-folder.ts';

type PlayFlags = {
  readonly address: string;
  readonly kesAddress: string;
  readonly demo: boolean;
};

const warning =
  'Sandbox keys protect nothing: they lie beside the data they encrypt. Use them for nothing real.';

/** Runs the sandbox until Ctrl-C, or the demonstration to its end; gives the exit code. */
export async function runPlay(argv: readonly string[], io: CliIo): Promise<number> {
  const parsed = parseArguments(argv, io);
  if (typeof parsed === 'number') return parsed;
  try {
    return parsed.flags.demo ? await demonstrate(parsed, io) : await play(parsed, io);
  } catch (error) {
    if (!(error instanceof PlayError)) throw error;
    io.stderr.write(`coffer play: ${error.message}\n`);
    return 1;
  }
}

type Parsed = { readonly directory: string | undefined; readonly flags: PlayFlags };

async function play({ directory, flags }: Parsed, io: CliIo): Promise<number> {
  const folder = planFolder(resolve(directory ?? 'play'), {
    store: flags.address,
    kes: flags.kesAddress,
  });
  await requireFree(flags.kesAddress, '--kes-address');
  await requireFree(flags.address, '--address');
  await makeFolder(folder);
  await using children = new PlayChildren(folder);
  await children.startKes();
  await children.startStore();
  io.stdout.write(formatSteps(folder));
  const stopped = new Promise<undefined>((done) => {
    if (io.signal.aborted) done(undefined);
    else io.signal.addEventListener('abort', () => done(undefined), { once: true });
    // The terminal was closed: the services would otherwise go on without anybody to end them.
    process.once('SIGHUP', () => done(undefined));
  });
  const ended = await Promise.race([stopped, children.ended]);
  if (ended !== undefined) {
    throw new PlayError('ended', `the ${ended} ended: see the logs in ${folder.directory}`);
  }
  io.stdout.write('\nStopping.\n');
  return 0;
}

async function demonstrate({ directory }: Parsed, io: CliIo): Promise<number> {
  const isTemporary = directory === undefined;
  const path = isTemporary ? mkdtempSync(join(tmpdir(), 'coffer-demo-')) : resolve(directory);
  const folder = planFolder(path, {
    store: `127.0.0.1:${await findFreePort()}`,
    kes: `127.0.0.1:${await findFreePort()}`,
  });
  if (isFolderMade(folder)) {
    throw new PlayError(
      'usage',
      `${path} holds a sandbox, whose key the demonstration would delete`,
    );
  }
  try {
    await makeFolder(folder);
    io.stdout.write(`${warning}\n`);
    await using children = new PlayChildren(folder);
    await children.startKes();
    await children.startStore();
    await runDemo({ folder, children, program: findProgram(), io });
    return 0;
  } finally {
    if (isTemporary) rmSync(path, { recursive: true, force: true });
  }
}

function findProgram(): Program {
  const bin = join(import.meta.dirname, '..', '..', 'bin');
  if (!existsSync(join(bin, 'kes'))) return { kes: 'coffer kes', mc: 'coffer mc' };
  const near = relative(process.cwd(), bin);
  const path = near.startsWith('..') ? bin : near;
  return { kes: quotePath(join(path, 'kes')), mc: quotePath(join(path, 'mc')) };
}

/** A path as a shell takes it, in quotes when it needs them. */
function quotePath(path: string): string {
  return /^[\w./:@%+=,-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

function formatSteps(folder: PlayFolder): string {
  const { kes, mc } = findProgram();
  const { addresses } = folder;
  const object = `${playAlias}/mybucket/secret.txt`;
  const near = relative(process.cwd(), folder.storeEnv);
  const env = quotePath(near.startsWith('..') ? folder.storeEnv : near);
  return `
Key service  https://${addresses.kes}
Object store http://${addresses.store}
Folder       ${folder.directory} (logs: store.log, kes/kes.log)
${warning}

Paste into another terminal, in this directory:

  export KES_SERVER=https://${addresses.kes}
  export KES_CLIENT_KEY=${quotePath(folder.rootKey)}
  export KES_CLIENT_CERT=${quotePath(folder.rootCert)}
  export MC_CONFIG_DIR=${quotePath(folder.mcConfig)}

1. Create a master key at the key service.

  ${kes} key create -k ${playKeyName}

2. Tell the store about the key service.

  cat >> ${env} <<'END'
${formatKmsSettings(folder)
  .map((line) => `  ${line}`)
  .join('\n')}
END

3. Restart the store. From now on its metadata is encrypted too, for good.

  ${mc} admin service restart ${playAlias}

4. Encrypt everything that is written to a bucket.

  ${mc} mb ${playAlias}/mybucket
  ${mc} encrypt set sse-s3 ${playAlias}/mybucket

5. Write an object, and see that it is encrypted.

  echo 'attack at dawn' | ${mc} pipe ${object}
  ${mc} stat ${object}
  ${mc} cat ${object}

6. Lock it: with the key disabled nothing opens it. Then unlock it.

  ${kes} key disable -k ${playKeyName}
  ${mc} cat ${object}
  ${kes} key enable -k ${playKeyName}
  ${mc} cat ${object}

7. Destroy it: without the key it is gone for good, and so is the sandbox.

  ${kes} key rm -k ${playKeyName}
  ${mc} cat ${object}

Ctrl-C stops the sandbox; delete ${folder.directory} to start afresh.
`;
}

async function requireFree(address: string, flag: string): Promise<void> {
  const [host, port] = splitLoopback(address, flag);
  const server = createServer();
  try {
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen(port, host, done);
    });
  } catch (error) {
    throw new PlayError('usage', `${address} is in use: choose another address with ${flag}`, {
      cause: error,
    });
  } finally {
    server.close();
  }
}

function splitLoopback(address: string, flag: string): [string, number] {
  const match = /^(127\.\d+\.\d+\.\d+):(\d{1,5})$/.exec(address);
  if (!match?.[1]) {
    throw new PlayError(
      'usage',
      `${flag} must be 127.0.0.1:PORT: the sandbox stays on this machine`,
    );
  }
  return [match[1], Number(match[2])];
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== 'object' || address === null) throw new Error('no address');
  return address.port;
}

function parseArguments(argv: readonly string[], io: CliIo): Parsed | number {
  const command = new Command('coffer play')
    .description('run a key service and a store on this machine, with sandbox keys, to try them')
    .argument('[DIR]', 'folder of the sandbox; default ./play, a temporary one with --demo')
    .option('--demo', 'run the whole procedure, show what it proves, and end', false)
    .option('--address <HOST:PORT>', 'address of the store', '127.0.0.1:9000')
    .option('--kes-address <HOST:PORT>', 'address of the key service', '127.0.0.1:7373')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
    });
  try {
    command.parse([...argv], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  return { directory: command.args[0], flags: command.opts<PlayFlags>() };
}
