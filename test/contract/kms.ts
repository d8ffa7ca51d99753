// What every `Kms` keeps to. An adapter hands in a harness; what it cannot do (create keys, lock them) is
// left out of its harness, and the suite then checks that it says so.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import type { Kms, KmsErrorCode } from '../../src/sse/kms.ts';
import { KmsError } from '../../src/sse/kms.ts';

/** One adapter under test. `kms.defaultKeyName` exists and is enabled. */
export type KmsHarness = {
  readonly kms: Kms;
  /** Texts that must never show in an error. */
  readonly secrets: readonly string[];
  /** Present when the service behind can lock and delete keys. */
  readonly keys?: {
    disable(name: string): Promise<void>;
    enable(name: string): Promise<void>;
    delete(name: string): Promise<void>;
  };
  /** Present when the service behind can be taken away. */
  readonly stopService?: () => Promise<void>;
  close(): Promise<void>;
};

/** Registers the suite; `open` is called for each test. */
export function testKms(name: string, open: () => Promise<KmsHarness>): void {
  const check: Check = (title, run) =>
    void test(`${name}: ${title}`, async () => {
      const harness = await open();
      try {
        await run(harness);
      } finally {
        await harness.kms.close();
        await harness.close();
      }
    });
  testDataKeys(check);
  testNames(check);
  testKeyAdministration(check);
  testLocks(check);
  testFailures(check);
}

type Check = (title: string, run: (harness: KmsHarness) => Promise<void>) => void;

const context = { bucket: 'bucket/object' };

function testDataKeys(check: Check): void {
  check('a generated key comes back from its ciphertext', async ({ kms }) => {
    const key = await kms.generateKey(kms.defaultKeyName, context);
    assert.equal(key.plaintext.length, 32);
    assert.equal(key.ciphertext.length, 76);
    assert.equal(key.keyName, kms.defaultKeyName);
    const opened = await kms.decrypt(kms.defaultKeyName, key.ciphertext, context);
    assert.deepEqual(Buffer.from(opened), Buffer.from(key.plaintext));
  });

  check('no two generated keys are alike', async ({ kms }) => {
    const keys = await Promise.all(
      Array.from({ length: 200 }, () => kms.generateKey(kms.defaultKeyName, {})),
    );
    const texts = keys.flatMap((key) => [hex(key.plaintext), hex(key.ciphertext)]);
    assert.equal(new Set(texts).size, 400);
    const opened = await Promise.all(
      keys.map((key) => kms.decrypt(kms.defaultKeyName, key.ciphertext, {})),
    );
    assert.deepEqual(
      opened.map(hex),
      keys.map((key) => hex(key.plaintext)),
    );
  });

  check('a ciphertext opens only with its context', async (harness) => {
    const { kms } = harness;
    const { ciphertext } = await kms.generateKey(kms.defaultKeyName, context);
    for (const other of [{}, { bucket: 'bucket/other' }, { ...context, more: '' }]) {
      const call = kms.decrypt(kms.defaultKeyName, ciphertext, other);
      await fails(harness, call, 'invalid-ciphertext');
    }
  });

  check('a ciphertext that was changed, cut or lengthened does not open', async (harness) => {
    const { kms } = harness;
    const { ciphertext } = await kms.generateKey(kms.defaultKeyName, context);
    const broken = [...ciphertext.keys()].map((index) => {
      const copy = Buffer.from(ciphertext);
      copy[index] = (copy[index] ?? 0) ^ 1;
      return copy;
    });
    const cut = [0, 1, 27, 28, 43, 44, 75].map((size) => Buffer.from(ciphertext.subarray(0, size)));
    const longer = Buffer.concat([ciphertext, Buffer.of(0)]);
    for (const bytes of [...broken, ...cut, longer, Buffer.from('{"aead":"?"}'), Buffer.of(0x95)]) {
      const call = kms.decrypt(kms.defaultKeyName, bytes, context);
      await fails(harness, call, 'invalid-ciphertext');
    }
  });

  check('failing calls do not disturb those that run beside them', async (harness) => {
    const { kms } = harness;
    const key = await kms.generateKey(kms.defaultKeyName, context);
    await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const kind = index % 3;
        if (kind === 0) {
          const opened = await kms.decrypt(kms.defaultKeyName, key.ciphertext, context);
          assert.equal(hex(opened), hex(key.plaintext));
        } else if (kind === 1) {
          const call = kms.decrypt(kms.defaultKeyName, key.ciphertext, {});
          await fails(harness, call, 'invalid-ciphertext');
        } else {
          await fails(harness, kms.generateKey('no-such-key', context), 'key-not-found');
        }
      }),
    );
  });
}

function testNames(check: Check): void {
  check('a key that does not exist is named in the error', async (harness) => {
    const { kms } = harness;
    const { ciphertext } = await kms.generateKey(kms.defaultKeyName, context);
    for (const call of [
      kms.generateKey('no-such-key', context),
      kms.decrypt('no-such-key', ciphertext, context),
      kms.describeKey('no-such-key'),
    ]) {
      const error = await fails(harness, call, 'key-not-found');
      assert.equal(error.keyName, 'no-such-key');
      assert.match(error.message, /no-such-key/);
    }
  });

  check('lists by prefix and describes', async ({ kms }) => {
    const name = kms.defaultKeyName;
    for (const prefix of ['', name.slice(0, 2), name, '*']) {
      const infos = await kms.listKeys(prefix);
      assert.ok(
        infos.some((info) => info.name === name),
        prefix,
      );
      assert.ok(infos.every((info) => info.state === 'enabled'));
    }
    assert.deepEqual(await kms.listKeys('zz-no-such-prefix'), []);
    const info = await kms.describeKey(name);
    assert.equal(info.name, name);
    assert.equal(info.state, 'enabled');
  });

  check('reports its status', async ({ kms }) => {
    const status = await kms.status();
    assert.match(status.name, /^MinIO (KES|builtin)$/);
    assert.equal(status.defaultKeyName, kms.defaultKeyName);
    assert.ok(Object.keys(status.endpoints).length > 0);
    assert.ok(Object.values(status.endpoints).every((state) => state === 'online'));
  });
}

function testKeyAdministration(check: Check): void {
  check('creating a key that exists is refused', async (harness) => {
    const { kms } = harness;
    const error = await fails(harness, kms.createKey(kms.defaultKeyName), 'key-exists');
    assert.equal(error.keyName, kms.defaultKeyName);
  });

  check('creates a key, or says that it cannot', async (harness) => {
    const { kms } = harness;
    if (!harness.keys) {
      await fails(harness, kms.createKey('another-key'), 'not-supported');
      return;
    }
    await kms.createKey('another-key');
    const key = await kms.generateKey('another-key', context);
    await fails(
      harness,
      kms.decrypt(kms.defaultKeyName, key.ciphertext, context),
      'invalid-ciphertext',
    );
    assert.equal(
      hex(await kms.decrypt('another-key', key.ciphertext, context)),
      hex(key.plaintext),
    );
    const names = (await kms.listKeys('')).map((info) => info.name);
    assert.deepEqual(names, [...names].sort());
    assert.ok(names.includes('another-key'));
  });
}

function testLocks(check: Check): void {
  check('a disabled key refuses use and names itself, until it is enabled', async (harness) => {
    const { kms, keys } = harness;
    if (!keys) return;
    await kms.createKey('locked');
    const key = await kms.generateKey('locked', context);
    await keys.disable('locked');
    for (const call of [
      kms.generateKey('locked', context),
      kms.decrypt('locked', key.ciphertext, context),
    ]) {
      const error = await fails(harness, call, 'key-disabled');
      assert.equal(error.keyName, 'locked');
      assert.match(error.message, /'locked' is disabled/);
    }
    assert.equal((await kms.describeKey('locked')).state, 'disabled');
    const states = new Map((await kms.listKeys('')).map((info) => [info.name, info.state]));
    assert.equal(states.get('locked'), 'disabled');
    assert.equal(states.get(kms.defaultKeyName), 'enabled');
    await keys.enable('locked');
    assert.equal(hex(await kms.decrypt('locked', key.ciphertext, context)), hex(key.plaintext));
  });

  check('a deleted key is gone for every call', async (harness) => {
    const { kms, keys } = harness;
    if (!keys) return;
    await kms.createKey('doomed');
    const key = await kms.generateKey('doomed', context);
    await keys.delete('doomed');
    await fails(harness, kms.decrypt('doomed', key.ciphertext, context), 'key-not-found');
    await fails(harness, kms.describeKey('doomed'), 'key-not-found');
    await kms.createKey('doomed');
    await fails(harness, kms.decrypt('doomed', key.ciphertext, context), 'invalid-ciphertext');
  });
}

function testFailures(check: Check): void {
  check('an unreachable service is reported as such, within the limit', async (harness) => {
    const { kms, stopService } = harness;
    if (!stopService) return;
    const { ciphertext } = await kms.generateKey(kms.defaultKeyName, context);
    await stopService();
    await Promise.all([
      fails(harness, kms.generateKey(kms.defaultKeyName, context), 'unreachable'),
      fails(harness, kms.decrypt(kms.defaultKeyName, ciphertext, context), 'unreachable'),
      fails(harness, kms.describeKey(kms.defaultKeyName), 'unreachable'),
      fails(harness, kms.listKeys(''), 'unreachable'),
    ]);
    const { endpoints } = await kms.status();
    assert.ok(Object.values(endpoints).every((state) => state === 'offline'));
  });
}

/** Asserts the error and that it shows no secret; returns it. */
async function fails(
  harness: KmsHarness,
  call: Promise<unknown>,
  code: KmsErrorCode,
): Promise<KmsError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KmsError, `expected ${code}, got ${inspect(error)}`);
  assert.equal(error.code, code, inspect(error));
  const shown = inspect(error, { depth: 9 });
  for (const secret of harness.secrets)
    assert.ok(!shown.includes(secret), 'an error shows a secret');
  return error;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
