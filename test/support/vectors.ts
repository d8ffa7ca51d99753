// Known answers as JSON files in `test/vectors/`, and the small tools that every test of them
// needs.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The content of a vector file. The caller knows its shape. */
export function readVectors(name: string): unknown {
  const url = new URL(`../vectors/${name}`, import.meta.url);
  return JSON.parse(readFileSync(url, 'utf8'));
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

export function base64(text: string): Buffer {
  return Buffer.from(text, 'base64');
}

/** The bytes in chunks of this size. */
export async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += size) {
    yield bytes.subarray(offset, offset + size);
  }
}

/** Everything a stream gives, as one buffer. */
export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source));
}
