// The bytes of objects under their own keys: ranges come back exactly, damage comes back as one
// code.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { chunked, collect } from '../../test/support/vectors.ts';
import {
  deriveDataKey,
  openData,
  openDataStream,
  sealData,
  sealDataStream,
  sealedDataSize,
  sliceOf,
} from './object-data.ts';
import { derivePartKey } from './object-key.ts';
import { SseError } from './sse-error.ts';

const key = randomBytes(32);
const plaintext = randomBytes(200_000);
const stored = sealData(key, plaintext);

function isTampered(error: unknown): boolean {
  return error instanceof SseError && error.code === 'object-tampered';
}

function read(bytes: Uint8Array, start: number, end: number): Promise<Buffer> {
  const slice = sliceOf(plaintext.length, { start, end });
  const source = chunked(bytes.subarray(slice.storedStart, slice.storedEnd), 10_000);
  return collect(openDataStream(key, source, { ...slice, lengthBytes: end - start }));
}

void describe('object data', () => {
  void it('is under the key of the object, or of its part', () => {
    assert.deepEqual(deriveDataKey(key, undefined), key);
    assert.deepEqual(deriveDataKey(key, 7), derivePartKey(key, 7));
  });

  void it('opens whole and streamed', async () => {
    assert.equal(stored.length, sealedDataSize(plaintext.length));
    assert(openData(key, stored).equals(plaintext));
    const streamed = await collect(sealDataStream(key, chunked(plaintext, 5000)));
    assert((await read(streamed, 0, plaintext.length)).equals(plaintext));
  });

  void it('gives exactly the range asked for', async () => {
    const bounds = fc.tuple(fc.nat(plaintext.length), fc.nat(plaintext.length));
    await fc.assert(
      fc.asyncProperty(bounds, async ([a, b]) => {
        const [start, end] = a < b ? [a, b] : [b, a];
        assert((await read(stored, start, end)).equals(plaintext.subarray(start, end)));
      }),
    );
  });

  void it('that was changed or cut is tampered with', async () => {
    const changed = Buffer.from(stored);
    changed[70_000] = (changed[70_000] as number) ^ 1;
    assert.throws(() => openData(key, changed), isTampered);
    await assert.rejects(read(changed, 65_536, 65_537), isTampered);
    assert.equal((await read(changed, 0, 65_536)).length, 65_536);
    await assert.rejects(read(stored.subarray(0, 65_568), 0, plaintext.length), isTampered);
    await assert.rejects(read(Buffer.alloc(0), 0, 10), isTampered);
  });

  void it('passes the error of its source through', async () => {
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield stored.subarray(0, 1000);
      throw new RangeError('disk');
    };
    const slice = sliceOf(plaintext.length, { start: 0, end: plaintext.length });
    const lengthBytes = plaintext.length;
    const open = collect(openDataStream(key, failing(), { ...slice, lengthBytes }));
    await assert.rejects(open, RangeError);
  });
});
