// `kes …` in the program: the commands that only the whole of it has, because they run the service or open
// key stores themselves, as rows of the client's table. Each is loaded when it is called.

import type { CliIo } from '../../cli/io.ts';
import type { KesTableRow } from '../../cli/kes/command.ts';
import { runKes } from '../../cli/kes/main.ts';

/** They come before the client's commands in the help. */
export const kesServerCommands: readonly KesTableRow[] = [
  {
    words: 'server',
    argsHelp: '',
    help: 'Run the key service',
    flags: [
      { name: 'addr', kind: 'text', value: 'IP:PORT', help: 'Address to listen on' },
      { name: 'config', kind: 'text', value: 'FILE', help: 'Configuration file' },
      { name: 'dev', kind: 'switch', help: 'Keys in memory, a fresh API key' },
    ],
    runRaw: async (argv, io) => (await import('./server.ts')).runKesServer(argv, io),
  },
  {
    words: 'init',
    argsHelp: '[DIR]',
    help: 'Make a configuration, a certificate and an admin API key for a first server',
    flags: [
      { name: 'addr', kind: 'text', value: 'IP:PORT', help: 'Address to listen on (0.0.0.0:7373)' },
      { name: 'ip', kind: 'list', value: 'IP', help: 'Add an IP address to the certificate' },
      { name: 'dns', kind: 'list', value: 'NAME', help: 'Add a DNS name to the certificate' },
      { name: 'expiry', kind: 'text', value: 'DURATION', help: 'How long it is valid (87600h)' },
      { name: 'force', short: 'f', kind: 'switch', help: 'Overwrite existing files' },
    ],
    required: [],
    argsMax: 1,
    run: async (call) => (await import('./init.ts')).initServer(call),
  },
  {
    words: 'migrate',
    argsHelp: '[PATTERN]',
    help: 'Copy keys from one key store to another, without a server',
    flags: [
      { name: 'from', kind: 'text', value: 'FILE', help: 'Configuration with the source' },
      { name: 'to', kind: 'text', value: 'FILE', help: 'Configuration with the target' },
      { name: 'force', short: 'f', kind: 'switch', help: 'Replace keys that the target has' },
      { name: 'merge', kind: 'switch', help: 'Keep keys that the target has' },
      { name: 'server', short: 's', kind: 'text' },
      { name: 'enclave', short: 'e', kind: 'text' },
      { name: 'api-key', short: 'a', kind: 'text' },
      { name: 'insecure', short: 'k', kind: 'switch' },
    ],
    required: [],
    argsMax: 1,
    run: async (call) => (await import('./migrate.ts')).migrateKeyStore(call),
  },
  {
    words: 'key backup',
    argsHelp: '',
    help: 'Write all keys of a key store into one encrypted file',
    flags: [
      { name: 'config', kind: 'text', value: 'FILE', help: 'Configuration of the key service' },
      { name: 'out', kind: 'text', value: 'FILE', help: 'File to write; it must not exist' },
      { name: 'recipient', kind: 'list', value: 'AGE', help: 'Who can open it; may be repeated' },
      {
        name: 'shares',
        kind: 'text',
        value: 'K/N',
        help: 'Print N shares, any K of which open it',
      },
    ],
    runRaw: async (argv, io) => (await import('./backup.ts')).runKesKeyBackup(argv, io),
  },
  {
    words: 'key restore',
    argsHelp: '',
    help: 'Put the keys of a backup into a key store',
    flags: [
      { name: 'config', kind: 'text', value: 'FILE', help: 'Configuration of the key service' },
      { name: 'in', kind: 'text', value: 'FILE', help: 'The backup' },
      { name: 'identity', kind: 'list', value: 'FILE', help: 'Age identity that opens it' },
      { name: 'share', kind: 'list', value: 'SHARE', help: 'One share; may be repeated' },
      { name: 'share-file', kind: 'list', value: 'FILE', help: 'File with shares, one a line' },
      { name: 'force', kind: 'switch', help: 'Replace keys that are different' },
      { name: 'merge', kind: 'switch', help: 'Leave keys that are different as they are' },
      { name: 'verify-only', kind: 'switch', help: 'Check the backup and change nothing' },
    ],
    runRaw: async (argv, io) => (await import('./backup.ts')).runKesKeyRestore(argv, io),
  },
  {
    words: 'log verify',
    argsHelp: 'FILE...',
    help: 'Check an audit log: every line, every hash, every signature',
    flags: [
      { name: 'key', kind: 'list', value: 'FILE', help: 'Public key that must have signed' },
      { name: 'json', kind: 'switch', help: 'Print JSON' },
    ],
    runRaw: async (argv, io) => (await import('./log-verify.ts')).runKesLogVerify(argv, io),
  },
];

/** Runs one command line without the leading `kes`; the result is the exit code. */
export function runKesProgram(argv: readonly string[], io: CliIo): Promise<number> {
  return runKes(argv, io, kesServerCommands);
}
