// The environment file: settings in a file that is read at start and again at every restart, so that an
// edit followed by `mc admin service restart` takes effect. Lines are `NAME=value` or `export NAME=value`.
// Rule: the values of the file win over the environment of the process.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { SettingsError } from './settings.ts';

const fileBytesMax = 1024 * 1024;

/**
 * Lays the file over the environment, and the files of secrets over both: the result has `MINIO_ROOT_USER` where
 * `MINIO_ROOT_USER_FILE` was. `path` undefined or empty: no file. Throws `SettingsError`, never with a value.
 */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  path: string | undefined,
): Record<string, string> {
  const merged: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined) merged[name] = value;
  }
  const file = path ?? env['MINIO_CONFIG_ENV_FILE'] ?? '';
  if (file !== '') Object.assign(merged, parseEnvFile(readText(file), file));
  for (const name of ['MINIO_ROOT_USER', 'MINIO_ROOT_PASSWORD']) readSecretFile(merged, name);
  return merged;
}

/** Where containers find their secrets: the folder of names without a path. */
const secretsDirectory = '/run/secrets';

/** Replaces `NAME_FILE` by `NAME` with what the file holds, without the line end. */
function readSecretFile(values: Record<string, string>, name: string): void {
  const setting = `${name}_FILE`;
  const file = values[setting]?.trim() ?? '';
  delete values[setting];
  if (file === '') return;
  if ((values[name] ?? '') !== '') {
    throw new SettingsError(
      'invalid-setting',
      `${name} and ${setting} are both set: set only one of them`,
    );
  }
  const path = [file, join(secretsDirectory, file)].find((each) => existsSync(each)) ?? file;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    throw new SettingsError(
      'invalid-setting',
      `cannot read the file ${file} that ${setting} names (${reason}): create it or correct the setting`,
      { cause: error },
    );
  }
  const value = text.replace(/[\r\n]+$/, '');
  if (value === '') {
    throw new SettingsError('invalid-setting', `the file ${file} that ${setting} names is empty`);
  }
  values[name] = value;
}

/**
 * Parses the text of an environment file. Comment lines start with `#`; a value may stand in single or
 * double quotes, of which one pair is removed; nothing is expanded. A later line wins. Throws
 * `SettingsError` with the line's number, never its value.
 */
export function parseEnvFile(text: string, file: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/^\uFEFF/, '').trim();
    if (line === '' || line.startsWith('#')) continue;
    const match = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$/s.exec(line);
    if (!match?.[1]) {
      throw new SettingsError(
        'env-file',
        `${file}, line ${index + 1}: not of the form NAME=value or export NAME=value`,
      );
    }
    values[match[1]] = unquote(match[2] ?? '', { file, line: index + 1 });
  }
  return values;
}

function unquote(value: string, place: { readonly file: string; readonly line: number }): string {
  const quote = value[0];
  if (quote !== '"' && quote !== "'") return value.replace(/\s+#.*$/, '');
  const end = value.indexOf(quote, 1);
  const rest = end < 0 ? '' : value.slice(end + 1).trim();
  if (end < 0 || (rest !== '' && !rest.startsWith('#'))) {
    throw new SettingsError(
      'env-file',
      `${place.file}, line ${place.line}: the quotes around the value do not match`,
    );
  }
  return value.slice(1, end);
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length > fileBytesMax) {
      throw new SettingsError('env-file', `${file} is larger than ${fileBytesMax} bytes`);
    }
    return bytes.toString('utf8');
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    throw new SettingsError(
      'env-file',
      `cannot read the environment file ${file} (${reason}): create it or correct --env-file / MINIO_CONFIG_ENV_FILE`,
      { cause: error },
    );
  }
}
