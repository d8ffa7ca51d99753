import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { parseEnvFile, readEnvironment } from './env-file.ts';
import { parseSettings, SettingsError } from './settings.ts';
import { makeTestDirectory } from './test-support.ts';

void test('root credentials come from the files that the settings name', () => {
  using directory = makeTestDirectory();
  const user = join(directory.path, 'user');
  const password = join(directory.path, 'password');
  writeFileSync(user, 'admin\n');
  writeFileSync(password, 'pass word 1\r\n');
  const env = { MINIO_ROOT_USER_FILE: user, MINIO_ROOT_PASSWORD_FILE: password };
  const read = readEnvironment({ ...env, OTHER: 'x' }, undefined);
  assert.deepEqual(read, {
    OTHER: 'x',
    MINIO_ROOT_USER: 'admin',
    MINIO_ROOT_PASSWORD: 'pass word 1',
  });
  assert.deepEqual(parseSettings(read).rootCredentials, {
    accessKey: 'admin',
    secretKey: 'pass word 1',
  });
  const mixed = readEnvironment(
    { MINIO_ROOT_USER: 'someone', MINIO_ROOT_USER_FILE: '', MINIO_ROOT_PASSWORD_FILE: password },
    undefined,
  );
  assert.equal(parseSettings(mixed).rootCredentials?.accessKey, 'someone');

  for (const [wrong, message] of [
    [{ ...env, MINIO_ROOT_USER: 'a' }, /MINIO_ROOT_USER and MINIO_ROOT_USER_FILE.*only one/],
    [{ ...env, MINIO_ROOT_PASSWORD: 'hunter2hunter2' }, /MINIO_ROOT_PASSWORD_FILE.*only one/],
    [{ ...env, MINIO_ROOT_USER_FILE: '/nowhere/user' }, /MINIO_ROOT_USER_FILE.*\(ENOENT\)/],
    [{ ...env, MINIO_ROOT_PASSWORD_FILE: directory.path }, /MINIO_ROOT_PASSWORD_FILE.*\(EISDIR\)/],
  ] as const) {
    assert.throws(
      () => readEnvironment(wrong, undefined),
      (error: Error) => message.test(error.message) && !error.message.includes('hunter2'),
    );
  }
  writeFileSync(password, '\n');
  assert.throws(() => readEnvironment(env, undefined), /MINIO_ROOT_PASSWORD_FILE.*empty/);
  const file = join(directory.path, 'env');
  writeFileSync(password, 'from-file-1');
  writeFileSync(file, `MINIO_ROOT_PASSWORD_FILE=${password}\n`);
  assert.equal(readEnvironment({}, file)['MINIO_ROOT_PASSWORD'], 'from-file-1');
});

void test('reads the forms that shells and service managers write', () => {
  const text = [
    '# comment',
    '',
    'MINIO_ROOT_USER=admin',
    'export MINIO_ROOT_PASSWORD="pass word#1"',
    '  export  A=\'single "quoted"\'  # comment',
    'B = spaced ',
    'C=a=b=c',
    'D=',
    'E=plain # comment',
    'F=no#comment',
    'A2=x\r',
    'MINIO_ROOT_USER=later',
  ].join('\n');
  assert.deepEqual(parseEnvFile(text, 'file'), {
    MINIO_ROOT_USER: 'later',
    MINIO_ROOT_PASSWORD: 'pass word#1',
    A: 'single "quoted"',
    B: 'spaced',
    C: 'a=b=c',
    D: '',
    E: 'plain',
    F: 'no#comment',
    A2: 'x',
  });
});

void test('a malformed line is refused by number, without its text', () => {
  for (const line of ['no equals sign', '1X=y', 'X="open', "X='a'b"]) {
    assert.throws(
      () => parseEnvFile(`A=1\n${line}`, 'conf'),
      (error: Error) =>
        error instanceof SettingsError &&
        error.message.startsWith('conf, line 2') &&
        !error.message.includes(line),
    );
  }
});

void test('values of the file win over the environment, the flag over MINIO_CONFIG_ENV_FILE', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'coffer-env-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'a'), 'X=file-a\nY=1');
  writeFileSync(join(dir, 'b'), 'X=file-b');
  const env = { X: 'env', Z: 'env', MINIO_CONFIG_ENV_FILE: join(dir, 'a'), U: undefined };
  assert.equal(readEnvironment(env, undefined)['X'], 'file-a');
  assert.equal(readEnvironment(env, undefined)['Z'], 'env');
  assert.equal(readEnvironment(env, join(dir, 'b'))['X'], 'file-b');
  assert.equal(readEnvironment({ X: 'env' }, undefined)['X'], 'env');
});

void test('a missing file is an error that names it', () => {
  assert.throws(() => readEnvironment({}, '/nowhere/env'), /\/nowhere\/env \(ENOENT\)/);
});
