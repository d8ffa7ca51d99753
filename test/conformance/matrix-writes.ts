// The operations of the matrix that write: each makes one object and tells what must be readable from then on.
// The expected bytes, sizes and ETags are computed here from whole buffers; nothing is asked of the store.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { encodeForm, signedForm } from '../support/post-form.ts';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import { shownEncryption } from '../support/sse-headers.ts';
import { accessKey, type Harness, secretKey, textsOf, xmlOf } from './s3-harness.ts';
import { type Mode, settledMode } from './matrix-modes.ts';

export const kib64 = 65_536;
export const mib = 1024 * 1024;

export const writes = ['put', 'form', 'multipart 1', 'multipart 2', 'multipart 3'] as const;
export const copies = [
  'copy',
  'copy of a multipart object',
  'copy of an old version',
  'copy with new metadata',
  'copy onto itself',
  'copied part',
  'copied parts by range',
] as const;
export type Write = (typeof writes)[number];
export type Copy = (typeof copies)[number];

/** What must be readable. */
export type Written = {
  readonly bytes: Buffer;
  /** Sizes of the parts of an object that was uploaded in parts. */
  readonly parts: readonly number[] | undefined;
  /** Without quotes. */
  readonly etag: string;
  /** The value of `x-amz-meta-label`. */
  readonly label: string;
  /** `null` where the write told none. */
  readonly versionId: string;
  readonly mode: Mode;
};

/** Stands in the middle of everything that is not too short for it, so that traces can be searched for. */
export const marker: Buffer = Buffer.from(`marker-${randomBytes(16).toString('hex')}`);
const pool = randomBytes(8 * mib);
let turn = 0;

/** Bytes that differ from those of every other call. */
export function bodyOf(sizeBytes: number): Buffer {
  turn += 1;
  const start = (turn * 7919) % (pool.length - sizeBytes);
  const body = Buffer.from(pool.subarray(start, start + sizeBytes));
  if (sizeBytes > marker.length) marker.copy(body, Math.floor(sizeBytes / 2));
  return body;
}

const md5Of = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

/** The ETag of an object in parts, from those of the parts. */
export function multipartEtag(parts: readonly string[]): string {
  const digests = parts.map((etag) => Buffer.from(etag, 'hex'));
  return `${md5Of(Buffer.concat(digests))}-${parts.length}`;
}

function success(answer: S3TestAnswer, status = 200): S3TestAnswer {
  assert.equal(answer.status, status, answer.body.toString().slice(0, 500));
  return answer;
}

const bare = (etag: unknown): string => String(etag).replaceAll('"', '');

/** The ETag of one write: known beforehand, or one that says nothing about the bytes. */
function checkSingleEtag(mode: Mode, bytes: Buffer, etag: string): string {
  if (mode.hasMd5Etags) assert.equal(etag, md5Of(bytes), 'the ETag is the MD5');
  else {
    assert.match(etag, /^[0-9a-f]{32}$/);
    assert.notEqual(etag, md5Of(bytes), 'the ETag tells nothing');
  }
  return etag;
}

function versionOf(answer: S3TestAnswer): string {
  return String(answer.headers['x-amz-version-id'] ?? 'null');
}

export class MatrixWriter {
  readonly #at: Harness;
  #labels = 0;
  /** `bucket/name` of objects that copies read, by mode, size and kind; made once. */
  readonly #sources = new Map<string, Promise<Source>>();

  constructor(at: Harness) {
    this.#at = at;
  }

  async write(how: Write, target: string, mode: Mode, size: number): Promise<Written> {
    if (how === 'put') return this.put(target, mode, bodyOf(size));
    if (how === 'form') return this.#form(target, mode, bodyOf(size));
    const count = Number(how.slice(-1));
    const bodies = [5 * mib, 5 * mib + 1].slice(0, count - 1).map(bodyOf);
    return this.#multipart(target, mode, [...bodies, bodyOf(size)]);
  }

  async copy(
    how: Copy,
    target: string,
    modes: { readonly mode: Mode; readonly from: Mode },
    size: number,
  ): Promise<Written> {
    const { mode, from } = modes;
    switch (how) {
      case 'copied part':
        return this.#copyParts(target, mode, [await this.#wholeSource(from, size)]);
      case 'copied parts by range':
        return this.#copyParts(target, mode, await this.#rangedSources(from, size));
      case 'copy of a multipart object':
        return this.copyObject(target, mode, await this.#source(from, size, 'multipart'), {});
      case 'copy of an old version':
        return this.copyObject(target, mode, await this.#source(from, size, 'old version'), {});
      case 'copy onto itself': {
        // Where the bucket has a default, asking for nothing gives that.
        const { bytes, label } = await this.put(target, settledMode(from, mode), bodyOf(size));
        const source: Source = { name: target, bytes, label, headers: from.source };
        return this.copyObject(target, mode, source, this.newLabel());
      }
      case 'copy with new metadata':
        return this.copyObject(
          target,
          mode,
          await this.#source(from, size, 'single'),
          this.newLabel(),
        );
      case 'copy':
        return this.copyObject(target, mode, await this.#source(from, size, 'single'), {});
    }
  }

  async put(target: string, mode: Mode, bytes: Buffer): Promise<Written> {
    const label = this.#nextLabel();
    const headers = { ...mode.write, 'x-amz-meta-label': label };
    const answer = success(await this.#at.send('PUT', target, { headers, body: bytes }));
    return this.#single({ answer, mode, bytes, label });
  }

  async #form(target: string, mode: Mode, bytes: Buffer): Promise<Written> {
    const label = this.#nextLabel();
    const [, bucket = '', ...key] = target.split('/');
    const fields = Object.entries({
      key: key.join('/'),
      'x-amz-meta-label': label,
      ...mode.write,
    });
    const form = encodeForm(signedForm(bucket, fields, { accessKey, secretKey }), bytes);
    const answer = success(await this.#at.as('anonymous').send('POST', `/${bucket}`, form), 204);
    return this.#single({ answer, mode, bytes, label });
  }

  #single(input: {
    readonly answer: S3TestAnswer;
    readonly mode: Mode;
    readonly bytes: Buffer;
    readonly label: string;
  }): Written {
    const { answer, mode, bytes, label } = input;
    assert.deepEqual(shownEncryption(answer.headers), mode.shown);
    const etag = checkSingleEtag(mode, bytes, bare(answer.headers['etag']));
    return { bytes, parts: undefined, etag, label, versionId: versionOf(answer), mode };
  }

  async #multipart(target: string, mode: Mode, bodies: readonly Buffer[]): Promise<Written> {
    return this.#upload(target, mode, async (part) => {
      const etags: string[] = [];
      for (const [index, body] of bodies.entries()) {
        const answer = success(
          await this.#at.send('PUT', part(index + 1), { headers: mode.read, body }),
        );
        etags.push(checkSingleEtag(mode, body, bare(answer.headers['etag'])));
      }
      return { etags, bodies };
    });
  }

  async #copyParts(target: string, mode: Mode, sources: readonly RangedSource[]): Promise<Written> {
    return this.#upload(target, mode, async (part) => {
      const etags: string[] = [];
      const bodies: Buffer[] = [];
      for (const [index, { source, range }] of sources.entries()) {
        const headers = {
          ...mode.read,
          ...source.headers,
          'x-amz-copy-source': source.name,
          ...(range === undefined
            ? {}
            : { 'x-amz-copy-source-range': `bytes=${range.start}-${range.end - 1}` }),
        };
        const answer = success(await this.#at.send('PUT', part(index + 1), { headers }));
        const body = source.bytes.subarray(range?.start, range?.end);
        bodies.push(body);
        etags.push(checkSingleEtag(mode, body, bare(textsOf(xmlOf(answer), 'ETag')[0])));
      }
      return { etags, bodies };
    });
  }

  async #upload(
    target: string,
    mode: Mode,
    send: (
      part: (number: number) => string,
    ) => Promise<{ readonly etags: readonly string[]; readonly bodies: readonly Buffer[] }>,
  ): Promise<Written> {
    const label = this.#nextLabel();
    const headers = { ...mode.write, 'x-amz-meta-label': label };
    const created = success(await this.#at.send('POST', `${target}?uploads`, { headers }));
    assert.deepEqual(shownEncryption(created.headers), mode.shown);
    const uploadId = encodeURIComponent(textsOf(xmlOf(created), 'UploadId')[0] ?? '');
    const { etags, bodies } = await send(
      (number) => `${target}?partNumber=${number}&uploadId=${uploadId}`,
    );
    const list = etags.map(
      (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`,
    );
    const body = `<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`;
    const completion = { headers: mode.read, body };
    const answer = await this.#at.send('POST', `${target}?uploadId=${uploadId}`, completion);
    const etag = bare(textsOf(xmlOf(success(answer)), 'ETag')[0]);
    assert.equal(etag, multipartEtag(etags));
    const { context: _, ...shown } = mode.shown;
    assert.deepEqual(shownEncryption(answer.headers), shown);
    const parts = bodies.map(({ length }) => length);
    const versionId = versionOf(answer);
    return { bytes: Buffer.concat(bodies), parts, etag, label, versionId, mode };
  }

  /** CopyObject; `more` may bring new metadata. */
  async copyObject(
    target: string,
    mode: Mode,
    source: Source,
    more: Readonly<Record<string, string>>,
  ): Promise<Written> {
    const headers = {
      ...mode.write,
      ...source.headers,
      ...more,
      'x-amz-copy-source': source.name,
    };
    const answer = success(await this.#at.send('PUT', target, { headers }));
    assert.deepEqual(shownEncryption(answer.headers), mode.shown);
    const etag = bare(textsOf(xmlOf(answer), 'ETag')[0]);
    // A copy onto itself that only changes attributes keeps the ETag that the object had in parts.
    if (!etag.includes('-')) checkSingleEtag(mode, source.bytes, etag);
    const label = more['x-amz-meta-label'] ?? source.label;
    const { bytes } = source;
    return { bytes, parts: undefined, etag, label, versionId: versionOf(answer), mode };
  }

  async #wholeSource(from: Mode, size: number): Promise<RangedSource> {
    return { source: await this.#source(from, size, 'single'), range: undefined };
  }

  /** 5 MiB that begin within a package, then `size` bytes over a border (whole when there are none). */
  async #rangedSources(from: Mode, size: number): Promise<readonly RangedSource[]> {
    const source = await this.#source(from, 5 * mib + 70_000, 'single');
    const first = { source, range: { start: 1, end: 5 * mib + 1 } };
    if (size === 0) return [first, await this.#wholeSource(from, 0)];
    const start = kib64 - 1;
    return [first, { source, range: { start, end: start + size } }];
  }

  #source(from: Mode, size: number, kind: 'single' | 'multipart' | 'old version'): Promise<Source> {
    const id = `${from.name} ${size} ${kind}`;
    const known = this.#sources.get(id);
    if (known !== undefined) return known;
    const made = this.#makeSource(from, size, kind);
    this.#sources.set(id, made);
    return made;
  }

  async #makeSource(
    from: Mode,
    size: number,
    kind: 'single' | 'multipart' | 'old version',
  ): Promise<Source> {
    const isVersioned = kind === 'old version';
    const name = `/sources${isVersioned ? '-versioned' : ''}/${this.#sources.size}`;
    const made =
      kind === 'multipart'
        ? await this.#multipart(name, from, [bodyOf(5 * mib), bodyOf(size)])
        : await this.put(name, from, bodyOf(size));
    if (isVersioned) await this.put(name, from, bodyOf(3));
    const { bytes, label, versionId } = made;
    const version = isVersioned ? `?versionId=${versionId}` : '';
    return { name: `${name}${version}`, bytes, label, headers: from.source };
  }

  /** Headers that replace the metadata by a new label. */
  newLabel(): Readonly<Record<string, string>> {
    return { 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-label': this.#nextLabel() };
  }

  #nextLabel(): string {
    this.#labels += 1;
    return `label-${this.#labels}`;
  }
}

export type Source = {
  /** The value of `x-amz-copy-source`. */
  readonly name: string;
  readonly bytes: Buffer;
  readonly label: string;
  readonly headers: Readonly<Record<string, string>>;
};

type RangedSource = {
  readonly source: Source;
  readonly range: { readonly start: number; readonly end: number } | undefined;
};
