import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';

import type { CommandSpec } from './command-spec.ts';
import { commands, missingCommands } from './commands.ts';

type Leaf = { readonly path: string; readonly command: CommandSpec };

function leaves(list: readonly CommandSpec[], above: readonly string[] = []): Leaf[] {
  return list.flatMap((command) => {
    const names = [...above, command.name];
    if ('commands' in command) return leaves(command.commands, names);
    return [{ path: names.join(' '), command }];
  });
}

const all = leaves(commands);

describe('the table of commands', () => {
  it('is what the reference page lists, name and arguments', async () => {
    const page = await readFile(new URL('../../../docs/mc.md', import.meta.url), 'utf8');
    const section = page.slice(page.indexOf('## Commands'), page.indexOf('## Configuration'));
    const listed = [...section.matchAll(/^\| `([^`]+)` \|/gm)].map((match) =>
      (match[1] ?? '').replaceAll('\\|', '|'),
    );
    const expected = all.map(({ path, command }) =>
      'usage' in command ? `${path} ${command.usage}` : path,
    );
    assert.deepEqual(listed.sort(), expected.sort());
  });

  it('loads a function for every command', async () => {
    for (const { path, command } of all) {
      if ('usage' in command) assert.equal(typeof (await command.load()), 'function', path);
    }
  });

  it('has no flag twice in one command, and no command that is also called missing', () => {
    for (const { path, command } of all) {
      if (!('usage' in command)) continue;
      const names = command.flags.flatMap((flag) => [flag.name, ...(flag.aliases ?? [])]);
      assert.deepEqual(names, [...new Set(names)], path);
      assert.equal(missingCommands.has(command.name), false, path);
    }
  });
});
