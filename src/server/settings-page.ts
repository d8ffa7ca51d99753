// The settings of the store as text: the help of `coffer server` and the reference page `docs/settings.md`, both
// made from the one table.

import { type Setting, settings } from './settings.ts';

/** The settings part of `coffer server --help`. */
export function formatSettingsHelp(): string {
  const lines: string[] = [];
  for (const group of groups()) {
    lines.push('', `${group}:`);
    for (const setting of settings.filter((each) => each.group === group)) {
      lines.push(`  ${setting.name}${setting.default === '' ? '' : ` (${setting.default})`}`);
      lines.push(`      ${setting.help}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The reference page `docs/settings.md`. A test compares the file with this text. */
export function formatSettingsPage(): string {
  const lines = [
    '# Settings of the store',
    '',
    'Settings are environment variables, or lines of the file that `--env-file` or `MINIO_CONFIG_ENV_FILE` names.',
    'In the file, lines are `NAME=value` or `export NAME=value`; values may stand in quotes; lines that start',
    'with `#` are comments. The file is read at start and again at every restart (`mc admin service restart`, `SIGHUP`),',
    'and **its values win** over the environment. Booleans are true for `1`, `t`, `true`, `on`, `enabled`, and false otherwise.',
    '',
    'This page is generated from the table in `src/server/settings.ts`.',
  ];
  for (const group of groups()) {
    lines.push('', `## ${group}`, '', '| name | type | default | meaning |', '|---|---|---|---|');
    for (const setting of settings.filter((each) => each.group === group)) {
      const type = setting.choices
        ? setting.choices.map((c) => `\`${c}\``).join(', ')
        : setting.type;
      const fallback = setting.default === '' ? '–' : `\`${setting.default}\``;
      lines.push(`| \`${setting.name}\` | ${type} | ${fallback} | ${setting.help} |`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function groups(): Setting['group'][] {
  return [...new Set(settings.map((setting) => setting.group))];
}
