// The PKCS#11 wrapping key against SoftHSM2, with a key made by pkcs11-tool as the documentation says:
// what it wraps, which keys it refuses, lost sessions, wrong PINs, and files that hold nothing in clear.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openFileKeyStore } from '../../src/keystores/files/key-store.ts';
import { openWrapped } from '../../src/keystores/wrapping/wrapped.ts';
import type { WrappingKey } from '../../src/keystores/wrapping/wrapping-key.ts';
import { openPkcs11, type Pkcs11Settings } from '../../src/keystores/wrapping/pkcs11.ts';
import { failsWith, testKeyStore } from '../contract/key-store.ts';
import { testWrappingKey } from '../contract/wrapping-key.ts';
import { interopDir } from './clients.ts';

const library = '/usr/lib/softhsm/libsofthsm2.so';
const moduleDir = path.join(interopDir, 'pkcs11js');
const pin = 'pin-of-the-test';
const dir = mkdtempSync(path.join(tmpdir(), 'coffer-pkcs11-'));
const context = Buffer.from('coffer-wrapped:v1:my-key');

/** What the test does to the token behind the back of the wrapping key. */
type Token = {
  load(library: string): void;
  C_Initialize(): void;
  C_GetSlotList(tokenPresent: boolean): Buffer[];
  C_GetTokenInfo(slot: Buffer): { readonly label: string };
  C_CloseAllSessions(slot: Buffer): void;
  C_OpenSession(slot: Buffer, flags: number): Buffer;
  C_Login(session: Buffer, user: number, pin: string): void;
  C_SetPIN(session: Buffer, old: string, fresh: string): void;
};

function run(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

function makeToken(label: string): void {
  const pins = ['--so-pin', 'so-pin-of-the-test', '--pin', pin];
  run('softhsm2-util', ['--init-token', '--free', '--label', label, ...pins]);
}

function makeKey(token: string, args: readonly string[]): void {
  const login = ['--login', '--pin', pin, '--token-label', token];
  run('pkcs11-tool', ['--module', library, ...login, '--keygen', ...args]);
}

// The library reads its configuration when it is first used, and the contracts below use it.
mkdirSync(path.join(dir, 'tokens'));
writeFileSync(
  path.join(dir, 'softhsm2.conf'),
  `directories.tokendir = ${dir}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`,
);
process.env['SOFTHSM2_CONF'] = path.join(dir, 'softhsm2.conf');
makeToken('coffer');
makeToken('second token');
makeToken('größer');
makeKey('coffer', ['--key-type', 'AES:32', '--sensitive', '--label', 'wrap']);
makeKey('coffer', ['--key-type', 'AES:32', '--sensitive', '--label', 'older']);
makeKey('coffer', ['--key-type', 'AES:32', '--sensitive', '--extractable', '--label', 'loose']);
makeKey('coffer', ['--key-type', 'AES:32', '--label', 'open']);
makeKey('coffer', ['--key-type', 'AES:16', '--sensitive', '--label', 'short']);
makeKey('größer', ['--key-type', 'AES:32', '--sensitive', '--label', 'schlüssel']);
makeKey('second token', ['--key-type', 'AES:32', '--sensitive', '--label', 'wrap key']);

const settings = { library, token: 'coffer', pin, key: 'wrap' };

function open(changes: Pkcs11Settings = {}): Promise<WrappingKey> {
  return openPkcs11({ ...settings, ...changes }, { moduleDir });
}

testWrappingKey('PKCS#11', async () => ({ key: await open(), close: async () => {} }));

testKeyStore(
  'files wrapped by PKCS#11',
  async () => {
    const keys = mkdtempSync(path.join(dir, 'keys-'));
    return {
      store: openWrapped(await openFileKeyStore(keys), await open()),
      openAgain: async () => openWrapped(await openFileKeyStore(keys), await open()),
      close: async () => rmSync(keys, { recursive: true }),
    };
  },
  { valueBytesMax: 780_000 },
);

describe('PKCS#11 on SoftHSM2', () => {
  let api: Token;
  let slot: Buffer;

  before(() => {
    const { PKCS11 } = createRequire(path.join(moduleDir, 'package.json'))('pkcs11js') as {
      PKCS11: new () => Token;
    };
    api = new PKCS11();
    api.load(library);
    try {
      api.C_Initialize();
    } catch (error) {
      assert.match(String(error), /CKR_CRYPTOKI_ALREADY_INITIALIZED/);
    }
    const slots = api.C_GetSlotList(true);
    const found = slots.find((each) => api.C_GetTokenInfo(each).label.trimEnd() === 'coffer');
    assert.ok(found);
    slot = found;
  });

  after(() => rmSync(dir, { recursive: true, force: true }));

  test('keys that could leave the token, short keys and unknown ones are refused with how to make one', async () => {
    for (const key of ['loose', 'open', 'short', 'none']) {
      await assert.rejects(open({ key }), (error) => {
        failsWith('failed')(error);
        assert.match(String(error), /pkcs11-tool .*--keygen/);
        return true;
      });
    }
  });

  test('a library or a token that is not there is named', async () => {
    await assert.rejects(open({ library: '/no/such/library.so' }), /\/no\/such\/library\.so/);
    await assert.rejects(open({ token: 'none' }), failsWith('unreachable'));
  });

  test('labels with blanks are found, and stand in the id encoded', async () => {
    const key = await open({ token: 'second token', key: 'wrap key' });
    assert.equal(key.id, 'pkcs11:token=second%20token;object=wrap%20key');
    await key.check();
    await key.close();
  });

  test('labels beyond ASCII are found too', async () => {
    const key = await open({ token: 'größer', key: 'schlüssel' });
    assert.match(key.id, /^[\x21-\x7e]+$/);
    await key.check();
    await key.close();
  });

  test('an older key of the token unwraps what it wrapped, another token does not', async () => {
    const older = await open({ key: 'older' });
    const wrapped = await older.wrap(Buffer.from('data key'), context);
    const key = await open();
    assert.equal((await key.unwrap(wrapped, context, older.id)).toString(), 'data key');
    await assert.rejects(key.unwrap(wrapped, context, key.id), failsWith('failed'));
    const other = await open({ token: 'second token', key: 'wrap key' });
    await assert.rejects(other.unwrap(wrapped, context, older.id), /not in the configured token/);
    for (const each of [older, key, other]) await each.close();
  });

  test('lost sessions are opened again', async () => {
    const key = await open();
    const wrapped = await key.wrap(Buffer.from('data key'), context);
    for (let round = 0; round < 3; round += 1) {
      api.C_CloseAllSessions(slot);
      assert.equal((await key.unwrap(wrapped, context, key.id)).toString(), 'data key');
    }
    await key.close();
  });

  test('closing one wrapping key leaves another of the process working', async () => {
    const [first, second] = [await open(), await open()];
    await first.close();
    await second.check();
    await second.close();
  });

  test('a wrong PIN is refused without being shown, and not tried until the token locks', async () => {
    api.C_CloseAllSessions(slot);
    await assert.rejects(open({ pin: 'wrong-pin' }), (error) => {
      failsWith('failed')(error);
      assert.match(String(error), /CKR_PIN_INCORRECT/);
      assert.doesNotMatch(String(error), /wrong-pin/);
      return true;
    });
    const key = await open();
    const session = api.C_OpenSession(slot, 6);
    api.C_SetPIN(session, pin, 'another-pin');
    api.C_CloseAllSessions(slot);
    await assert.rejects(key.check(), /CKR_PIN_INCORRECT/);
    await assert.rejects(key.check(), /is not tried again/);
    const again = await open({ pin: 'another-pin' });
    const restore = api.C_OpenSession(slot, 6);
    api.C_SetPIN(restore, 'another-pin', pin);
    await again.close();
    await key.close();
  });

  test('files hold nothing in clear and open in another process of ours', async () => {
    const keys = mkdtempSync(path.join(dir, 'clear-'));
    const store = openWrapped(await openFileKeyStore(keys), await open());
    await store.create('my-key', 'a-secret-value');
    await store.close();
    const text = readFileSync(path.join(keys, 'my-key'), 'latin1');
    assert.match(text, /^coffer-wrapped:v1:/);
    assert.ok(!text.includes('secret'));
    const again = openWrapped(await openFileKeyStore(keys), await open());
    assert.equal(await again.get('my-key'), 'a-secret-value');
    await again.close();
  });
});
