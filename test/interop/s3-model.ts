// The reference a client's results are compared with: plain maps and whole buffers. It knows what was stored, in
// which mode, and what each answer about it must show: bytes, size, ETag rule, checksums, encryption headers.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  type ChecksumAlgorithm,
  checksumAlgorithms,
  checksumOf,
} from '../../src/base/checksums.ts';
import type { Mode, PutStep, Result, Step } from './s3-plan.ts';

type StoredObject = {
  readonly bytes: Buffer;
  /** The mode it is stored in: what the request asked, else the bucket's default. */
  readonly mode: Mode;
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
};

type Bucket = { defaultMode: Mode; readonly objects: Map<string, StoredObject> };

/** What a client does not show or cannot do, so that the rest can be exact. */
export type ClientTraits = {
  readonly name: string;
  /** Shows the encryption headers of answers to writes. */
  readonly showsEncryptionOfWrites: boolean;
  /** Shows the encryption headers of HEAD and GET. */
  readonly showsEncryptionOfReads: boolean;
  /** Cuts an upload where its own buffers happen to end: any number of parts. */
  readonly cutsPartsAnywhere?: boolean;
};

const md5 = (bytes: Uint8Array | string): Buffer => createHash('md5').update(bytes).digest();
const bare = (etag: string | undefined): string => (etag ?? '').replaceAll('"', '');

/** The ETag that a plaintext or SSE-S3 object has. */
function plainEtag(bytes: Buffer, partSize: number | undefined): string {
  if (partSize === undefined) return md5(bytes).toString('hex');
  const parts: Buffer[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += partSize)
    parts.push(md5(bytes.subarray(at, at + partSize)));
  return `${md5(Buffer.concat(parts)).toString('hex')}-${parts.length}`;
}

/** The encryption headers an answer about an object in this mode must carry. */
export function shownFor(mode: Mode): NonNullable<Result['sse']> {
  switch (mode.kind) {
    case 'none':
      return {};
    case 's3':
      return { method: 'AES256' };
    case 'kms':
      return { method: 'aws:kms', ...(mode.keyId === undefined ? {} : { keyId: mode.keyId }) };
    case 'c':
      return { customerAlgorithm: 'AES256', customerKeyMd5: md5(mode.key).toString('base64') };
  }
}

export class ObjectModel {
  readonly #traits: ClientTraits;
  readonly #data: Buffer;
  readonly #buckets = new Map<string, Bucket>();

  constructor(traits: ClientTraits, data: Buffer) {
    this.#traits = traits;
    this.#data = data;
  }

  /** Checks the result of a step and takes its effect over. Throws an AssertionError that names the step. */
  check(step: Step, result: Result): void {
    const shown = JSON.stringify(step);
    const where = `${this.#traits.name}: ${shown.slice(0, 600)}`;
    assert.equal(result.error, undefined, where);
    try {
      this.#checkStep(step, result);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : '';
      throw new Error(`${where}\n${JSON.stringify(result).slice(0, 1000)}\n${message}`, { cause });
    }
  }

  /** The object as the model has it; for checks outside a plan. */
  bytesOf(bucket: string, key: string): Buffer {
    return this.#object(bucket, key).bytes;
  }

  #checkStep(step: Step, result: Result): void {
    switch (step.op) {
      case 'createBucket':
        this.#buckets.set(step.bucket, { defaultMode: { kind: 'none' }, objects: new Map() });
        return;
      case 'deleteBucket':
        assert.equal(this.#bucket(step.bucket).objects.size, 0);
        this.#buckets.delete(step.bucket);
        return;
      case 'setDefault':
        this.#bucket(step.bucket).defaultMode = step.mode;
        if (result.sse !== undefined) assert.deepEqual(result.sse, shownFor(step.mode));
        return;
      case 'put':
        this.#put(step, result);
        return;
      case 'head':
        this.#read(this.#object(step.bucket, step.key), result);
        return;
      case 'get':
        this.#get(this.#object(step.bucket, step.key), step.range, result);
        return;
      case 'copy':
        this.#copy(step, result);
        return;
      case 'list':
        this.#list(step, result);
        return;
      case 'delete':
        for (const key of step.keys) this.#bucket(step.bucket).objects.delete(key);
        return;
      case 'setPolicy':
        return;
      default:
        assert.fail(`${step.op} is checked where it is used`);
    }
  }

  #bucket(name: string): Bucket {
    const bucket = this.#buckets.get(name);
    assert.ok(bucket, `the model has no bucket ${name}`);
    return bucket;
  }

  #object(bucket: string, key: string): StoredObject {
    const object = this.#bucket(bucket).objects.get(key);
    assert.ok(object, `the model has no object ${key}`);
    return object;
  }

  #effective(bucket: string, asked: Mode): Mode {
    return asked.kind === 'none' ? this.#bucket(bucket).defaultMode : asked;
  }

  #put(step: PutStep, result: Result): void {
    const bytes = this.#data.subarray(step.offset, step.offset + step.size);
    assert.equal(bytes.length, step.size, 'the data file is long enough');
    const mode = this.#effective(step.bucket, step.mode);
    const isMultipart = step.partSize !== undefined && step.size > step.partSize;
    const etag = bare(result.etag);
    if (isMultipart && this.#traits.cutsPartsAnywhere === true)
      assert.match(etag, /^[0-9a-f]{32}-\d$/);
    else checkEtag(etag, mode, plainEtag(bytes, isMultipart ? step.partSize : undefined));
    if (this.#traits.showsEncryptionOfWrites) assert.deepEqual(result.sse, shownFor(mode));
    if (!isMultipart) checkChecksums(result.checksums, bytes);
    if (step.checksum !== undefined && !isMultipart) assert.ok(result.checksums?.[step.checksum]);
    this.#bucket(step.bucket).objects.set(step.key, {
      bytes,
      mode,
      etag,
      metadata: step.metadata ?? {},
    });
  }

  #copy(step: Extract<Step, { op: 'copy' }>, result: Result): void {
    const source = this.#object(step.fromBucket, step.fromKey);
    const mode = this.#effective(step.bucket, step.mode);
    const etag = bare(result.etag);
    checkEtag(etag, mode, plainEtag(source.bytes, undefined));
    if (this.#traits.showsEncryptionOfWrites && result.sse !== undefined)
      assert.deepEqual(result.sse, shownFor(mode));
    this.#bucket(step.bucket).objects.set(step.key, { ...source, mode, etag });
  }

  #read(object: StoredObject, result: Result): void {
    assert.equal(bare(result.etag), object.etag, 'the ETag is the one the write answered');
    assert.equal(result.size, object.bytes.length);
    assert.deepEqual(result.metadata ?? {}, object.metadata);
    if (this.#traits.showsEncryptionOfReads) assert.deepEqual(result.sse, shownFor(object.mode));
  }

  #get(object: StoredObject, range: readonly [number, number] | undefined, result: Result): void {
    const wanted =
      range === undefined ? object.bytes : object.bytes.subarray(range[0], range[1] + 1);
    assert.equal(result.sha256, createHash('sha256').update(wanted).digest('hex'), 'the bytes');
    assert.equal(result.size, wanted.length);
    if (result.etag !== undefined) assert.equal(bare(result.etag), object.etag);
    if (this.#traits.showsEncryptionOfReads && result.sse !== undefined)
      assert.deepEqual(result.sse, shownFor(object.mode));
    if (range === undefined && !object.etag.includes('-')) checkChecksums(result.checksums, wanted);
  }

  #list(step: Extract<Step, { op: 'list' }>, result: Result): void {
    const names = [...this.#bucket(step.bucket).objects.keys()]
      .filter((key) => key.startsWith(step.prefix))
      .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const prefixes = new Set<string>();
    const objects: (readonly [string, number, string])[] = [];
    for (const key of names) {
      const at = step.delimiter === '' ? -1 : key.indexOf(step.delimiter, step.prefix.length);
      if (at >= 0) prefixes.add(key.slice(0, at + step.delimiter.length));
      else {
        const { bytes, etag } = this.#object(step.bucket, key);
        objects.push([key, bytes.length, etag]);
      }
    }
    const got = (result.objects ?? []).map(([key, size, etag]) => [key, size, bare(etag)] as const);
    assert.deepEqual(got, objects);
    assert.deepEqual(result.prefixes ?? [], [...prefixes]);
  }
}

/** Plaintext and SSE-S3 have the MD5; the other modes the same shape, but not what the plaintext would give away. */
function checkEtag(etag: string, mode: Mode, plain: string): void {
  if (mode.kind === 'none' || mode.kind === 's3') {
    assert.equal(etag, plain);
    return;
  }
  assert.match(etag, /^[0-9a-f]{32}(-\d+)?$/);
  assert.equal(etag.slice(32), plain.slice(32), 'the number of parts');
  assert.notEqual(etag, plain);
}

function checkChecksums(shown: Result['checksums'], bytes: Buffer): void {
  for (const [algorithm, value] of Object.entries(shown ?? {})) {
    assert.ok(isChecksumAlgorithm(algorithm), `unknown checksum ${algorithm}`);
    assert.equal(value, checksumOf(algorithm, bytes).toString('base64'), algorithm);
  }
}

function isChecksumAlgorithm(name: string): name is ChecksumAlgorithm {
  return (checksumAlgorithms as readonly string[]).includes(name);
}
