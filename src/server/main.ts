// The program. Finds the command in the first argument and hands the rest to it; each command is loaded
// only when it is asked for, so that `mc` and `kes` start fast. Called through a link named `kes` or
// `mc`, `bin/coffer` puts that name in front.

import type { CliIo } from '../cli/io.ts';

const usage = `coffer: an S3-compatible object store with its key service and client

  coffer server DIR     run the object store on a directory
  coffer kes ...        run the key service (kes server) or its client (kes key create NAME, ...)
  coffer mc ...         the client (mc ls ALIAS, mc encrypt set sse-s3 ALIAS/BUCKET, ...)
  coffer play           all of it on this machine with sandbox keys, to try it
  coffer --version      print the version
  coffer --help         print this

Each command has its own --help.
`;

/** Runs one command line and gives its exit code. */
export async function runCoffer(argv: readonly string[], io: CliIo): Promise<number> {
  const [command, ...rest] = argv;
  switch (command) {
    case 'server':
      return (await import('./server-command.ts')).runServer(rest, io);
    case 'worker':
      return (await import('./worker.ts')).runWorker();
    case 'kes':
      return (await import('./kes/commands.ts')).runKesProgram(rest, io);
    case 'mc':
      return (await import('../cli/mc/main.ts')).runMc(rest, io);
    case 'play':
      return (await import('./play.ts')).runPlay(rest, io);
    case '--version':
    case '-v':
    case 'version':
      io.stdout.write(`coffer version ${(await import('./version.ts')).readVersion()}\n`);
      return 0;
    case undefined:
    case '--help':
    case '-h':
    case 'help':
      io.stdout.write(usage);
      return command === undefined ? 1 : 0;
    default:
      io.stderr.write(`coffer: '${command}' is not a command. See 'coffer --help'.\n`);
      return 1;
  }
}

function isService([command, subcommand]: readonly string[]): boolean {
  return (
    command === 'server' || command === 'worker' || (command === 'kes' && subcommand === 'server')
  );
}

async function main(): Promise<void> {
  const abort = new AbortController();
  const isWorker = process.argv[2] === 'worker';
  if (!isWorker) {
    process.on('SIGINT', () => abort.abort('SIGINT'));
    process.on('SIGTERM', () => abort.abort('SIGTERM'));
  }
  const io: CliIo = {
    env: process.env,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    signal: abort.signal,
  };
  for (const stream of [process.stdout, process.stderr]) {
    // The reader of a pipe may leave early (`mc ls | head`): that ends a command, and it is no crash. A
    // service goes on without its log.
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      if (!isService(process.argv.slice(2))) process.exit(0);
    });
  }
  const code = await runCoffer(process.argv.slice(2), io);
  // A command is over when it returns: connections it left idle must not hold the process.
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
  process.exit(code);
}

if (import.meta.main) await main();
