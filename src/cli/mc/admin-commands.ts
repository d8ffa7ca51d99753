// The table of `admin` commands.

import { flag, option } from './command-spec.ts';
import type { CommandSpec } from './command-spec.ts';

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

/** Commands below `admin`. */
export const adminCommands: readonly CommandSpec[] = [
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
