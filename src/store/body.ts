// A body on its way into the store: counted, digested, checked, sealed and put where it will stay. Small
// bodies stay in memory, to be committed together with their record; larger ones stream into a blob with
// bounded memory. Whatever does not agree with what the client announced leaves nothing behind.

import { createHash, type Hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type ChecksumState, checksumBytes, createChecksum } from '../base/checksums.ts';
import {
  createDataNonce,
  layersOf,
  sealData,
  sealDataStream,
  sealedDataSize,
} from '../sse/object-data.ts';
import { blobEntry } from './keys.ts';
import type { StoredBytes } from './records.ts';
import type { StoreContext } from './store-context.ts';
import { type BodyChecksum, type BodyInput, type Checksum, StoreError } from './types.ts';

export type BodyResult = StoredBytes & {
  readonly sizeBytes: number;
  /** Hex MD5 of the plaintext, or 32 random digits where that must not be told. */
  readonly etag: string;
  readonly checksum: Checksum | undefined;
  /** The nonce of the sealed stream; undefined when it is not sealed. */
  readonly nonce: Buffer | undefined;
  /** The bytes to commit when the place is inline. */
  readonly inlineBytes: Buffer | undefined;
};

type Target = {
  /** The key of the stream when it is encrypted; may still be on its way. Wiped by its maker. */
  readonly dataKey: Promise<Uint8Array> | undefined;
  readonly sizeBytesMax: number;
  /** The ETag is random, so the MD5 is only computed where there is one to check. */
  readonly hasSecretEtag?: boolean;
};

/**
 * Takes in a body. On return its blob, if it has one, is durable; the caller removes it when it does not
 * commit a record. Throws `IncompleteBody`, `BadDigest`, `EntityTooLarge`, errors of the key, of the blob
 * store and of the source.
 */
export async function takeBody(
  context: StoreContext,
  input: BodyInput,
  target: Target,
): Promise<BodyResult> {
  const digests = new Digests(input, target);
  if (input.body instanceof Uint8Array) {
    digests.update(input.body);
    digests.finish();
    return storeWhole(context, [input.body], digests, target);
  }
  const iterator = input.body[Symbol.asyncIterator]();
  try {
    const head = await takeHead(context, iterator, digests);
    if (head.isWhole) {
      digests.finish();
      return await storeWhole(context, head.chunks, digests, target);
    }
    const rest = digested(head.chunks, iterator, digests);
    return await storeStream(
      context,
      { source: rest, ownsChunks: input.ownsChunks === true },
      { digests, target },
    );
  } catch (error) {
    // Lets the source free what it holds; its own failure to do so matters to nobody any more.
    await iterator.return?.().catch(() => undefined);
    throw error;
  }
}

/**
 * Removes what a body left when its record was not committed. Asks the `Kv` first: should a commit that
 * reported a failure have happened all the same, its blob must stay.
 */
export async function discardBody(context: StoreContext, stored: StoredBytes): Promise<void> {
  if (stored.place.kind !== 'blob') return;
  const { id } = stored.place;
  try {
    if (!(await context.kv.get(blobEntry(id)))) await context.blobs.remove(id);
  } catch (error) {
    context.log.warn('a blob could not be removed, the sweep will do it', { id, error });
  }
}

/** Reads until the body ends or is too large to stay in memory. */
async function takeHead(
  context: StoreContext,
  iterator: AsyncIterator<Uint8Array>,
  digests: Digests,
): Promise<{ readonly chunks: Uint8Array[]; readonly isWhole: boolean }> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  while (sizeBytes <= context.settings.inlineMaxBytes) {
    const next = await iterator.next();
    if (next.done) return { chunks, isWhole: true };
    digests.update(next.value);
    chunks.push(next.value);
    sizeBytes += next.value.length;
  }
  return { chunks, isWhole: false };
}

/** The head again, then the rest, digested; ends with the checks, so that a bad body fails its own write. */
async function* digested(
  head: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
  digests: Digests,
): AsyncGenerator<Uint8Array> {
  yield* head;
  for (;;) {
    const next = await iterator.next();
    if (next.done) break;
    digests.update(next.value);
    yield next.value;
  }
  digests.finish();
}

async function storeWhole(
  context: StoreContext,
  chunks: readonly Uint8Array[],
  digests: Digests,
  target: Target,
): Promise<BodyResult> {
  const dataKey = await target.dataKey;
  const plaintext = chunks.length === 1 ? asBuffer(chunks[0]) : Buffer.concat(chunks);
  const nonce = dataKey && createDataNonce();
  const stored = dataKey && nonce ? sealData(dataKey, plaintext, nonce) : plaintext;
  const result = { ...digests.result(), nonce, storedBytes: stored.length };
  if (stored.length === 0) return { ...result, place: { kind: 'none' }, inlineBytes: undefined };
  const id = context.createId();
  if (stored.length <= context.settings.inlineMaxBytes) {
    return { ...result, place: { kind: 'inline', id }, inlineBytes: stored };
  }
  await context.blobs.write(id, once(stored), { ownsChunks: dataKey !== undefined });
  return { ...result, place: { kind: 'blob', id }, inlineBytes: undefined };
}

async function storeStream(
  context: StoreContext,
  {
    source,
    ownsChunks,
  }: { readonly source: AsyncGenerator<Uint8Array>; readonly ownsChunks: boolean },
  { digests, target }: { readonly digests: Digests; readonly target: Target },
): Promise<BodyResult> {
  const dataKey = await target.dataKey;
  const id = context.createId();
  const nonce = dataKey && createDataNonce();
  const stored = dataKey && nonce ? sealDataStream(dataKey, source, { nonce, ownsChunks }) : source;
  const storedBytes = await context.blobs.write(id, stored, {
    // What comes out of the cipher is used by nobody else.
    ownsChunks: ownsChunks || dataKey !== undefined,
  });
  const result = digests.result();
  const expectedBytes = dataKey
    ? sealedDataSize(result.sizeBytes, layersOf(dataKey))
    : result.sizeBytes;
  if (storedBytes !== expectedBytes) throw new Error('a blob was written with a wrong size');
  return { ...result, nonce, storedBytes, place: { kind: 'blob', id }, inlineBytes: undefined };
}

function asBuffer(bytes: Uint8Array | undefined): Buffer {
  if (!bytes) return Buffer.alloc(0);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Size, MD5 and checksum of a body, and their checks. */
class Digests {
  readonly #input: BodyInput;
  readonly #sizeBytesMax: number;
  readonly #md5: Hash | undefined;
  readonly #hasSecretEtag: boolean;
  readonly #checksum: ChecksumState | undefined;
  #sizeBytes = 0;
  #result: { sizeBytes: number; etag: string; checksum: Checksum | undefined } | undefined;

  constructor(input: BodyInput, { sizeBytesMax, hasSecretEtag = false }: Target) {
    if ((input.sizeBytes ?? 0) > sizeBytesMax) throw tooLarge(sizeBytesMax);
    this.#input = input;
    this.#sizeBytesMax = sizeBytesMax;
    this.#hasSecretEtag = hasSecretEtag;
    if (!hasSecretEtag || input.contentMd5) this.#md5 = createHash('md5');
    if (input.checksum) this.#checksum = createChecksum(input.checksum.algorithm);
  }

  update(chunk: Uint8Array): void {
    this.#sizeBytes += chunk.length;
    const { sizeBytes } = this.#input;
    if (sizeBytes !== undefined && this.#sizeBytes > sizeBytes) throw wrongSize();
    if (this.#sizeBytes > this.#sizeBytesMax) throw tooLarge(this.#sizeBytesMax);
    this.#md5?.update(chunk);
    this.#checksum?.update(chunk);
  }

  /** Checks everything the client announced. */
  finish(): void {
    const { sizeBytes, contentMd5, checksum } = this.#input;
    if (sizeBytes !== undefined && this.#sizeBytes !== sizeBytes) throw wrongSize();
    const md5 = this.#md5?.digest();
    if (contentMd5 && !(md5 && isSame(md5, contentMd5))) {
      throw new StoreError(
        'BadDigest',
        'The Content-MD5 you specified did not match what we received.',
      );
    }
    this.#result = {
      sizeBytes: this.#sizeBytes,
      etag: (md5 && !this.#hasSecretEtag ? md5 : randomBytes(16)).toString('hex'),
      checksum: checksum && this.#finishChecksum(checksum),
    };
  }

  result(): { sizeBytes: number; etag: string; checksum: Checksum | undefined } {
    if (!this.#result) throw new Error('the digests of a body are not finished');
    return this.#result;
  }

  #finishChecksum(asked: BodyChecksum): Checksum | undefined {
    const digest = this.#checksum?.digest();
    if (!digest) return undefined;
    const { algorithm, expected } = asked;
    const value = typeof expected === 'function' ? expected() : expected;
    if (value !== undefined && !isDigestText(value, digest, checksumBytes[algorithm])) {
      throw new StoreError(
        'BadDigest',
        `The ${algorithm} you specified did not match the calculated checksum.`,
      );
    }
    return { algorithm, type: 'FULL_OBJECT', value: digest.toString('base64') };
  }
}

function isDigestText(text: string, digest: Buffer, sizeBytes: number): boolean {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === sizeBytes && text === digest.toString('base64');
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function tooLarge(sizeBytesMax: number): StoreError {
  return new StoreError('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', {
    details: { MaxSizeAllowed: String(sizeBytesMax) },
  });
}

function wrongSize(): StoreError {
  return new StoreError(
    'IncompleteBody',
    'You did not provide the number of bytes specified by the Content-Length HTTP header.',
  );
}
