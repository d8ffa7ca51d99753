// The commands about versions: keeping them, and keeping them from being deleted.

import type { FlagSpec } from './args.ts';
import { type CommandSpec, flag } from './command-spec.ts';
import { recursiveFlag, versionIdFlag } from './flags.ts';

/** `mc version …` */
export const versionCommands: readonly CommandSpec[] = [
  {
    name: 'enable',
    summary: 'keep every version of the objects of a bucket',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/version.ts')).runVersionEnable,
  },
  {
    name: 'suspend',
    summary: 'keep no further versions',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/version.ts')).runVersionSuspend,
  },
  {
    name: 'info',
    summary: 'show whether versions are kept',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/version.ts')).runVersionInfo,
  },
];

const lockFlags: readonly FlagSpec[] = [
  recursiveFlag,
  versionIdFlag,
  flag('versions', 'all versions'),
];
const defaultFlag = flag('default', 'what new versions of the bucket get');

/** `mc retention …` */
export const retentionCommands: readonly CommandSpec[] = [
  {
    name: 'set',
    summary: 'protect versions from deletion for some time',
    usage: 'governance|compliance VALIDITY TARGET',
    argsMin: 3,
    argsMax: 3,
    flags: [...lockFlags, defaultFlag, flag('bypass', 'bypass governance retention')],
    load: async () => (await import('./commands/retention.ts')).runRetentionSet,
  },
  {
    name: 'clear',
    summary: 'protect versions no longer',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [...lockFlags, defaultFlag],
    load: async () => (await import('./commands/retention.ts')).runRetentionClear,
  },
  {
    name: 'info',
    summary: 'show until when versions are protected',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [...lockFlags, defaultFlag],
    load: async () => (await import('./commands/retention.ts')).runRetentionInfo,
  },
];

/** `mc legalhold …` */
export const legalHoldCommands: readonly CommandSpec[] = [
  {
    name: 'set',
    summary: 'protect versions from deletion until further notice',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [...lockFlags],
    load: async () => (await import('./commands/legalhold.ts')).runLegalHoldSet,
  },
  {
    name: 'clear',
    summary: 'end that',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [...lockFlags],
    load: async () => (await import('./commands/legalhold.ts')).runLegalHoldClear,
  },
  {
    name: 'info',
    summary: 'show whether versions are held',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [...lockFlags],
    load: async () => (await import('./commands/legalhold.ts')).runLegalHoldInfo,
  },
];
