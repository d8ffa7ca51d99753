import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyError } from './key-error.ts';
import {
  createKeyVersion,
  createMasterKey,
  fingerprintOf,
  keyTimeOf,
  keyVersionsMax,
  type MasterKey,
  newestVersion,
  versionsOf,
} from './master-key.ts';
import { bytesField, readFields, varintField } from './protobuf.ts';
import {
  buryStoredKey,
  changeStoredKey,
  formatStoredKey,
  type KeyChange,
  parseStored,
  parseStoredKey,
} from './stored-key.ts';

const { parse: vectors } = JSON.parse(
  readFileSync(new URL('../../test/vectors/kes-stored-keys.json', import.meta.url), 'utf8'),
) as { parse: { raw: string; ok: boolean }[] };

const texts = [
  ...vectors.filter(({ ok }) => ok).map(({ raw }) => raw),
  formatStoredKey(createMasterKey({ createdAt: keyTimeOf(1_234), createdBy: 'me' })),
];

type Step = 'enable' | 'disable' | 'schedule' | 'rotate';

function changeOf(text: string, step: Step): KeyChange {
  if (step === 'schedule') return { kind: step, destroyAt: keyTimeOf(5_000_000) };
  if (step !== 'rotate') return { kind: step };
  const made = { createdAt: keyTimeOf(2_500), createdBy: 'rotator' };
  return { kind: step, version: createKeyVersion(parseStoredKey(text), made) };
}

const steps = fc.array(fc.constantFrom<Step>('enable', 'disable', 'schedule', 'rotate'), {
  maxLength: 12,
});

/** What others read: they know fields 1 to 4, or the four old members. */
function readByOthers(text: string): unknown {
  if (text.startsWith('{')) {
    const { bytes, algorithm, created_at, created_by } = JSON.parse(text) as Record<string, string>;
    return { bytes, algorithm, created_at, created_by };
  }
  const known = readFields(Buffer.from(text, 'base64')).filter(({ number }) => number <= 4);
  return known.map(({ number, bytes }) => [number, bytes?.toString('hex')]);
}

test('any row of changes leaves the first version, grows the revision, and reads back what it says', () => {
  fc.assert(
    fc.property(fc.constantFrom(...texts), steps, (start, row) => {
      const first = parseStoredKey(start);
      let text = start;
      for (const step of row) {
        const before = parseStoredKey(text);
        const change = changeOf(text, step);
        const after = changeStoredKey(text, change);
        const key = parseStoredKey(after);
        if (after === text) {
          assert.equal(`${step}d`, before.state);
          continue;
        }
        assert.equal(key.revision, before.revision + 1);
        const versions =
          change.kind === 'rotate' ? [...before.later, change.version] : before.later;
        assert.deepEqual(key.later, versions);
        if (step !== 'rotate')
          assert.equal(key.state, step === 'schedule' ? 'scheduled' : `${step}d`);
        else assert.equal(key.state, before.state);
        assert.equal(key.destroyAt !== undefined, key.state === 'scheduled');
        text = after;
      }
      const { secret, hmacSecret, id, createdAt, createdBy, cipher } = parseStoredKey(text);
      assert.deepEqual(
        { secret, hmacSecret, id, createdAt, createdBy, cipher },
        {
          secret: first.secret,
          hmacSecret: first.hmacSecret,
          id: first.id,
          createdAt: first.createdAt,
          createdBy: first.createdBy,
          cipher: first.cipher,
        },
      );
      assert.deepEqual(readByOthers(text), readByOthers(start));
    }),
  );
});

test('what is formatted anew reads back whole', () => {
  const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const version = fc.record({
    cipher: fc.constantFrom('AES256' as const, 'ChaCha20' as const),
    bytes,
    ms: fc.nat(),
    createdBy: fc.string(),
  });
  fc.assert(
    fc.property(
      version,
      fc.array(version, { maxLength: 5 }),
      fc.nat(0xffff_ffff),
      (first, later, revision) => {
        const masterKey: MasterKey = {
          ...createMasterKey({ createdAt: keyTimeOf(first.ms), createdBy: first.createdBy }),
          cipher: first.cipher,
          secret: createSecretKey(first.bytes),
          later: later.map((each, index) => ({
            version: index + 2,
            cipher: each.cipher,
            secret: createSecretKey(each.bytes),
            createdAt: keyTimeOf(each.ms),
            createdBy: each.createdBy,
          })),
          revision,
        };
        const parsed = parseStoredKey(formatStoredKey(masterKey));
        assert.deepEqual(parsed, masterKey);
        assert.equal(newestVersion(parsed), later.length + 1);
        assert.deepEqual(
          versionsOf(parsed).map((each) => each.version),
          Array.from({ length: later.length + 1 }, (_, index) => index + 1),
        );
      },
    ),
  );
});

test('versions with gaps, out of order, without a key, or too many are refused', () => {
  const raw = Buffer.from(texts.at(-1) ?? '', 'base64');
  const keyMessage = Buffer.concat([bytesField(1, randomBytes(32)), varintField(2, 1n)]);
  const version = (number: bigint, key = bytesField(1, keyMessage)) =>
    bytesField(17, Buffer.concat([key, varintField(4, number)]));
  const corrupt = (...fields: Buffer[]) =>
    assert.throws(() => parseStored(Buffer.concat([raw, ...fields]).toString('base64')), {
      code: 'corrupt',
    });
  assert.equal(
    newestVersion(parseStoredKey(Buffer.concat([raw, version(2n)]).toString('base64'))),
    2,
  );
  corrupt(version(1n));
  corrupt(version(3n));
  corrupt(version(3n), version(2n));
  corrupt(version(2n), version(2n));
  corrupt(version(2n, Buffer.alloc(0)));
  corrupt(varintField(17, 2n));
  corrupt(...Array.from({ length: keyVersionsMax }, (_, index) => version(BigInt(index + 2))));
});

test('unknown states, a schedule without a time, and odd ids and revisions are refused', () => {
  const raw = Buffer.from(texts.at(-1) ?? '', 'base64');
  for (const field of [
    varintField(15, 3n),
    varintField(15, 2n),
    bytesField(16, randomBytes(15)),
    varintField(19, 0x1_0000_0000n),
  ]) {
    const text = Buffer.concat([raw, field]).toString('base64');
    assert.throws(() => parseStored(text), { code: 'corrupt' });
  }
  const bytes = randomBytes(32).toString('base64');
  for (const members of [
    { state: 'odd' },
    { state: 'scheduled' },
    { revision: -1 },
    { revision: 'x' },
    { versions: {} },
    { versions: [{ version: 3, bytes }] },
    { versions: [null] },
  ]) {
    assert.throws(() => parseStored(JSON.stringify({ bytes, ...members })), { code: 'corrupt' });
  }
});

test('a key has no more than its hundred versions', () => {
  let text = texts.at(-1) ?? '';
  for (let version = 2; version <= keyVersionsMax; version += 1) {
    text = changeStoredKey(text, changeOf(text, 'rotate'));
  }
  assert.equal(newestVersion(parseStoredKey(text)), keyVersionsMax);
  assert.ok(text.length < 25_000, 'it must fit into the smallest secret of any store');
  assert.throws(() => changeStoredKey(text, changeOf(text, 'rotate')), {
    code: 'too-many-versions',
  });
});

test('a tombstone keeps who the key was and none of its bytes', () => {
  for (const start of texts) {
    const text = changeStoredKey(start, changeOf(start, 'rotate'));
    const key = parseStoredKey(text);
    const by = { destroyedAt: keyTimeOf(9_000), destroyedBy: 'me' };
    const buried = buryStoredKey(text, by);
    for (const { secret } of versionsOf(key)) {
      assert.ok(!buried.includes(secret.export().toString('base64')));
      assert.ok(!buried.includes(secret.export().toString('hex')));
    }
    assert.deepEqual(parseStored(buried), {
      state: 'destroyed',
      ...(key.id === undefined ? {} : { id: key.id }),
      fingerprint: fingerprintOf(key.secret),
      createdAt: key.createdAt,
      createdBy: key.createdBy,
      ...by,
      revision: 2,
    });
    assert.throws(() => parseStoredKey(buried), { code: 'destroyed' });
    assert.throws(() => changeStoredKey(buried, { kind: 'enable' }), { code: 'destroyed' });
    assert.throws(() => buryStoredKey(buried, by), { code: 'destroyed' });
  }
});

test('a damaged tombstone is still a tombstone', () => {
  for (const more of [{}, { revision: 'x', fingerprint: 5, created_at: 'y' }, { bytes: 'AAAA' }]) {
    const stored = parseStored(JSON.stringify({ state: 'destroyed', ...more }));
    assert.equal(stored.state, 'destroyed');
  }
});

test('fingerprints tell secrets apart and are the documented HMAC', () => {
  const secret = createSecretKey(Buffer.alloc(32, 7));
  assert.equal(fingerprintOf(secret), '13664d9b25a511c1463572e2c8357ddf');
  assert.notEqual(fingerprintOf(createSecretKey(Buffer.alloc(32, 8))), fingerprintOf(secret));
});

test('no changed text makes the reader or a change throw anything but its own error', () => {
  const changed = texts.map((text) => changeStoredKey(text, changeOf(text, 'rotate')));
  const mutated = fc
    .tuple(fc.constantFrom(...changed), fc.nat(), fc.nat(255), fc.nat())
    .map(([text, at, value, end]) => {
      const isJson = text.startsWith('{');
      const bytes = Buffer.from(text, isJson ? 'latin1' : 'base64');
      bytes[at % bytes.length] = value;
      const cut = bytes.subarray(0, bytes.length - (end % 4));
      return cut.toString(isJson ? 'latin1' : 'base64');
    });
  fc.assert(
    fc.property(mutated, fc.constantFrom<Step>('enable', 'schedule', 'rotate'), (text, step) => {
      try {
        const kept = parseStored(text);
        if (kept.state === 'destroyed') return;
        parseStoredKey(changeStoredKey(text, changeOf(text, step)));
      } catch (error) {
        assert.ok(error instanceof KeyError, String(error));
      }
    }),
    { numRuns: 1_000 },
  );
});
