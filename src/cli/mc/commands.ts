// The table of commands: names, arguments, flags, and the file that runs each. Help and dispatch read it,
// and the reference page is checked against it.

import type { FlagSpec } from './args.ts';
import type { McContext } from './context.ts';
import {
  attrFlag,
  checksumOption,
  copyFlags,
  customerKeyFlag,
  encryptionFlags,
  newerThanFlag,
  olderThanFlag,
  partFlags,
  recursiveFlag,
  storageClassFlag,
  tagsFlag,
  versionIdFlag,
} from './flags.ts';

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

const many = 1_000_000;
const flag = (name: string, help: string, aliases: readonly string[] = []): FlagSpec => ({
  name,
  help,
  kind: 'boolean',
  aliases,
});
const option = (
  name: string,
  help: string,
  more: { aliases?: readonly string[]; kind?: 'text' | 'number' | 'list' } = {},
): FlagSpec => ({ name, help, kind: more.kind ?? 'text', aliases: more.aliases ?? [] });

const aliasCommands: readonly CommandSpec[] = [
  {
    name: 'set',
    aliases: ['s'],
    summary: 'store a server and its keys',
    usage: 'ALIAS URL [ACCESSKEY [SECRETKEY]]',
    argsMin: 2,
    argsMax: 4,
    flags: [
      option('api', 'signature: s3v4; skips the test of the keys'),
      option('path', 'bucket in the path: auto, on or off'),
    ],
    load: async () => (await import('./commands/alias.ts')).runAliasSet,
  },
  {
    name: 'list',
    aliases: ['ls'],
    summary: 'show stored servers',
    usage: '[ALIAS]',
    argsMin: 0,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/alias.ts')).runAliasList,
  },
  {
    name: 'remove',
    aliases: ['rm'],
    summary: 'forget a server',
    usage: 'ALIAS',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/alias.ts')).runAliasRemove,
  },
  {
    name: 'import',
    aliases: ['i'],
    summary: 'store a server from JSON',
    usage: 'ALIAS [FILE]',
    argsMin: 1,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/alias.ts')).runAliasImport,
  },
  {
    name: 'export',
    aliases: ['e'],
    summary: 'print a server as JSON',
    usage: 'ALIAS',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/alias.ts')).runAliasExport,
  },
];

const encryptCommands: readonly CommandSpec[] = [
  {
    name: 'set',
    summary: 'encrypt new objects of a bucket by default',
    usage: 'sse-s3|sse-kms [KEY] TARGET',
    argsMin: 2,
    argsMax: 3,
    flags: [],
    load: async () => (await import('./commands/encrypt.ts')).runEncryptSet,
  },
  {
    name: 'clear',
    summary: 'remove the default encryption',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/encrypt.ts')).runEncryptClear,
  },
  {
    name: 'info',
    summary: 'show the default encryption',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/encrypt.ts')).runEncryptInfo,
  },
];

const serviceCommands: readonly CommandSpec[] = [
  {
    name: 'restart',
    summary: 'restart the server; its environment file is read again',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      flag('wait', 'wait until the server is ready', ['w']),
      flag('dry-run', 'only ask'),
      option('wait-timeout', 'how long --wait waits (default 5m)'),
    ],
    load: async () => (await import('./commands/admin-service.ts')).runServiceRestart,
  },
  {
    name: 'unfreeze',
    summary: 'let S3 requests go on',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/admin-service.ts')).runServiceUnfreeze,
  },
  {
    name: 'stop',
    summary: 'stop the server',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/admin-service.ts')).runServiceStop,
  },
  {
    name: 'freeze',
    summary: 'hold S3 requests back',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/admin-service.ts')).runServiceFreeze,
  },
];

const keyCommands: readonly CommandSpec[] = [
  {
    name: 'create',
    summary: 'create a master key',
    usage: 'TARGET KEY',
    argsMin: 2,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/admin-kms.ts')).runKeyCreate,
  },
  {
    name: 'status',
    summary: 'test a master key',
    usage: 'TARGET [KEY]',
    argsMin: 1,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/admin-kms.ts')).runKeyStatus,
  },
  {
    name: 'list',
    summary: 'show the master keys',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/admin-kms.ts')).runKeyList,
  },
  {
    name: 'info',
    summary: 'show what a master key protects',
    usage: 'TARGET KEY',
    argsMin: 2,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/admin-kms.ts')).runKeyInfo,
  },
];

const adminCommands: readonly CommandSpec[] = [
  { name: 'service', summary: 'restart or stop a server', commands: serviceCommands },
  {
    name: 'info',
    summary: 'show a server and its drives',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [flag('offline', 'only what is offline')],
    load: async () => (await import('./commands/admin-info.ts')).runAdminInfo,
  },
  {
    name: 'kms',
    summary: 'manage the key service behind a server',
    commands: [{ name: 'key', summary: 'manage master keys', commands: keyCommands }],
  },
];

/** Every command, in the order of the help. */
export const commands: readonly CommandSpec[] = [
  { name: 'alias', summary: 'manage servers and their keys', commands: aliasCommands },
  { name: 'admin', summary: 'manage servers', commands: adminCommands },
  {
    name: 'cp',
    summary: 'copy objects and files',
    usage: 'SOURCE [SOURCE...] TARGET',
    argsMin: 2,
    argsMax: many,
    flags: [...copyFlags, versionIdFlag],
    load: async () => (await import('./commands/copy.ts')).runCp,
  },
  {
    name: 'cat',
    summary: 'print objects',
    usage: 'TARGET [TARGET...]',
    argsMin: 1,
    argsMax: many,
    flags: [
      versionIdFlag,
      option('offset', 'first byte', { kind: 'number' }),
      option('tail', 'only so many bytes at the end', { kind: 'number' }),
      option('part-number', 'only one part', { kind: 'number' }),
      customerKeyFlag,
    ],
    load: async () => (await import('./commands/read.ts')).runCat,
  },
  {
    name: 'diff',
    summary: 'compare two places',
    usage: 'FIRST SECOND',
    argsMin: 2,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/mirror.ts')).runDiff,
  },
  {
    name: 'du',
    summary: 'sum up sizes',
    usage: 'TARGET [TARGET...]',
    argsMin: 1,
    argsMax: many,
    flags: [
      option('depth', 'levels of folders to show (default 1)', { aliases: ['d'], kind: 'number' }),
      recursiveFlag,
      flag('versions', 'count all versions'),
    ],
    load: async () => (await import('./commands/du.ts')).runDu,
  },
  {
    name: 'encrypt',
    summary: 'manage the default encryption of buckets',
    commands: encryptCommands,
  },
  {
    name: 'find',
    summary: 'search objects and files',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      option('name', 'pattern of the last segment'),
      option('path', 'pattern of the whole path'),
      option('regex', 'regular expression of the whole path'),
      option('ignore', 'pattern to leave out'),
      option('larger', 'larger than, for example 64MiB'),
      option('smaller', 'smaller than'),
      newerThanFlag,
      olderThanFlag,
      option('maxdepth', 'levels to go down', { kind: 'number' }),
      option('print', 'format: {} {base} {dir} {size} {time} {url}'),
      option('exec', 'run a command for each, same placeholders'),
    ],
    load: async () => (await import('./commands/find.ts')).runFind,
  },
  {
    name: 'get',
    summary: 'get an object into a file',
    usage: 'SOURCE TARGET',
    argsMin: 2,
    argsMax: 2,
    flags: [customerKeyFlag, versionIdFlag],
    load: async () => (await import('./commands/read.ts')).runGet,
  },
  {
    name: 'head',
    summary: 'print the first lines of objects',
    usage: '[TARGET...]',
    argsMin: 1,
    argsMax: many,
    flags: [
      option('lines', 'how many lines (default 10)', { aliases: ['n'], kind: 'number' }),
      versionIdFlag,
      customerKeyFlag,
    ],
    load: async () => (await import('./commands/read.ts')).runHead,
  },
  {
    name: 'ls',
    summary: 'list buckets and objects',
    usage: '[TARGET...]',
    argsMin: 0,
    argsMax: many,
    flags: [
      flag('versions', 'all versions'),
      recursiveFlag,
      flag('incomplete', 'uploads that were not finished', ['I']),
      flag('summarize', 'add a total'),
      storageClassFlag,
    ],
    load: async () => (await import('./commands/ls.ts')).runLs,
  },
  {
    name: 'mb',
    summary: 'make a bucket',
    usage: 'TARGET [TARGET...]',
    argsMin: 1,
    argsMax: many,
    flags: [
      option('region', 'region of the bucket'),
      flag('ignore-existing', 'no error when it exists', ['p']),
      flag('with-lock', 'with object lock', ['l']),
      flag('with-versioning', 'with versioning'),
    ],
    load: async () => (await import('./commands/buckets.ts')).runMb,
  },
  {
    name: 'mirror',
    summary: 'make one place like another',
    usage: 'SOURCE TARGET',
    argsMin: 2,
    argsMax: 2,
    flags: [
      flag('overwrite', 'replace what differs'),
      flag('remove', 'remove what the source has not'),
      flag('dry-run', 'only show what would be done', ['fake']),
      option('exclude', 'pattern of names to leave out', { kind: 'list' }),
      option('region', 'region of new buckets'),
      flag('skip-errors', 'go on after errors'),
      flag('watch', 'not available', ['w']),
      flag('active-active', 'not available'),
      ...copyFlags.filter((spec) => spec.name !== 'recursive'),
    ],
    load: async () => (await import('./commands/mirror.ts')).runMirror,
  },
  {
    name: 'mv',
    summary: 'move objects and files',
    usage: 'SOURCE [SOURCE...] TARGET',
    argsMin: 2,
    argsMax: many,
    flags: copyFlags,
    load: async () => (await import('./commands/copy.ts')).runMv,
  },
  {
    name: 'ping',
    summary: 'see whether a server is alive',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      option('count', 'how often (default: until stopped)', { aliases: ['c'], kind: 'number' }),
      option('error-count', 'stop after so many errors', { aliases: ['e'], kind: 'number' }),
      flag('exit', 'stop after the first success', ['x']),
      option('interval', 'seconds between two (default 1)', { aliases: ['i'], kind: 'number' }),
    ],
    load: async () => (await import('./commands/health.ts')).runPing,
  },
  {
    name: 'pipe',
    summary: 'write standard input to an object',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      storageClassFlag,
      attrFlag,
      tagsFlag,
      option('concurrent', 'parts at a time (default 1)', { kind: 'number' }),
      option('part-size', 'bytes per part; grows by itself when left out'),
      checksumOption,
      ...encryptionFlags,
    ],
    load: async () => (await import('./commands/write.ts')).runPipe,
  },
  {
    name: 'put',
    summary: 'upload a file',
    usage: 'SOURCE TARGET',
    argsMin: 1,
    argsMax: many,
    flags: [
      ...partFlags,
      flag('disable-multipart', 'upload in one request'),
      storageClassFlag,
      attrFlag,
      tagsFlag,
      checksumOption,
      ...encryptionFlags,
    ],
    load: async () => (await import('./commands/write.ts')).runPut,
  },
  {
    name: 'rm',
    summary: 'remove objects and files',
    usage: 'TARGET [TARGET...]',
    argsMin: 0,
    argsMax: many,
    flags: [
      flag('versions', 'all versions'),
      recursiveFlag,
      flag('force', 'needed to remove recursively'),
      flag('dangerous', 'needed to remove everything on a server'),
      versionIdFlag,
      flag('incomplete', 'uploads that were not finished', ['I']),
      flag('dry-run', 'only show what would be removed', ['fake']),
      flag('stdin', 'read names from standard input'),
      olderThanFlag,
      newerThanFlag,
      flag('bypass', 'bypass governance retention'),
      flag('non-current', 'only versions that are not the current one'),
    ],
    load: async () => (await import('./commands/rm.ts')).runRm,
  },
  {
    name: 'rb',
    summary: 'remove a bucket',
    usage: 'TARGET [TARGET...]',
    argsMin: 1,
    argsMax: many,
    flags: [
      flag('force', 'with everything in it'),
      flag('dangerous', 'needed to remove all buckets of a server'),
    ],
    load: async () => (await import('./commands/buckets.ts')).runRb,
  },
  {
    name: 'ready',
    summary: 'wait until a server is ready',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      flag('cluster-read', 'ready for reading is enough'),
      flag('maintenance', 'ask whether the server may be taken down'),
    ],
    load: async () => (await import('./commands/health.ts')).runReady,
  },
  {
    name: 'stat',
    summary: 'show what is known about objects and buckets',
    usage: 'TARGET [TARGET...]',
    argsMin: 1,
    argsMax: many,
    flags: [
      versionIdFlag,
      recursiveFlag,
      flag('no-list', 'look at the object without a listing'),
      flag('verbose', 'accepted', ['v']),
      customerKeyFlag,
    ],
    load: async () => (await import('./commands/stat.ts')).runStat,
  },
  {
    name: 'tree',
    summary: 'draw folders as a tree',
    usage: '[TARGET...]',
    argsMin: 0,
    argsMax: many,
    flags: [
      flag('files', 'with files', ['f']),
      option('depth', 'levels to show', { aliases: ['d'], kind: 'number' }),
    ],
    load: async () => (await import('./commands/tree.ts')).runTree,
  },
];

/** Commands of the reference that this program does not have (yet), to say so by name. */
export const missingCommands: ReadonlySet<string> = new Set(
  'anonymous batch cors event idp ilm legalhold license od quota replicate retention share sql support tag undo update version watch user group policy accesskey config decommission heal prometheus scanner top trace cluster rebalance logs'.split(
    ' ',
  ),
);
