// `kes ls` and what the other listings share: a heading and bare names, one a line, so that the first
// column is always a name. Nothing at all when there are none.

import { kesKeyStateOf, type KesNames } from '../../wire/kes-client.ts';
import type { KesCall, KesCommand } from './command.ts';
import { argOf, explained, insecureFlag, jsonFlag, withClient } from './command.ts';
import type { FlagSpec } from './flags.ts';

/** `kes ls`. */
export const listCommands: readonly KesCommand[] = [
  {
    words: 'ls',
    argsHelp: '[PREFIX]',
    help: 'List keys, identities or policies',
    flags: [
      { name: 'api-key', short: 'a', kind: 'text', value: 'KEY', help: 'API key to use' },
      { name: 'server', short: 's', kind: 'text', value: 'HOST', help: 'Server to ask' },
      jsonFlag,
      { name: 'identity', short: 'i', kind: 'switch', help: 'List identities' },
      { name: 'policy', short: 'p', kind: 'switch', help: 'List policies' },
      insecureFlag,
    ],
    required: [],
    argsMax: 1,
    run: listAnything,
  },
];

async function listAnything(call: KesCall): Promise<void> {
  const prefix = argOf(call, 0).replace(/\*$/, '');
  const { switches } = call.flags;
  const options = { signal: call.io.signal };
  await withClient(call, async (client) => {
    if (switches.has('identity')) {
      const found = client.listIdentities(prefix, options);
      printNames(call, 'Identity', await explained('failed to list identities', found));
    } else if (switches.has('policy')) {
      const found = client.listPolicies(prefix, options);
      printNames(call, 'Policy', await explained('failed to list policies', found));
    } else {
      const found = client.listKeys(prefix, options);
      printNames(call, 'Key', await explained('failed to list keys', found));
    }
  });
}

/** Shows the state of each key where a bare list would not. */
export const statesFlag: FlagSpec = {
  name: 'states',
  kind: 'switch',
  help: 'Show the state of every key, also to a script',
};

/**
 * A heading and the names. On a terminal a key that is not enabled has its state behind its name; scripts
 * see that, or with `--json` an object for each name, only with `--states`.
 */
export function printNames(call: KesCall, heading: string, found: KesNames): void {
  const { output, flags } = call;
  const isAsked = flags.switches.has('states');
  if (flags.switches.has('json')) {
    const states = () => found.names.map((name) => ({ name, state: kesKeyStateOf(found, name) }));
    output.json(isAsked ? states() : found.names);
    return;
  }
  if (found.names.length === 0) return;
  output.line(output.bold(heading));
  for (const name of found.names) {
    const state = kesKeyStateOf(found, name);
    const isShown = isAsked || (output.isTerminal && state !== 'enabled');
    output.line(isShown ? `${name}  ${output.faint(state)}` : name);
  }
}
