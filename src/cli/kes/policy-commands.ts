// `kes policy …`: who may do what. Policies come from the configuration of the server and are shown only.

import type { KesDocument } from '../../wire/kes-answers.ts';
import type { KesCall, KesCommand } from './command.ts';
import { argOf, colorFlag, explained, insecureFlag, jsonFlag, withClient } from './command.ts';
import { printNames } from './list-commands.ts';
import { formatTime, type Output, printRows } from './output.ts';

/** All commands of the group, in the order of the help. */
export const policyCommands: readonly KesCommand[] = [
  {
    words: 'policy ls',
    argsHelp: '[PATTERN]',
    help: 'List policies',
    flags: [insecureFlag, jsonFlag, colorFlag],
    required: [],
    argsMax: 1,
    run: listPolicies,
  },
  {
    words: 'policy info',
    argsHelp: 'NAME',
    help: 'Show when a policy was made and by whom',
    flags: [insecureFlag, jsonFlag, colorFlag],
    required: ['policy name'],
    run: describePolicy,
  },
  {
    words: 'policy show',
    argsHelp: 'NAME',
    help: 'Show what a policy allows and denies',
    flags: [insecureFlag, jsonFlag],
    required: ['policy name'],
    run: showPolicy,
  },
];

async function listPolicies(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const prefix = argOf(call, 0).replace(/\*$/, '');
    const found = client.listPolicies(prefix, { signal: call.io.signal });
    printNames(call, 'Policy', await explained('failed to list policies', found));
  });
}

async function describePolicy(call: KesCall): Promise<void> {
  const name = argOf(call, 0);
  await withClient(call, async (client) => {
    const described = client.describePolicy(name, { signal: call.io.signal });
    const info = await explained(`failed to describe policy '${name}'`, described);
    const [createdAt, createdBy] = [info['created_at'], textOf(info['created_by'])];
    if (call.flags.switches.has('json')) {
      const shown = { name, created_at: createdAt, created_by: createdBy };
      call.output.json(shown, { isIndented: true });
      return;
    }
    printRows(call.output, [
      ['Name', name],
      ['Date', formatTime(createdAt)],
      ['Owner', createdBy],
    ]);
  });
}

async function showPolicy(call: KesCall): Promise<void> {
  const name = argOf(call, 0);
  const { output } = call;
  await withClient(call, async (client) => {
    const read = client.readPolicy(name, { signal: call.io.signal });
    const policy = await explained(`failed to show policy '${name}'`, read);
    if (output.isTerminal && !call.flags.switches.has('json')) {
      printRules(output, policy);
      return;
    }
    const { allow, deny, created_at: createdAt, created_by: createdBy } = policy;
    output.json(
      {
        ...(patternsOf(allow).length > 0 && { allow }),
        ...(patternsOf(deny).length > 0 && { deny }),
        created_at: createdAt,
        ...(textOf(createdBy) !== '' && { created_by: createdBy }),
      },
      { isIndented: true },
    );
  });
}

/** What is allowed and what is denied, a pattern a line; nothing for a document without rules. */
export function printRules(output: Output, policy: KesDocument): void {
  const lists = [
    ['Allow', patternsOf(policy['allow']), output.good],
    ['Deny', patternsOf(policy['deny']), output.bad],
  ] as const;
  for (const [heading, patterns, color] of lists) {
    if (patterns.length === 0) continue;
    output.line(output.bold(heading));
    for (const pattern of patterns) output.line(`  ${color('·')} ${pattern}`);
  }
}

function patternsOf(rules: unknown): string[] {
  return typeof rules === 'object' && rules !== null ? Object.keys(rules).toSorted() : [];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
