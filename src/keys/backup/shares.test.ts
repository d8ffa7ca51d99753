import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readVectors } from '../../../test/support/vectors.ts';
import { combineShares, ShareError, type ShareErrorCode, splitSecret } from './shares.ts';

const group = '0123456789abcdef';

function refusedWith(code: ShareErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof ShareError && error.code === code;
}

test('the known shares give the known secret back, three at a time', () => {
  const vectors = readVectors('key-shares.json') as { secret: string; shares: string[] };
  for (const [a, b, c] of [
    [0, 1, 2],
    [4, 2, 0],
    [1, 3, 4],
  ] as const) {
    const texts = [a, b, c].map((at) => vectors.shares[at] ?? '');
    assert.equal(combineShares(texts).secret.toString('hex'), vectors.secret);
  }
});

test('any k of n shares give the secret back, in any order', () => {
  const sizes = fc.integer({ min: 2, max: 6 }).chain((needed) =>
    fc.record({
      needed: fc.constant(needed),
      total: fc.integer({ min: needed, max: 9 }),
      secret: fc.uint8Array({ minLength: 1, maxLength: 40 }),
      seed: fc.nat(),
    }),
  );
  fc.assert(
    fc.property(sizes, ({ needed, total, secret, seed }) => {
      const shares = splitSecret(secret, { needed, total, group });
      assert.equal(shares.length, total);
      const turned = shares.map((_, index) => shares[(index * 1 + seed) % total] ?? '');
      const combined = combineShares(turned.toReversed().slice(0, needed));
      assert.deepEqual(combined, { secret: Buffer.from(secret), group });
    }),
    { numRuns: 50 },
  );
});

test('255 shares work', () => {
  const secret = Buffer.alloc(32, 0xa5);
  const shares = splitSecret(secret, { needed: 3, total: 255, group });
  assert.deepEqual(combineShares([254, 100, 0].map((at) => shares[at] ?? '')).secret, secret);
});

test('k - 1 shares fit every secret', () => {
  // With one share fewer, each value of the missing one leads to another secret: nothing is excluded.
  const [share = ''] = splitSecret(Buffer.from([42]), { needed: 2, total: 2, group });
  const seen = new Set<number>();
  const [own = 0] = Buffer.from(share.split('-')[6] ?? '', 'hex');
  for (let guess = 0; guess < 256; guess += 1) seen.add(ours(own, guess));
  assert.equal(seen.size, 256);
});

/** The secret of shares (1, a) and (2, b): a·2/3 + b·1/3 in GF(256), counted with a table of logarithms. */
function ours(a: number, b: number): number {
  const powers: number[] = [];
  for (let value = 1, at = 0; at < 255; at += 1) {
    powers.push(value);
    value = (value ^ (value << 1) ^ (value & 0x80 ? 0x11b : 0)) & 0xff;
  }
  const times = (x: number, y: number) =>
    x === 0 || y === 0 ? 0 : (powers[(powers.indexOf(x) + powers.indexOf(y)) % 255] ?? 0);
  const third = powers[(255 - powers.indexOf(3)) % 255] ?? 0;
  return times(a, times(2, third)) ^ times(b, third);
}

test('the field is that of an independent table', () => {
  const secret = Buffer.from([0, 1, 42, 255]);
  const shares = splitSecret(secret, { needed: 2, total: 2, group });
  const [a, b] = shares.map((share) => Buffer.from(share.split('-')[6] ?? '', 'hex'));
  for (const [at, byte] of secret.entries()) assert.equal(ours(a?.[at] ?? 0, b?.[at] ?? 0), byte);
});

test('too few, doubled, foreign and mistyped shares are told apart', () => {
  const shares = splitSecret(Buffer.alloc(32, 1), { needed: 3, total: 5, group });
  const foreign = splitSecret(Buffer.alloc(32, 2), {
    needed: 3,
    total: 5,
    group: 'f'.repeat(16),
  });
  const [one = '', two = '', three = ''] = shares;
  assert.throws(() => combineShares([]), refusedWith('too-few'));
  assert.throws(() => combineShares([one, two]), refusedWith('too-few'));
  assert.throws(() => combineShares([one, two, two]), refusedWith('too-few'));
  assert.throws(() => combineShares([one, two, foreign[2] ?? '']), refusedWith('mixed'));
  for (let at = 0; at < three.length; at += 1) {
    const changed = three.slice(0, at) + (three[at] === '0' ? '1' : '0') + three.slice(at + 1);
    assert.throws(() => combineShares([one, two, changed]), refusedWith('invalid-share'));
  }
  assert.equal(combineShares([` ${one.toUpperCase()}\n`, two, three]).secret[0], 1);
});

test('impossible counts are refused', () => {
  for (const [needed, total] of [
    [1, 3],
    [4, 3],
    [2, 256],
    [2.5, 3],
  ] as const) {
    assert.throws(
      () => splitSecret(Buffer.alloc(1), { needed, total, group }),
      refusedWith('invalid-count'),
    );
  }
});
