// The table of `ilm rule` commands.

import { flag, option } from './command-spec.ts';
import type { CommandSpec } from './command-spec.ts';

/** What `ilm rule` holds. */
export const ruleCommands: readonly CommandSpec[] = [
  {
    name: 'add',
    summary: 'let objects of a bucket expire',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      option('prefix', 'only objects whose names begin with this'),
      option('tags', 'only objects with these tags: k=v&k=v'),
      option('size-lt', 'only objects smaller than, for example 10MiB'),
      option('size-gt', 'only objects larger than'),
      option('expire-days', 'days after which an object expires'),
      flag('expire-delete-marker', 'remove delete markers that hide nothing'),
      option('noncurrent-expire-days', 'days after which a replaced version is removed'),
      option('noncurrent-expire-newer', 'replaced versions to keep', { kind: 'number' }),
    ],
    load: async () => (await import('./commands/ilm.ts')).runRuleAdd,
  },
  {
    name: 'list',
    aliases: ['ls'],
    summary: 'show the rules of a bucket',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      flag('expiry', 'only what expires'),
      flag('transition', 'only what moves to other storage: nothing'),
    ],
    load: async () => (await import('./commands/ilm.ts')).runRuleList,
  },
  {
    name: 'remove',
    aliases: ['rm'],
    summary: 'remove a rule, or all of them',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [
      option('id', 'id of the rule'),
      flag('all', 'all rules, with --force'),
      flag('force', 'needed for --all'),
    ],
    load: async () => (await import('./commands/ilm.ts')).runRuleRemove,
  },
  {
    name: 'export',
    summary: 'print the rules of a bucket as JSON',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/ilm.ts')).runRuleExport,
  },
  {
    name: 'import',
    summary: 'replace the rules of a bucket by those of standard input',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/ilm.ts')).runRuleImport,
  },
];
