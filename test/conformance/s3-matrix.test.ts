// Every encryption mode × every way to write × sizes around every border × versioning, read back in every way and
// compared with a slow reference (whole buffers and plain maps). The short form holds every combination of any two
// factors, and every mode with every size; COFFER_MATRIX=full takes the whole product.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { allRows, coveringRows, type Factors, type Row } from '../support/covering.ts';
import { VersionModel } from '../support/version-model.ts';
import {
  clientKey,
  defaultDocument,
  type Mode,
  modes,
  otherDefault,
  requestedModes,
  updatedMode,
  updateDocument,
  updatedModes,
} from './matrix-modes.ts';
import { MatrixReader } from './matrix-reads.ts';
import {
  bodyOf,
  copies,
  kib64,
  marker,
  MatrixWriter,
  mib,
  type Write,
  writes,
  type Written,
} from './matrix-writes.ts';
import { type Harness, otherKeyName, startHarness, textsOf, xmlOf } from './s3-harness.ts';

const isFull = process.env['COFFER_MATRIX'] === 'full';

/** 128 KiB is the border of what lies beside its record, with and without the overhead of two packages. */
const border = 128 * 1024;
const smallSizes = [
  0,
  1,
  kib64 - 1,
  kib64,
  kib64 + 1,
  border - 64,
  border - 63,
  border - 1,
  border,
  border + 1,
] as const;
/** With everything else; the full form has all of the small ones too. */
const sizes: readonly number[] = isFull
  ? [...smallSizes, 5 * mib + 1]
  : [0, 1, kib64 - 1, kib64, kib64 + 1, border];
const versionings = ['never', 'Enabled', 'Suspended'] as const;
type Versioning = (typeof versionings)[number];

type ModelVersion = Written & {
  readonly id: string;
  readonly isMarker: boolean;
  readonly tagging: string;
};

/** All rows, or those that hold all combinations of any two factors. */
function rowsOf<Table extends Factors>(table: Table): Row<Table>[] {
  return isFull ? allRows(table) : coveringRows(table);
}

async function setDefault(at: Harness, bucket: string, mode: Mode): Promise<void> {
  const place = mode.prefix === undefined ? '' : `&prefix=${encodeURIComponent(mode.prefix)}`;
  const put = (query: string, body: string) =>
    at.outcome('PUT', `/${bucket}?encryption${query}`, { body });
  if (place !== '') assert.equal(await put('', defaultDocument(otherDefault)), '200');
  assert.equal(await put(place, defaultDocument(mode)), '200');
}

void describe('the matrix', () => {
  let at: Harness;
  let writer: MatrixWriter;
  let reader: MatrixReader;
  let cases = 0;
  const buckets = new Map<string, Promise<string>>();
  before(async () => {
    at = await startHarness({ dsseKeyName: otherKeyName });
    writer = new MatrixWriter(at);
    reader = new MatrixReader(at);
    for (const bucket of ['sources', 'sources-versioned']) await at.send('PUT', `/${bucket}`);
    await setVersioning('sources-versioned', 'Enabled');
  });
  after(async () => {
    const blobBytes = [...at.blobs.bytes.values()].reduce((sum, { length }) => sum + length, 0);
    console.log(`${Math.round(blobBytes / mib)} MiB are left`);
    console.log(`${cases} cases, ${reader.comparisons} answers compared, ${modes.length} modes`);
    await at.close();
  });

  async function setVersioning(bucket: string, status: string): Promise<void> {
    const body = `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`;
    assert.equal(await at.outcome('PUT', `/${bucket}?versioning`, { body }), '200');
  }

  /** A bucket of its own for each object of a bucket that changes its state, else one for all. */
  async function bucketFor(mode: Mode, versioning: Versioning): Promise<string> {
    const id = `${mode.bucketDefault} ${mode.bucketKeyDefault} ${mode.prefix} ${versioning}${versioning === 'Suspended' ? cases : ''}`;
    const known = buckets.get(id);
    if (known !== undefined) return known;
    const name = `bucket-${buckets.size}`;
    const making = (async () => {
      assert.equal(await at.outcome('PUT', `/${name}`), '200');
      if (versioning !== 'never') await setVersioning(name, 'Enabled');
      if (mode.bucketDefault !== undefined) {
        await setDefault(at, name, mode);
      }
      return name;
    })();
    buckets.set(id, making);
    return making;
  }

  /**
   * Writes an object (over an older version, where there are versions), reads all of it, deletes it, and reads what
   * must be left.
   */
  async function run(
    mode: Mode,
    versioning: Versioning,
    write: (target: string) => Promise<Written>,
  ): Promise<void> {
    cases += 1;
    const bucket = await bucketFor(mode, versioning);
    const name = `dir/object-${cases}`;
    const target = `/${bucket}/${name}`;
    const model = new VersionModel<ModelVersion>();
    const add = (written: Written) =>
      model.add(name, { ...written, id: written.versionId, isMarker: false, tagging: '' });
    if (versioning === 'never') {
      add(await write(target));
      await checkListing(bucket, name, model);
      await reader.check(target, only(model, name), { shownId: undefined });
      assert.equal(await at.outcome('DELETE', target), '204');
      assert.equal(await at.outcome('GET', target), '404 NoSuchKey');
      return;
    }
    model.versioning = 'Enabled';
    add(await writer.put(target, mode, bodyOf(9)));
    if (versioning === 'Suspended') {
      await setVersioning(bucket, 'Suspended');
      model.versioning = 'Suspended';
      add(await writer.put(target, mode, bodyOf(11)));
    }
    // A copy onto itself writes what it copies first.
    const hadBefore = await listedIds(bucket, name);
    const written = await write(target);
    for (const id of (await listedIds(bucket, name)).toReversed()) {
      if (hadBefore.includes(id) || id === written.versionId) continue;
      model.add(name, { ...written, id, isMarker: true, tagging: 'unread' });
    }
    add(written);
    await checkVersions(bucket, name, model);
  }

  async function checkVersions(
    bucket: string,
    name: string,
    model: VersionModel<ModelVersion>,
  ): Promise<void> {
    const target = `/${bucket}/${name}`;
    assert.deepEqual(
      await listedIds(bucket, name),
      model.versions(name).map(({ id }) => id),
    );
    await checkListing(bucket, name, model);
    await reader.check(target, only(model, name), { shownId: only(model, name).id });
    const deleted = await at.send('DELETE', target);
    assert.equal(deleted.status, 204);
    assert.equal(deleted.headers['x-amz-delete-marker'], 'true');
    const markerId = String(deleted.headers['x-amz-version-id']);
    model.add(name, { ...only(model, name), id: markerId, isMarker: true, tagging: '' });
    assert.equal(await at.outcome('GET', target), '404 NoSuchKey');
    for (const version of model.versions(name)) {
      const path = `${target}?versionId=${version.id}`;
      if (version.isMarker) {
        if (version.tagging === 'unread') continue;
        assert.equal(await at.outcome('GET', path), '405 MethodNotAllowed');
        continue;
      }
      const suffix = `versionId=${version.id}`;
      await reader.check(target, version, { suffix, shownId: version.id });
    }
    for (const { id } of model.versions(name)) {
      assert.equal(await at.outcome('DELETE', `${target}?versionId=${id}`), '204');
    }
    assert.deepEqual(await listedIds(bucket, name), []);
  }

  function only(model: VersionModel<ModelVersion>, name: string): ModelVersion {
    const current = model.current(name);
    assert.ok(current);
    return current;
  }

  async function listedIds(bucket: string, name: string): Promise<string[]> {
    return textsOf(xmlOf(await at.send('GET', `/${bucket}?versions&prefix=${name}`)), 'VersionId');
  }

  async function checkListing(
    bucket: string,
    name: string,
    model: VersionModel<ModelVersion>,
  ): Promise<void> {
    const listed = xmlOf(await at.send('GET', `/${bucket}?list-type=2&prefix=${name}`));
    const { bytes, etag } = only(model, name);
    assert.deepEqual(textsOf(listed, 'Key'), [name]);
    assert.deepEqual(textsOf(listed, 'Size'), [String(bytes.length)]);
    assert.deepEqual(textsOf(listed, 'ETag'), [`"${etag}"`]);
  }

  const table = { mode: modes, versioning: versionings };
  for (const { mode, how, size, versioning } of [
    ...rowsOf({ ...table, how: writes, size: sizes }),
    ...(isFull ? [] : sizeRows()),
  ]) {
    void test(`${mode.name}, ${how}, ${size} B, versioning ${versioning}`, () =>
      run(mode, versioning, (target) => writer.write(how, target, mode, size)));
  }

  for (const row of rowsOf({ ...table, how: copies, size: sizes, from: requestedModes })) {
    const { mode, how, size, versioning, from } = row;
    void test(`${how} from ${from.name} to ${mode.name}, ${size} B, versioning ${versioning}`, () =>
      run(mode, versioning, (target) => writer.copy(how, target, { mode, from }, size)));
  }

  const updates = {
    from: [...updatedModes, ...requestedModes.filter(({ name }) => name === 'plain')],
    to: updatedModes,
    how: ['put', 'multipart 2'] as const,
    versioning: versionings,
    size: sizes,
  };
  for (const { from, to, how, size, versioning } of rowsOf(updates)) {
    void test(`update of ${how} from ${from.name} to ${to.name}, ${size} B, versioning ${versioning}`, () =>
      run(from, versioning, async (target) => {
        const written = await writer.write(how, target, from, size);
        const update = { body: updateDocument(to) };
        assert.equal(await at.outcome('PUT', `${target}?encryption`, update), '200');
        return { ...written, mode: updatedMode(from, to) };
      }));
  }

  void test('nothing that is stored holds a key of a client', async () => {
    const range = { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 10_000 };
    const stored: Uint8Array[] = (await at.kv.list(range)).map(({ value }) => value);
    stored.push(...at.blobs.bytes.values());
    assert.ok(stored.length > requestedModes.length);
    const secrets = [clientKey, Buffer.from(clientKey.toString('base64'))];
    for (const bytes of stored) {
      assert.ok(!secrets.some((secret) => Buffer.from(bytes).includes(secret)));
    }
  });

  /** Every mode with every size. */
  function sizeRows() {
    const how: readonly Write[] = ['put'];
    const size = [...smallSizes, 5 * mib + 1];
    return allRows({ mode: modes, how, size, versioning: ['never'] as const });
  }
});

void describe('plaintext at rest', () => {
  void test('no stored byte of any encrypted mode is plaintext', async () => {
    const at = await startHarness({ dsseKeyName: otherKeyName });
    try {
      const writer = new MatrixWriter(at);
      for (const [index, mode] of modes.entries()) {
        if (mode.name === 'plain') continue;
        await at.send('PUT', `/bucket-${index}`);
        if (mode.bucketDefault !== undefined) await setDefault(at, `bucket-${index}`, mode);
        for (const how of writes) {
          await writer.write(how, `/bucket-${index}/dir/${how.replace(' ', '')}`, mode, kib64 + 1);
        }
      }
      const range = { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 10_000 };
      const stored: Uint8Array[] = (await at.kv.list(range)).map(({ value }) => value);
      stored.push(...at.blobs.bytes.values());
      assert.ok(at.blobs.bytes.size > modes.length);
      for (const bytes of stored) assert.ok(!Buffer.from(bytes).includes(marker));
    } finally {
      await at.close();
    }
  });
});
