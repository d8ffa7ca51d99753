// The table of `anonymous` commands.

import type { CommandSpec } from './command-spec.ts';
import { recursiveFlag } from './flags.ts';

/** Commands below `anonymous`. */
export const anonymousCommands: readonly CommandSpec[] = [
  {
    name: 'set',
    summary: 'let everybody download, upload, both (public) or nothing (private)',
    usage: 'PERMISSION TARGET',
    argsMin: 2,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/anonymous.ts')).runAnonymousSet,
  },
  {
    name: 'set-json',
    summary: 'set the policy of a bucket from a file',
    usage: 'FILE TARGET',
    argsMin: 2,
    argsMax: 2,
    flags: [],
    load: async () => (await import('./commands/anonymous.ts')).runAnonymousSetJson,
  },
  {
    name: 'get',
    summary: 'show what everybody may do',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/anonymous.ts')).runAnonymousGet,
  },
  {
    name: 'get-json',
    summary: 'show the policy of a bucket',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/anonymous.ts')).runAnonymousGetJson,
  },
  {
    name: 'list',
    summary: 'show the rules of a bucket, prefix by prefix',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [],
    load: async () => (await import('./commands/anonymous.ts')).runAnonymousList,
  },
  {
    name: 'links',
    summary: 'show the addresses of what everybody may download',
    usage: 'TARGET',
    argsMin: 1,
    argsMax: 1,
    flags: [recursiveFlag],
    load: async () => (await import('./commands/anonymous.ts')).runAnonymousLinks,
  },
];
