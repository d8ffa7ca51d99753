// The order of versions is in their ids, and nowhere else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  createVersionId,
  isVersionId,
  nextOrder,
  nullVersionId,
  versionTail,
  versionTailBytes,
} from './version-ids.ts';

const order = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

void test('newer versions sort before older ones, whatever their kind', () => {
  fc.assert(
    fc.property(order, order, fc.boolean(), fc.boolean(), (a, b, isNullA, isNullB) => {
      if (a === b) return;
      const tail = (of: number, isNull: boolean): Buffer =>
        versionTail(isNull ? nullVersionId : createVersionId(of), of);
      const [older, newer] = [Math.min(a, b), Math.max(a, b)];
      assert.ok(Buffer.compare(tail(newer, isNullA), tail(older, isNullB)) < 0);
      assert.equal(tail(newer, isNullA).length, versionTailBytes);
    }),
  );
});

void test('no id takes the place of the version null', () => {
  for (let count = 0; count < 1000; count += 1) {
    const id = createVersionId(7);
    assert.ok(isVersionId(id));
    assert.equal(versionTail(id, 7).equals(versionTail(nullVersionId, 7)), false);
    assert.equal(versionTail(id, 7).toString('hex'), id);
  }
});

void test('orders follow the clock, and go on when it goes back', () => {
  assert.equal(nextOrder(1000, undefined), 1_000_000);
  assert.equal(nextOrder(1000, 5), 1_000_000);
  assert.equal(nextOrder(1000, 1_000_000), 1_000_001);
  assert.equal(nextOrder(0, 2_000_000), 2_000_001);
});

void test('texts that are no ids are known as such', () => {
  for (const text of ['', 'null', 'ab', 'A'.repeat(32), 'g'.repeat(32), 'a'.repeat(33)]) {
    assert.equal(isVersionId(text), false, text);
  }
});
