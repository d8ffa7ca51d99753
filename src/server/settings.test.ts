import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { rootOwner } from '../iam/identity.ts';
import { parseKmsBoolean } from '../kms/config.ts';
import { findUnknownSettings, parseSettings, SettingsError, settings } from './settings.ts';
import { formatSettingsHelp, formatSettingsPage } from './settings-page.ts';

void test('the settings page is what the table says', () => {
  const file = new URL('../../docs/settings.md', import.meta.url);
  assert.equal(readFileSync(file, 'utf8'), formatSettingsPage());
});

void test('every setting is in the help, once, with one line', () => {
  const help = formatSettingsHelp().split('\n');
  const names = settings.map((setting) => setting.name);
  assert.equal(new Set(names).size, names.length);
  for (const setting of settings) {
    assert.ok(!setting.help.includes('\n'));
    assert.equal(help.filter((line) => line.trim().split(' ')[0] === setting.name).length, 1);
  }
});

void test('root user and password go together and have a least length', () => {
  const set = (user: string | undefined, password: string | undefined) =>
    parseSettings({
      ...(user === undefined ? {} : { MINIO_ROOT_USER: user }),
      ...(password === undefined ? {} : { MINIO_ROOT_PASSWORD: password }),
    }).rootCredentials;
  assert.deepEqual(set('admin', 'password1'), { accessKey: 'admin', secretKey: 'password1' });
  assert.equal(set(undefined, undefined), undefined);
  assert.equal(set('', ''), undefined);
  for (const [user, password] of [
    ['admin', undefined],
    [undefined, 'password1'],
    ['ad', 'password1'],
    ['admin', 'passwor'],
    ['ad min', 'password1'],
  ] as const) {
    assert.throws(() => set(user, password), SettingsError);
  }
});

void test('a wrong value is refused with its name and what is allowed', () => {
  assert.throws(() => parseSettings({ COFFER_WORKERS: 'two' }), /COFFER_WORKERS.*whole number/);
  assert.throws(() => parseSettings({ COFFER_WORKERS: '-1' }), /COFFER_WORKERS/);
  assert.throws(
    () => parseSettings({ MINIO_PROMETHEUS_AUTH_TYPE: 'none' }),
    /MINIO_PROMETHEUS_AUTH_TYPE.*jwt, public/,
  );
});

void test('a refused password is not in the message', () => {
  assert.throws(
    () => parseSettings({ MINIO_ROOT_USER: 'admin', MINIO_ROOT_PASSWORD: 'hunter2' }),
    (error: Error) => !error.message.includes('hunter2'),
  );
});

void test('booleans follow the documented words', () => {
  for (const yes of ['1', 't', 'T', 'true', 'TRUE', 'True', 'on', 'ON', 'On', 'enabled', 'ENABLED'])
    assert.equal(parseKmsBoolean(yes), true, yes);
  for (const no of ['0', 'off', 'tRUE', 'yes', '', 'maybe'])
    assert.equal(parseKmsBoolean(no), false, no);
});

void test('the newest name of the region wins', () => {
  const region = (env: Record<string, string>): string => parseSettings(env).region;
  assert.equal(region({}), '');
  assert.equal(region({ MINIO_REGION_NAME: 'a' }), 'a');
  assert.equal(region({ MINIO_REGION_NAME: 'a', MINIO_REGION: 'b' }), 'b');
  assert.equal(region({ MINIO_REGION: 'b', MINIO_SITE_REGION: 'c' }), 'c');
});

void test('misspelt settings are found', () => {
  assert.deepEqual(
    findUnknownSettings({
      MINIO_KMS_KES_ENDPOINTS: 'x',
      COFFER_WORKER: '1',
      HOME: '/',
      COFFER_WORKERS: '1',
    }),
    ['COFFER_WORKER', 'MINIO_KMS_KES_ENDPOINTS'],
  );
});

void test('root is shown under the owner id and name of the settings, or the usual ones', () => {
  assert.deepEqual(parseSettings({}).rootOwner, rootOwner);
  const ownerId = 'ab'.repeat(32);
  assert.deepEqual(
    parseSettings({ COFFER_ROOT_OWNER_ID: ownerId, COFFER_ROOT_DISPLAY_NAME: 'Ops' }).rootOwner,
    { ownerId, displayName: 'Ops' },
  );
  for (const wrong of ['ab', 'AB'.repeat(32)]) {
    assert.throws(
      () => parseSettings({ COFFER_ROOT_OWNER_ID: wrong }),
      (error) => error instanceof SettingsError && error.code === 'invalid-setting',
    );
  }
});
