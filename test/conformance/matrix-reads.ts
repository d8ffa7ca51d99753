// Everything that can be read of one object of the matrix, compared with what a reference over the whole buffer
// says: GET, HEAD, ranges at the borders of packages and parts, part numbers, attributes, version ids, wrong keys.

import assert from 'node:assert/strict';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import { customerHeaders, shownEncryption } from '../support/sse-headers.ts';
import { type Harness, textsOf, xmlOf } from './s3-harness.ts';
import { wrongKey } from './matrix-modes.ts';
import { kib64, type Written } from './matrix-writes.ts';

type Expected = { readonly status: number; readonly start: number; readonly end: number };

/** What a Range header means for so many bytes; 416 when it means nothing that there is. */
function rangeOf(header: string, sizeBytes: number): Expected {
  const [first = '', last = ''] = header.slice('bytes='.length).split('-');
  if (first === '') {
    const start = Math.max(0, sizeBytes - Number(last));
    return start < sizeBytes
      ? { status: 206, start, end: sizeBytes }
      : { status: 416, start: 0, end: 0 };
  }
  const start = Number(first);
  if (start >= sizeBytes) return { status: 416, start: 0, end: 0 };
  return { status: 206, start, end: Math.min(sizeBytes, last === '' ? sizeBytes : +last + 1) };
}

/** Ranges at and over the first and last border of packages, every border of parts, and both ends. */
function rangesFor({ bytes, parts = [] }: Written): ReadonlySet<string> {
  const size = bytes.length;
  const ranges = new Set(['bytes=0-0', 'bytes=-1', `bytes=${size}-`, `bytes=0-${size}`]);
  const lastBorder = Math.floor((size - 1) / kib64) * kib64;
  const borders = new Set([kib64, lastBorder]);
  let at = 0;
  for (const part of parts) {
    at += part;
    borders.add(at);
    borders.add(at + kib64);
  }
  for (const border of borders) {
    if (border <= 0 || border >= size) continue;
    ranges.add(`bytes=${border - 1}-${border}`);
    ranges.add(`bytes=${border}-${border}`);
    ranges.add(`bytes=${border - 1}-${border - 1}`);
  }
  if (size > 3) ranges.add(`bytes=1-${size - 2}`);
  if (size > kib64) ranges.add(`bytes=-${size - kib64 + 1}`);
  return ranges;
}

export class MatrixReader {
  readonly #at: Harness;
  /** Answers that were compared. */
  comparisons = 0;

  constructor(at: Harness) {
    this.#at = at;
  }

  /** Reads all that there is; `suffix` names a version; `shownId` is the id that answers tell, if any. */
  async check(
    target: string,
    written: Written,
    version: { readonly suffix?: string; readonly shownId: string | undefined },
  ): Promise<void> {
    const { suffix = '', shownId } = version;
    const query = suffix === '' ? '' : `?${suffix}`;
    const { bytes, mode } = written;
    for (const method of ['GET', 'HEAD']) {
      const answer = await this.#send(method, `${target}${query}`, mode.read);
      this.#compare(answer, written, { method, shownId, status: 200, start: 0, end: bytes.length });
    }
    for (const range of rangesFor(written)) {
      const headers = { ...mode.read, range };
      const answer = await this.#send('GET', `${target}${query}`, headers);
      const expected = rangeOf(range, bytes.length);
      this.#compare(answer, written, { method: 'GET', shownId, ...expected });
    }
    await this.#checkParts(target, written, version);
    await this.#checkAttributes(target, written, version);
    await this.#checkRefusals(`${target}${query}`, written);
  }

  async #checkParts(
    target: string,
    written: Written,
    { suffix = '', shownId }: { readonly suffix?: string; readonly shownId: string | undefined },
  ): Promise<void> {
    const { bytes, parts, mode } = written;
    let start = 0;
    for (const [index, size] of (parts ?? [bytes.length]).entries()) {
      const path = `${target}?partNumber=${index + 1}&${suffix}`;
      const method = index % 2 === 0 ? 'GET' : 'HEAD';
      const answer = await this.#send(method, path, mode.read);
      const status = size === 0 ? 200 : 206;
      this.#compare(answer, written, { method, shownId, status, start, end: start + size });
      const count = parts === undefined ? undefined : String(parts.length);
      assert.equal(answer.headers['x-amz-mp-parts-count'], count);
      start += size;
    }
    const beyond = `${target}?partNumber=${(parts?.length ?? 1) + 1}&${suffix}`;
    const answer = await this.#send('GET', beyond, mode.read);
    assert.equal(answer.status, 400);
  }

  async #checkAttributes(
    target: string,
    { bytes, parts, etag, mode }: Written,
    { suffix = '' }: { readonly suffix?: string },
  ): Promise<void> {
    const headers = { ...mode.read, 'x-amz-object-attributes': 'ETag,ObjectParts,ObjectSize' };
    const answer = await this.#send('GET', `${target}?attributes&${suffix}`, headers);
    assert.equal(answer.status, 200, answer.body.toString());
    const xml = xmlOf(answer);
    assert.deepEqual(textsOf(xml, 'ETag'), [etag]);
    assert.deepEqual(textsOf(xml, 'ObjectSize'), [String(bytes.length)]);
    assert.deepEqual(textsOf(xml, 'Size'), (parts ?? []).map(String));
    const count = parts === undefined ? [] : [String(parts.length)];
    assert.deepEqual(textsOf(xml, 'PartsCount'), count);
  }

  /** A key too few, a wrong one, and one too many give nothing away. */
  async #checkRefusals(path: string, { bytes, mode }: Written): Promise<void> {
    const hasKey = Object.keys(mode.read).length > 0;
    const attempts = hasKey ? [{}, customerHeaders(wrongKey)] : [customerHeaders(wrongKey)];
    for (const headers of attempts) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await this.#send(method, path, headers);
        const isRefused = answer.status === 400 || answer.status === 403;
        assert.ok(isRefused, `${method} ${answer.status} ${Object.keys(headers).length}`);
        if (bytes.length > 8) assert.ok(!answer.body.includes(bytes.subarray(0, 8)));
      }
    }
  }

  #compare(
    answer: S3TestAnswer,
    { bytes, etag, label, mode }: Written,
    expected: Expected & { readonly method: string; readonly shownId: string | undefined },
  ): void {
    const { status, start, end, method, shownId } = expected;
    assert.equal(answer.status, status, answer.body.toString('latin1').slice(0, 300));
    const { headers } = answer;
    if (status === 416) {
      assert.equal(headers['content-range'], `bytes */${bytes.length}`);
      return;
    }
    const sent = method === 'HEAD' ? Buffer.alloc(0) : bytes.subarray(start, end);
    assert.ok(answer.body.equals(sent), `bytes ${start} to ${end} of ${bytes.length}`);
    assert.equal(headers['content-length'], String(end - start));
    const range = status === 206 ? `bytes ${start}-${end - 1}/${bytes.length}` : undefined;
    assert.equal(headers['content-range'], range);
    assert.equal(headers['etag'], `"${etag}"`);
    assert.equal(headers['x-amz-meta-label'], label);
    assert.equal(headers['x-amz-version-id'], shownId);
    assert.deepEqual(shownEncryption(headers), mode.shown);
  }

  #send(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<S3TestAnswer> {
    this.comparisons += 1;
    return this.#at.send(method, target, { headers });
  }
}
