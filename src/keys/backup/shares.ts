// A secret in n shares of which any k give it back, and fewer say nothing: Shamir's scheme over GF(256), each
// byte by itself. A share is a text that carries its group and a checksum, so a wrong, mistyped or foreign
// one is told apart before it can spoil the result:
//
//   coffer-share-1-<k>-<number>-<group, 16 hex>-<share, hex>-<checksum, 8 hex>

import { createHash, randomBytes } from 'node:crypto';

/** `invalid-share`: a text that is no share. `mixed`: of different groups. `too-few`: fewer than k. */
export type ShareErrorCode = 'invalid-share' | 'mixed' | 'too-few' | 'invalid-count';

export class ShareError extends Error {
  readonly code: ShareErrorCode;
  constructor(code: ShareErrorCode, message: string) {
    super(message);
    this.name = 'ShareError';
    this.code = code;
  }
}

type Share = {
  readonly needed: number;
  readonly number: number;
  readonly group: string;
  readonly bytes: Buffer;
};

const mark = 'coffer-share-1';
const shareShape =
  /^coffer-share-1-(\d{1,3})-(\d{1,3})-([0-9a-f]{16})-((?:[0-9a-f]{2})+)-([0-9a-f]{8})$/;
const sharesMax = 255;

/**
 * Splits a secret into `total` shares, `needed` of which give it back. `group` (16 hex digits) is the same
 * in all of them and identifies the secret. Throws `invalid-count` unless 2 <= needed <= total <= 255.
 */
export function splitSecret(
  secret: Uint8Array,
  into: { readonly needed: number; readonly total: number; readonly group: string },
): string[] {
  const { needed, total, group } = into;
  const isValid = [needed, total].every(Number.isInteger) && needed >= 2 && needed <= total;
  if (!isValid || total > sharesMax) {
    throw new ShareError('invalid-count', `shares are K/N with 2 <= K <= N <= ${sharesMax}`);
  }
  const polynomials = [...secret].map((byte) => Buffer.from([byte, ...randomBytes(needed - 1)]));
  const shares = Array.from({ length: total }, (_, index) => {
    const number = index + 1;
    const bytes = Buffer.from(polynomials.map((polynomial) => valueAt(polynomial, number)));
    return formatShare({ needed, number, group, bytes });
  });
  for (const polynomial of polynomials) polynomial.fill(0);
  return shares;
}

/** The secret and its group; the caller wipes it. Throws `ShareError`; no share appears in it. */
export function combineShares(texts: readonly string[]): {
  readonly secret: Buffer;
  readonly group: string;
} {
  const shares = new Map(texts.map(parseShare).map((share) => [share.number, share]));
  const [first] = shares.values();
  if (first === undefined) throw new ShareError('too-few', 'there is no share');
  for (const share of shares.values()) {
    const isSame = share.group === first.group && share.needed === first.needed;
    if (!isSame || share.bytes.length !== first.bytes.length) {
      throw new ShareError('mixed', `share ${share.number} belongs to another backup`);
    }
  }
  if (shares.size < first.needed) {
    const text = `${first.needed} different shares are needed, and ${shares.size} were given`;
    throw new ShareError('too-few', text);
  }
  const used = [...shares.values()].slice(0, first.needed);
  const secret = Buffer.alloc(first.bytes.length);
  for (const at of secret.keys()) secret[at] = interpolate(used, at);
  for (const { bytes } of shares.values()) bytes.fill(0);
  return { secret, group: first.group };
}

function formatShare({ needed, number, group, bytes }: Share): string {
  const text = `${mark}-${needed}-${number}-${group}-${bytes.toString('hex')}`;
  return `${text}-${checksumOf(text)}`;
}

function parseShare(text: string, index: number): Share {
  const trimmed = text.trim().toLowerCase();
  const match = shareShape.exec(trimmed);
  const end = trimmed.lastIndexOf('-');
  if (match === null || checksumOf(trimmed.slice(0, end)) !== trimmed.slice(end + 1)) {
    throw new ShareError('invalid-share', `the share given as number ${index + 1} is mistyped`);
  }
  const [, needed, number, group = '', hex = ''] = match;
  const share = { needed: Number(needed), number: Number(number), group };
  const isInRange = share.needed >= 2 && share.number >= 1 && share.number <= sharesMax;
  if (!isInRange) throw new ShareError('invalid-share', 'a share has an impossible number');
  return { ...share, bytes: Buffer.from(hex, 'hex') };
}

function checksumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}

// ---- GF(256) with the polynomial of AES. Loops and masks, no tables: time tells nothing. -------------

function multiply(a: number, b: number): number {
  let product = 0;
  let factor = a;
  for (let bit = 0; bit < 8; bit += 1) {
    product ^= factor & -((b >>> bit) & 1);
    factor = ((factor << 1) ^ (0x11b & -(factor >>> 7))) & 0x1ff;
  }
  return product & 0xff;
}

/** a^254, which is 1/a; 0 for 0. */
function invert(a: number): number {
  let result = 1;
  let square = a;
  for (let bit = 1; bit < 8; bit += 1) {
    square = multiply(square, square);
    result = multiply(result, square);
  }
  return result;
}

function valueAt(polynomial: Uint8Array, x: number): number {
  return polynomial.reduceRight((sum, coefficient) => multiply(sum, x) ^ coefficient, 0);
}

/** The value at 0 of the polynomial through the shares (Lagrange). */
function interpolate(shares: readonly Share[], at: number): number {
  let sum = 0;
  for (const { number: x, bytes } of shares) {
    let weight = 1;
    for (const { number: other } of shares) {
      if (other === x) continue;
      weight = multiply(weight, multiply(other, invert(other ^ x)));
    }
    sum ^= multiply(bytes[at] ?? 0, weight);
  }
  return sum;
}
