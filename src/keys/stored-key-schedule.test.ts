import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMasterKey, keyTimeOf } from './master-key.ts';
import { bytesField, varintField } from './protobuf.ts';
import { changeStoredKey, formatStoredKey, parseStoredKey } from './stored-key.ts';

const [scheduledAt, destroyAt] = [keyTimeOf(5_000), keyTimeOf(9_000)];
const corrupt = { code: 'corrupt' };

const current = formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: 'me' }));
const legacy = JSON.stringify({ bytes: Buffer.alloc(32, 1).toString('base64') });

/** The key with these bytes behind its fields. */
function withFields(...fields: Buffer[]): string {
  return Buffer.concat([Buffer.from(current, 'base64'), ...fields]).toString('base64');
}

for (const [form, text] of Object.entries({ current, legacy })) {
  test(`${form} form: when a key was scheduled is stored, and goes with the schedule`, () => {
    const scheduled = changeStoredKey(text, { kind: 'schedule', destroyAt, scheduledAt });
    const key = parseStoredKey(scheduled);
    assert.deepEqual([key.scheduledAt, key.destroyAt], [scheduledAt, destroyAt]);
    const again = changeStoredKey(scheduled, { kind: 'schedule', destroyAt: keyTimeOf(10_000) });
    assert.equal('scheduledAt' in parseStoredKey(again), false);
    const disabled = parseStoredKey(changeStoredKey(scheduled, { kind: 'disable' }));
    assert.equal('scheduledAt' in disabled, false);
    assert.equal('destroyAt' in disabled, false);
  });

  test(`${form} form: a schedule from before that was stored is read`, () => {
    const key = parseStoredKey(changeStoredKey(text, { kind: 'schedule', destroyAt }));
    assert.deepEqual([key.state, key.destroyAt], ['scheduled', destroyAt]);
    assert.equal('scheduledAt' in key, false);
  });
}

test('a state, version, time or revision of another wire type is damage, never a default', () => {
  const some = Buffer.from([8, 1]);
  const wrong = [
    bytesField(15, some),
    varintField(17, 1n),
    varintField(18, 1n),
    bytesField(19, some),
    varintField(20, 1n),
  ];
  for (const field of wrong) {
    assert.throws(() => parseStoredKey(withFields(field)), corrupt);
    // Nor may a right one behind it hide it.
    assert.throws(() => parseStoredKey(withFields(field, varintField(15, 1n))), corrupt);
  }
});

test('an id, HMAC key or maker of another wire type is damage', () => {
  for (const number of [1, 2, 3, 4, 16]) {
    assert.throws(
      () => parseStoredKey(withFields(varintField(number, 1n))),
      corrupt,
      `field ${number}`,
    );
  }
});
