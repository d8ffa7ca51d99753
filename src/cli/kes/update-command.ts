// `kes update`: says how to bring this program up to date. It downloads nothing itself: what it runs from is
// a checkout or a package, and both have a program of their own for that.

import type { KesCall, KesCommand } from './command.ts';
import { insecureFlag } from './command.ts';
import type { Output } from './output.ts';
import { printRows } from './output.ts';
import { installFolder, installKind, readVersion } from './version-info.ts';

/** `kes update`; the flags of the reference are accepted and change nothing. */
export const updateCommands: readonly KesCommand[] = [
  {
    words: 'update',
    argsHelp: '[VERSION]',
    help: 'Say how to update this program',
    flags: [
      { name: 'downgrade', short: 'd', kind: 'switch' },
      { name: 'output', short: 'o', kind: 'text' },
      { name: 'os', kind: 'text' },
      { name: 'arch', kind: 'text' },
      { name: 'minisign-key', kind: 'text' },
      { name: insecureFlag.name, short: 'k', kind: 'switch' },
    ],
    required: [],
    argsMax: 1,
    run: sayHow,
  },
];

async function sayHow(call: KesCall): Promise<void> {
  const { output } = call;
  const folder = installFolder();
  const version = call.flags.args[0];
  printRows(output, [
    ['Version', readVersion()],
    ['Installed', folder],
  ]);
  output.line('');
  output.line('This program does not replace itself. To update it:');
  output.line('');
  for (const command of commandsFor(folder, version)) output.line(`   ${command}`);
  output.line('');
  printAfter(output);
}

function commandsFor(folder: string, version: string | undefined): string[] {
  const kind = installKind(folder);
  if (kind === 'package') return [`npm install --global coffer@${version ?? 'latest'}`];
  const change =
    version === undefined ? 'git pull --ff-only' : `git fetch && git checkout ${version}`;
  return [`cd ${folder}`, change, 'npm install'];
}

function printAfter(output: Output): void {
  output.line(
    'A running key service goes on as it is until it is started again. Everything that an',
  );
  output.line('earlier version wrote stays readable.');
}
