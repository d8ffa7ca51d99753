// Single objects through the whole store: on the engines in memory and on the durable ones, plain and encrypted.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  blobIds,
  bytesOf,
  chunked,
  dumpKv,
  get,
  openTestStore,
  plainAttributes,
  put,
  type TestStore,
  type TestStoreOptions,
} from '../../test/support/test-store.ts';
import { checksumOf } from '../base/checksums.ts';
import { KmsError } from '../sse/kms.ts';
import { BlobError } from './blob-store.ts';
import { StoreError } from './types.ts';

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof StoreError && error.code === code;

function withStore(
  title: string,
  run: (opened: TestStore) => Promise<void>,
  options: TestStoreOptions = {},
): void {
  for (const engine of ['memory', 'durable'] as const) {
    void test(`${engine}: ${title}`, async () => {
      const opened = await openTestStore({ ...options, engine });
      try {
        await run(opened);
      } finally {
        await opened.close();
      }
    });
  }
}

const list = { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 1000 };
const sizes = [0, 1, 1000, 65_536, 131_040, 131_072, 131_073, 300_000, 2_500_000];

withStore('every size comes back, whole or streamed, plain or encrypted', async ({ store }) => {
  for (const kind of ['default', 'sse-s3'] as const) {
    const encryption = { kind };
    for (const size of sizes) {
      const body = randomBytes(size);
      const etag = createHash('md5').update(body).digest('hex');
      for (const source of [body, chunked(body)]) {
        const info = await put(store, 'key', source, { encryption, sizeBytes: size });
        assert.equal(info.etag, etag);
        assert.equal(info.sizeBytes, size);
        assert.equal(info.versionId, 'null');
        assert.equal(info.modifiedMs % 1000, 0);
        assert.deepEqual(
          info.encryption,
          kind === 'sse-s3' ? { kind: 'sse-s3', keyName: 'test-key' } : undefined,
        );
        assert.ok(body.equals(await get(store, 'key')));
      }
    }
  }
});

withStore('ranges are exact, also across packages', async ({ store }) => {
  for (const kind of ['default', 'sse-s3'] as const) {
    const encryption = { kind };
    for (const size of [1000, 100_000, 1_000_000]) {
      const body = randomBytes(size);
      await put(store, 'key', body, { encryption });
      for (let round = 0; round < 20; round += 1) {
        const start = Math.floor(Math.random() * size);
        const end = start + Math.floor(Math.random() * (size - start + 1));
        const part = await get(store, 'key', { start, end });
        assert.ok(body.subarray(start, end).equals(part), `${start}-${end} of ${size}`);
      }
      const last = await get(store, 'key', { start: size - 1, end: size });
      assert.ok(body.subarray(size - 1).equals(last));
      await assert.rejects(get(store, 'key', { start: 0, end: size + 1 }), StoreError);
    }
  }
});

withStore('attributes and checksums come back', async ({ store }) => {
  const attributes = {
    headers: { 'content-type': 'text/plain', 'cache-control': 'no-cache' },
    userMetadata: { colour: 'grün', __proto__x: '1', constructor: '2' },
    tagging: 'a=1&b=2',
    storageClass: 'STANDARD_IA',
  };
  const body = Buffer.from('hello world');
  const checksum = { algorithm: 'CRC64NVME', expected: 'jSnVw/bqjr4=' } as const;
  const info = await put(store, 'key', body, { attributes, checksum });
  const opened = await store.openObject({ bucket: 'bucket', key: 'key' });
  assert.deepEqual(opened.info, info);
  assert.deepEqual(opened.info.attributes, attributes);
  const found = { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'jSnVw/bqjr4=' };
  assert.deepEqual(opened.info.checksum, found);
  const changed = { ...attributes, userMetadata: { other: 'x' } };
  const replaced = await store.replaceAttributes({ expected: info, attributes: changed });
  const again = await store.openObject({ bucket: 'bucket', key: 'key', willRead: true });
  assert.deepEqual(again.info.attributes, changed);
  assert.deepEqual(await bytesOf(await again.read()), body);
  const missing = { expected: { ...info, key: 'missing' }, attributes };
  await assert.rejects(store.replaceAttributes(missing), hasCode('NoSuchKey'));
  const stale = { expected: info, attributes };
  await assert.rejects(store.replaceAttributes(stale), hasCode('PreconditionFailed'));
  await put(store, 'key', Buffer.from('other bytes'), { attributes: changed });
  const old = { expected: replaced, attributes };
  await assert.rejects(store.replaceAttributes(old), hasCode('PreconditionFailed'));
  const kept = await store.openObject({ bucket: 'bucket', key: 'key' });
  assert.deepEqual(kept.info.attributes, changed);
});

withStore(
  'a body that is not what was announced leaves nothing',
  async ({ store, rawKv, blobs }) => {
    const before = await dumpKv(rawKv);
    const failure = new Error('the client went away');
    async function* failing(size: number): AsyncGenerator<Uint8Array> {
      yield* chunked(randomBytes(size));
      throw failure;
    }
    for (const size of [1000, 400_000]) {
      const body = randomBytes(size);
      const wrong = checksumOf('SHA256', randomBytes(1)).toString('base64');
      const source = (isStream: boolean) => (isStream ? chunked(body) : body);
      for (const isStream of [false, true]) {
        for (const kind of ['default', 'sse-s3'] as const) {
          const encryption = { kind };
          const attempts = [
            [{ contentMd5: randomBytes(16) }, 'BadDigest'],
            [{ contentMd5: randomBytes(15) }, 'BadDigest'],
            [{ checksum: { algorithm: 'SHA256', expected: wrong } }, 'BadDigest'],
            [{ checksum: { algorithm: 'SHA256', expected: () => wrong } }, 'BadDigest'],
            [{ checksum: { algorithm: 'CRC32', expected: 'not base64!' } }, 'BadDigest'],
            [{ sizeBytes: size + 1 }, 'IncompleteBody'],
            [{ sizeBytes: size - 1 }, 'IncompleteBody'],
          ] as const;
          for (const [more, code] of attempts) {
            const refused = put(store, 'key', source(isStream), { ...more, encryption });
            await assert.rejects(refused, hasCode(code));
          }
          const aborted = put(store, 'key', failing(size), { encryption });
          await assert.rejects(aborted, (error) => error === failure);
        }
      }
    }
    assert.deepEqual(await dumpKv(rawKv), before);
    assert.deepEqual(await blobIds(blobs), []);
  },
);

withStore('a good trailer checksum is read after the body', async ({ store }) => {
  const body = randomBytes(500_000);
  let hasEnded = false;
  async function* source(): AsyncGenerator<Uint8Array> {
    yield* chunked(body);
    hasEnded = true;
  }
  const expected = (): string => {
    assert.ok(hasEnded);
    return checksumOf('CRC32C', body).toString('base64');
  };
  const info = await put(store, 'key', source(), { checksum: { algorithm: 'CRC32C', expected } });
  assert.equal(info.checksum?.value, expected());
});

withStore('overwriting and deleting leave no stored byte behind', async (opened) => {
  const { store, rawKv, blobs, clock } = opened;
  const before = await dumpKv(rawKv);
  for (const kind of ['default', 'sse-s3'] as const) {
    const encryption = { kind };
    for (const size of [0, 500, 300_000, 500, 300_000, 0, 300_000]) {
      await put(store, 'key', randomBytes(size), { encryption });
    }
  }
  await store.deleteObject({ bucket: 'bucket', key: 'key' });
  await store.deleteObject({ bucket: 'bucket', key: 'key' });
  await store.deleteObject({ bucket: 'bucket', key: 'never' });
  assert.equal((await blobIds(blobs)).length, 6);
  await store.sweep();
  assert.equal((await blobIds(blobs)).length, 6);
  clock.aheadMs = 61_000;
  await store.sweep();
  assert.deepEqual(await blobIds(blobs), []);
  assert.deepEqual(await dumpKv(rawKv), before);
});

withStore('what is not there is reported as such', async ({ store }) => {
  const open = (bucket: string, key: string, versionId?: string) =>
    store.openObject({ bucket, key, ...(versionId === undefined ? {} : { versionId }) });
  await put(store, 'key', Buffer.from('x'));
  await assert.rejects(open('nowhere', 'key'), hasCode('NoSuchBucket'));
  await assert.rejects(open('bucket', 'other'), hasCode('NoSuchKey'));
  await assert.rejects(open('bucket', 'key', 'abc'), hasCode('NoSuchVersion'));
  assert.equal((await open('bucket', 'key', 'null')).info.sizeBytes, 1);
  const nowhere = put(store, 'key', Buffer.from('x'), { bucket: 'nowhere' });
  await assert.rejects(nowhere, hasCode('NoSuchBucket'));
  await assert.rejects(
    store.deleteObject({ bucket: 'nowhere', key: 'x' }),
    hasCode('NoSuchBucket'),
  );
  await store.deleteObject({ bucket: 'bucket', key: 'key', versionId: 'abc' });
  assert.equal((await open('bucket', 'key')).info.sizeBytes, 1);
  for (const key of ['', 'a\0b', '\ud800', 'x'.repeat(1025)]) {
    await assert.rejects(put(store, key, Buffer.from('x')), hasCode('InvalidArgument'));
  }
  await put(store, 'ä'.repeat(512), Buffer.from('x'));
});

withStore('conditions are decided by the current version', async ({ store }) => {
  const body = Buffer.from('x');
  const ifMatch = (etag: string) => put(store, 'key', body, { conditions: { ifMatch: etag } });
  const ifNone = (etag: string) => put(store, 'key', body, { conditions: { ifNoneMatch: etag } });
  await assert.rejects(ifMatch('*'), hasCode('NoSuchKey'));
  await assert.rejects(ifMatch('abc'), hasCode('NoSuchKey'));
  const { etag } = await ifNone('*');
  await assert.rejects(ifNone('*'), hasCode('PreconditionFailed'));
  await assert.rejects(ifNone(etag), hasCode('PreconditionFailed'));
  await assert.rejects(ifMatch('abc'), hasCode('PreconditionFailed'));
  await ifNone('other');
  await ifMatch(etag);
  await ifMatch('*');
  const remove = (tag: string) =>
    store.deleteObject({ bucket: 'bucket', key: 'key', ifMatch: tag });
  await assert.rejects(remove('abc'), hasCode('PreconditionFailed'));
  await remove(etag);
  await remove(etag);
});

withStore('of many conditional writers exactly one wins', async ({ store, blobs }) => {
  for (const size of [100, 200_000]) {
    const attempts = Array.from({ length: 12 }, () =>
      put(store, `new-${size}`, randomBytes(size), { conditions: { ifNoneMatch: '*' } }),
    );
    const outcomes = await Promise.allSettled(attempts);
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    assert.equal(won.length, 1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') assert.ok(hasCode('PreconditionFailed')(outcome.reason));
    }
    const stored = await store.openObject({ bucket: 'bucket', key: `new-${size}` });
    assert.equal(stored.info.etag, won[0]?.value.etag);
  }
  assert.equal((await blobIds(blobs)).length, 1);
});

withStore('concurrent writers of one key all succeed and one of them stays', async (opened) => {
  const { store, rawKv, clock, blobs } = opened;
  const bodies = Array.from({ length: 30 }, (_, index) => randomBytes(index % 3 ? 100 : 200_000));
  await Promise.all(
    bodies.map((body) => put(store, 'key', body, { encryption: { kind: 'sse-s3' } })),
  );
  const found = await get(store, 'key');
  assert.ok(bodies.some((body) => body.equals(found)));
  assert.deepEqual(await store.keyUsage('test-key'), { objects: 1, bytes: found.length });
  clock.aheadMs = 61_000;
  await store.sweep();
  const inline = [...(await dumpKv(rawKv)).keys()].filter((entryKey) => entryKey.startsWith('i'));
  assert.equal(inline.length + (await blobIds(blobs)).length, 1);
});

withStore('readers are never disturbed by overwriters', async ({ store }) => {
  const bodies = Array.from({ length: 4 }, (_, index) => randomBytes(index * 60_000 + 10));
  await put(store, 'key', Buffer.concat(bodies));
  const state = { isWriting: true };
  const write = async (): Promise<void> => {
    for (let round = 0; round < 40; round += 1) {
      await put(store, 'key', bodies[round % 4] ?? ('' as never), {
        encryption: { kind: 'sse-s3' },
      });
    }
    state.isWriting = false;
  };
  const read = async (): Promise<void> => {
    while (state.isWriting) {
      const opened = await store.openObject({ bucket: 'bucket', key: 'key', willRead: true });
      const bytes = await bytesOf(await opened.read());
      assert.equal(createHash('md5').update(bytes).digest('hex'), opened.info.etag);
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  };
  await Promise.all([write(), read(), read()]);
});

withStore(
  'the KMS is asked once for a PUT and a GET, never for HEAD, LIST, DELETE',
  async (opened) => {
    const { store, kms } = opened;
    for (const size of [0, 1000, 300_000]) {
      kms.calls.generate = 0;
      kms.calls.decrypt = 0;
      await put(store, 'key', randomBytes(size), { encryption: { kind: 'sse-s3' } });
      assert.deepEqual(kms.calls, { generate: 1, decrypt: 0 });
      const { read } = await store.openObject({ bucket: 'bucket', key: 'key', willRead: true });
      await store.listObjects(list);
      assert.deepEqual(kms.calls, { generate: 1, decrypt: 0 });
      await bytesOf(await read());
      assert.deepEqual(kms.calls, { generate: 1, decrypt: 1 });
      const { info } = await store.openObject({ bucket: 'bucket', key: 'key' });
      await store.replaceAttributes({ expected: info, attributes: plainAttributes });
      await store.deleteObject({ bucket: 'bucket', key: 'key' });
      assert.deepEqual(kms.calls, { generate: 1, decrypt: 1 });
    }
    await put(store, 'plain', randomBytes(100));
    await get(store, 'plain');
    assert.deepEqual(kms.calls, { generate: 1, decrypt: 1 });
  },
);

withStore('a KMS that fails stops encrypted PUT and GET, and nothing else', async (opened) => {
  const { store, kms, blobs, rawKv } = opened;
  await put(store, 'sealed', Buffer.from('secret'), { encryption: { kind: 'sse-s3' } });
  await put(store, 'plain', Buffer.from('public'));
  const before = await dumpKv(rawKv);
  for (const code of ['unreachable', 'key-disabled', 'key-not-found'] as const) {
    kms.failure = new KmsError(code, 'no');
    for (const size of [10, 300_000]) {
      for (const body of [randomBytes(size), chunked(randomBytes(size))]) {
        const refused = put(store, 'new', body, { encryption: { kind: 'sse-s3' } });
        await assert.rejects(refused, kms.failure);
      }
    }
    await assert.rejects(get(store, 'sealed'), kms.failure);
    assert.equal((await get(store, 'plain')).toString(), 'public');
    assert.equal((await store.listObjects(list)).objects.length, 2);
    const head = await store.openObject({ bucket: 'bucket', key: 'sealed' });
    assert.equal(head.info.sizeBytes, 6);
  }
  assert.deepEqual(await dumpKv(rawKv), before);
  assert.deepEqual(await blobIds(blobs), []);
  kms.failure = undefined;
  assert.equal((await get(store, 'sealed')).toString(), 'secret');
});

withStore('bucket default and auto-encryption encrypt what asks for nothing', async (opened) => {
  const { store } = opened;
  await put(store, 'before', Buffer.from('x'));
  await store.updateBucketSettings('bucket', () => ({ encryption: { algorithm: 'AES256' } }));
  assert.equal((await put(store, 'a', Buffer.from('x'))).encryption?.kind, 'sse-s3');
  assert.equal((await store.getBucket('bucket')).settings.encryption?.algorithm, 'AES256');
  await store.updateBucketSettings('bucket', () => ({}));
  assert.equal((await put(store, 'b', Buffer.from('x'))).encryption, undefined);
  assert.deepEqual(await store.keyUsage('test-key'), { objects: 1, bytes: 1 });
});

withStore(
  'what was received in clear never appears after encryption was turned on',
  async (opened) => {
    const { store, rawKv } = opened;
    const before = await dumpKv(rawKv);
    const begun = Promise.withResolvers<void>();
    const rest = Promise.withResolvers<void>();
    async function* body() {
      yield Buffer.from('first ');
      begun.resolve();
      await rest.promise;
      yield Buffer.from('second');
    }
    const slow = put(store, 'slow', body());
    await begun.promise;
    await store.updateBucketSettings('bucket', () => ({ encryption: { algorithm: 'AES256' } }));
    rest.resolve();
    await assert.rejects(slow, { code: 'StorageUnavailable' });
    await assert.rejects(get(store, 'slow'), { code: 'NoSuchKey' });
    assert.equal((await dumpKv(rawKv)).size, before.size);
    assert.equal((await put(store, 'slow', Buffer.from('x'))).encryption?.kind, 'sse-s3');
  },
);

withStore(
  'auto-encryption encrypts everything',
  async ({ store }) => {
    const { encryption } = await put(store, 'a', Buffer.from('x'));
    assert.deepEqual(encryption, { kind: 'sse-s3', keyName: 'test-key' });
  },
  { settings: { isAutoEncrypting: true } },
);

withStore(
  'without a KMS a request for encryption is refused, never ignored',
  async ({ store, rawKv }) => {
    const before = await dumpKv(rawKv);
    assert.equal(store.hasKms, false);
    const refused = put(store, 'a', Buffer.from('x'), { encryption: { kind: 'sse-s3' } });
    await assert.rejects(refused, hasCode('KmsNotConfigured'));
    assert.deepEqual(await dumpKv(rawKv), before);
  },
  { hasKms: false, isSealed: false },
);

withStore('the index of master keys is exact through every change', async ({ store, kms }) => {
  const usage = () => store.keyUsage('test-key');
  await put(store, 'a', randomBytes(1000), { encryption: { kind: 'sse-s3' } });
  await put(store, 'b', randomBytes(200_000), { encryption: { kind: 'sse-s3' } });
  assert.deepEqual(await usage(), { objects: 2, bytes: 201_000 });
  await put(store, 'a', randomBytes(10), { encryption: { kind: 'sse-s3' } });
  assert.deepEqual(await usage(), { objects: 2, bytes: 200_010 });
  await put(store, 'b', randomBytes(10));
  assert.deepEqual(await usage(), { objects: 1, bytes: 10 });
  await kms.createKey('second');
  kms.defaultKeyName = 'second';
  await put(store, 'a', randomBytes(20), { encryption: { kind: 'sse-s3' } });
  assert.deepEqual(await usage(), { objects: 0, bytes: 0 });
  assert.deepEqual(await store.keyUsage('second'), { objects: 1, bytes: 20 });
  await store.deleteObject({ bucket: 'bucket', key: 'a' });
  assert.deepEqual(await store.keyUsage('second'), { objects: 0, bytes: 0 });
  assert.deepEqual(await store.keyUsage('unknown'), { objects: 0, bytes: 0 });
});

withStore('nothing readable is on the engine once it is sealed', async ({ store, rawKv }) => {
  const attributes = { ...plainAttributes, userMetadata: { note: 'visible-note' } };
  await put(store, 'key', Buffer.from('visible-bytes'), { attributes });
  const text = [...(await dumpKv(rawKv)).entries()]
    .filter(([entryKey]) => !entryKey.startsWith('s'))
    .map(([, value]) => Buffer.from(value, 'hex').toString('latin1'))
    .join();
  assert.ok(!text.includes('visible'));
});

withStore(
  'an orphaned blob is swept after its grace; a foreign file, or one older than the metadata, never',
  async (opened) => {
    const { store, blobs, clock } = opened;
    const time = (Date.now() + 1000).toString(16).padStart(12, '0');
    await blobs.write(`${time}${randomBytes(10).toString('hex')}`, chunked(randomBytes(10)));
    await blobs.write('foreign', chunked(randomBytes(10)));
    const older = `${'0'.repeat(12)}${randomBytes(10).toString('hex')}`;
    await blobs.write(older, chunked(randomBytes(10)));
    await put(store, 'key', randomBytes(300_000));
    assert.equal((await store.sweep()).orphans, 0);
    clock.aheadMs = 86_500_000;
    assert.equal((await store.sweep({ withOrphans: false })).orphans, 0);
    assert.equal((await store.sweep()).orphans, 1);
    assert.equal((await blobIds(blobs)).length, 3);
    assert.equal((await get(store, 'key')).length, 300_000);
  },
);

withStore(
  'a blob that the sweep took while it was written is never named: the upload fails',
  async ({ store, blobs, clock }) => {
    const bytes = randomBytes(400_000);
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 300_000);
      clock.aheadMs += 100_000_000;
      // Whatever was written so far looks more than a day old.
      await store.sweep();
      yield bytes.subarray(300_000);
      await store.sweep();
    }
    const stored = await put(store, 'slow', slow()).then(
      () => true,
      () => false,
    );
    const found = await get(store, 'slow').then(
      (read) => read.equals(bytes),
      () => undefined,
    );
    assert.equal(found, stored ? true : undefined);
    assert.equal((await get(store, 'slow').catch(() => bytes)).equals(bytes), true);
    await put(store, 'slow', bytes);
    assert.ok((await get(store, 'slow')).equals(bytes));
    assert.ok((await blobIds(blobs)).length <= 2);
  },
);

withStore(
  'a blob that the sweep took between its last byte and its commit is never named: the upload fails',
  async ({ store, blobs, clock, rawKv }) => {
    const ref = await store.createUpload({
      bucket: 'bucket',
      key: 'parts',
      attributes: plainAttributes,
      encryption: { kind: 'default' },
      owner: 'owner',
    });
    const write = blobs.write.bind(blobs);
    blobs.write = async (...args) => {
      const sizeBytes = await write(...args);
      clock.aheadMs += 100_000_000;
      assert.equal((await store.sweep()).orphans, 1);
      return sizeBytes;
    };
    const body = randomBytes(300_000);
    const before = await dumpKv(rawKv);
    await assert.rejects(put(store, 'key', body), hasCode('StorageUnavailable'));
    const part = { bucket: 'bucket', key: 'parts', uploadId: ref.uploadId, partNumber: 1 };
    await assert.rejects(
      store.putPart({ ...part, body, sizeBytes: body.length }),
      hasCode('StorageUnavailable'),
    );
    blobs.write = write;
    await assert.rejects(get(store, 'key'), hasCode('NoSuchKey'));
    assert.deepEqual(await blobIds(blobs), []);
    // The ids stay taken for a day, then nothing is left of them.
    clock.aheadMs += 100_000_000;
    await store.sweep();
    assert.deepEqual([...(await dumpKv(rawKv)).keys()], [...before.keys()]);
  },
);

withStore(
  'garbage that cannot be removed stays, and holds nothing else up',
  async ({ store, blobs, clock }) => {
    for (const key of ['a', 'b']) await put(store, key, randomBytes(300_000));
    const [stuck] = await blobIds(blobs);
    for (const key of ['a', 'b']) await store.deleteObject({ bucket: 'bucket', key });
    const remove = blobs.remove.bind(blobs);
    blobs.remove = async (id) => {
      if (id === stuck) throw new BlobError('unavailable', 'stuck');
      await remove(id);
    };
    clock.aheadMs = 100_000;
    assert.equal((await store.sweep()).garbage, 1);
    assert.deepEqual(await blobIds(blobs), [stuck]);
    blobs.remove = remove;
    assert.equal((await store.sweep()).garbage, 1);
    assert.deepEqual(await blobIds(blobs), []);
  },
);

withStore('names of any length are looked for and not found', async ({ store }) => {
  await put(store, 'key', Buffer.from('x'));
  for (const length of [256, 1500, 5000]) {
    const long = 'z'.repeat(length);
    await assert.rejects(store.getBucket(long), hasCode('NoSuchBucket'));
    await assert.rejects(store.listObjects({ ...list, bucket: long }), hasCode('NoSuchBucket'));
    await assert.rejects(store.deleteBucket(long), hasCode('NoSuchBucket'));
    assert.deepEqual((await store.listBuckets({ prefix: long, after: '', limit: 9 })).buckets, []);
    assert.deepEqual((await store.listBuckets({ prefix: '', after: long, limit: 9 })).buckets, []);
    assert.deepEqual((await store.listObjects({ ...list, prefix: long })).objects, []);
    assert.deepEqual((await store.listObjects({ ...list, after: long })).objects, []);
    const before = { ...list, after: 'a'.repeat(length) };
    assert.equal((await store.listObjects(before)).objects.length, 1);
    for (const uploadIdMarker of ['', long]) {
      const query = { bucket: 'bucket', prefix: '', delimiter: '/', limit: 9, keyMarker: long };
      assert.deepEqual((await store.listUploads({ ...query, uploadIdMarker })).uploads, []);
      const below = { ...query, prefix: long, keyMarker: '', uploadIdMarker };
      assert.deepEqual((await store.listUploads(below)).uploads, []);
    }
  }
});

withStore('totals count everything', async ({ store, clock }) => {
  await put(store, 'a', randomBytes(100));
  const first = { objects: 1, bytes: 100, versions: 1, deleteMarkers: 0 };
  const usage = async () => {
    const { byBucket, ...all } = await store.totals();
    return { ...all, byBucket: Object.fromEntries(byBucket) };
  };
  assert.deepEqual(await usage(), { buckets: 1, ...first, byBucket: { bucket: first } });
  await put(store, 'b', randomBytes(200_000), { encryption: { kind: 'sse-s3' } });
  await store.createBucket({ name: 'empty', owner: 'o', location: '' });
  clock.aheadMs = 61_000;
  const both = { objects: 2, bytes: 200_100, versions: 2, deleteMarkers: 0 };
  const none = { objects: 0, bytes: 0, versions: 0, deleteMarkers: 0 };
  const byBucket = { bucket: both, empty: none };
  assert.deepEqual(await usage(), { buckets: 2, ...both, byBucket });
});
