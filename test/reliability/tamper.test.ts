// What somebody with the disk can do to a stored object: change, cut, extend, repeat, swap and move its bytes, in
// files and in the metadata. Whatever it is, no byte is served that was not put into the object, no answer looks
// complete that is not, and the objects beside it are unharmed.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { parseKmsConfig } from '../../src/kms/config.ts';
import { openKms } from '../../src/kms/open-kms.ts';
import { signRequest } from '../../src/sigv4/sign.ts';
import { formatEntryKey } from '../../src/store/sealing/format.ts';
import { currentEntry } from '../../src/store/keys.ts';
import { seededRandom } from '../support/seeded-random.ts';
import {
  accessKey,
  Cleanup,
  expectStatus,
  isReady,
  secretKey,
  type Store,
  sse,
  startStore,
  untilEnded,
  untilReady,
} from './harness.ts';
import {
  allEntries,
  rawValue,
  readStoredObjects,
  type StoredObject,
  withEngine,
} from './stored-files.ts';

const kib = 1024;
const mib = 1024 * kib;
/** A sealed package: header, 64 KiB, tag. */
const packageBytes = 16 + 64 * kib + 16;
const env = {
  MINIO_KMS_SECRET_KEY: `tamper-key:${randomBytes(32).toString('base64')}`,
  COFFER_WORKERS: '1',
};

/** What a client has of an answer when the connection ends, however it ends. */
type Received = { readonly status: number; readonly body: Buffer; readonly isWhole: boolean };

function download(store: Store, target: string, range?: string): Promise<Received> {
  const { headers } = signRequest({
    method: 'GET',
    target,
    headers: { host: `127.0.0.1:${store.port}`, ...(range === undefined ? {} : { range }) },
    credentials: { accessKey, secretKey },
    region: 'us-east-1',
    timeMs: Date.now(),
    payload: { kind: 'empty' },
  });
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: store.port, path: target, headers, agent: false };
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      const status = response.statusCode ?? 0;
      const finish = (): void =>
        resolve({ status, body: Buffer.concat(chunks), isWhole: response.complete });
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', finish);
      response.on('end', finish);
      response.on('close', finish);
    });
    sent.on('error', reject);
    sent.end();
  });
}

/** An error, or a beginning of the true bytes that does not look like all of them. */
function assertRefused(received: Received, plaintext: Buffer, what: string): void {
  if (received.status >= 400) {
    assert.ok(received.status >= 500, `${what}: ${received.status}`);
    return;
  }
  assert.equal(received.isWhole, false, `${what}: a whole answer, status ${received.status}`);
  const served = received.body;
  assert.ok(served.equals(plaintext.subarray(0, served.length)), `${what}: wrong bytes served`);
}

await describe('stored bytes that somebody changed', async () => {
  const cleanup = new Cleanup();
  const plaintexts = new Map<string, Buffer>();
  const state: { dir: string; store?: Store; objects: Map<string, StoredObject> } = {
    dir: '',
    objects: new Map(),
  };
  const storeOf = (): Store => {
    assert.ok(state.store);
    return state.store;
  };
  const objectOf = (key: string): StoredObject => {
    const object = state.objects.get(key);
    assert.ok(object, key);
    return object;
  };
  const plaintextOf = (key: string): Buffer => plaintexts.get(key) ?? Buffer.alloc(0);
  const fileOf = (key: string, part = 0): string => {
    const file = objectOf(key).files[part];
    assert.ok(file, key);
    return file;
  };

  const startAgain = async (): Promise<void> => {
    state.store = await startStore({ dir: state.dir, env }, cleanup);
    await untilReady(state.store);
  };
  const put = async (key: string, size: number): Promise<void> => {
    const body = randomBytes(size);
    plaintexts.set(key, body);
    const call = { method: 'PUT', target: `/bucket/${key}`, headers: sse, body };
    await expectStatus(storeOf().client, call, 200);
  };
  const putParts = async (key: string, sizes: readonly number[]): Promise<void> => {
    const { client } = storeOf();
    const target = `/bucket/${key}`;
    const created = { method: 'POST', target: `${target}?uploads=`, headers: sse };
    const answer = await expectStatus(client, created, 200);
    const uploadId = /<UploadId>([^<]+)</.exec(answer.body.toString())?.[1] ?? '';
    const query = `uploadId=${encodeURIComponent(uploadId)}`;
    const parts = sizes.map((size) => randomBytes(size));
    let list = '';
    for (const [index, body] of parts.entries()) {
      const part = `${target}?partNumber=${index + 1}&${query}`;
      const sent = await expectStatus(client, { method: 'PUT', target: part, body }, 200);
      const etag = String(sent.headers['etag']);
      list += `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`;
    }
    const body = Buffer.from(`<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`);
    await expectStatus(client, { method: 'POST', target: `${target}?${query}`, body }, 200);
    plaintexts.set(key, Buffer.concat(parts));
  };
  /** The true bytes, whole. */
  const assertIntact = async (keys: Iterable<string> = plaintexts.keys()): Promise<void> => {
    for (const key of keys) {
      const received = await download(storeOf(), `/bucket/${key}`);
      assert.equal(received.status, 200, `${key}: ${received.body.subarray(0, 300).toString()}`);
      assert.ok(received.isWhole && received.body.equals(plaintextOf(key)), key);
    }
  };
  /** Changes the file, requires that the object is refused, and puts the file back. */
  const withDamage = async (
    key: string,
    damage: { readonly what: string; readonly part?: number; change(bytes: Buffer): Buffer },
  ): Promise<void> => {
    const file = fileOf(key, damage.part);
    const before = readFileSync(file);
    writeFileSync(file, damage.change(Buffer.from(before)));
    try {
      const what = `${key}: ${damage.what}`;
      assertRefused(await download(storeOf(), `/bucket/${key}`), plaintextOf(key), what);
    } finally {
      writeFileSync(file, before);
    }
  };

  before(async () => {
    state.dir = cleanup.directory('tamper');
    await startAgain();
    await expectStatus(storeOf().client, { method: 'PUT', target: '/bucket' }, 200);
    await put('a', 4 * 64 * kib);
    await put('b', 4 * 64 * kib);
    await put('odd', 333_333);
    await put('large', 3 * mib + 17);
    await putParts('parts', [5 * mib, 5 * mib, 300_000]);
    for (let index = 0; index < 12; index += 1) await put(`small-${index}`, 2_000 + index);
    await storeOf().program.stop();
    const config = parseKmsConfig(env);
    assert.ok(config);
    const kms = await openKms(config, { log: silentLog });
    state.objects = await readStoredObjects(storeOf().dataDir, kms);
    await kms.close();
    await startAgain();
  });
  after(() => cleanup.run());

  await test('a flipped bit anywhere in a file is refused', async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    t.diagnostic(`seed ${seed}`);
    const random = seededRandom(seed);
    for (const key of ['a', 'odd', 'large', 'parts']) {
      for (const [part, file] of objectOf(key).files.entries()) {
        const size = readFileSync(file).length;
        const borders = [packageBytes, 2 * packageBytes, size - (size % packageBytes)].flatMap(
          (at) => [at - 17, at - 16, at - 1, at, at + 1, at + 4, at + 15, at + 16],
        );
        const headers = Array.from({ length: 17 }, (_, at) => at);
        const anywhere = Array.from({ length: 8 }, () => Math.floor(random() * size));
        const every = [...headers, size - 17, size - 16, size - 1, ...borders, ...anywhere];
        const offsets = key === 'parts' ? [0, size - 1, ...anywhere.slice(0, 2)] : every;
        for (const at of offsets.filter((offset) => offset >= 0 && offset < size)) {
          const mask = 1 << Math.floor(random() * 8);
          await withDamage(key, {
            what: `bit ${mask} at ${at} of ${size}, part ${part + 1}`,
            part,
            change: (bytes) => {
              bytes[at] = (bytes[at] ?? 0) ^ mask;
              return bytes;
            },
          });
        }
      }
    }
    await assertIntact();
  });

  await test('a file that is cut, extended, or has packages repeated, swapped or missing is refused', async () => {
    const packages = (bytes: Buffer): Buffer[] =>
      Array.from({ length: Math.ceil(bytes.length / packageBytes) }, (_, index) =>
        bytes.subarray(index * packageBytes, (index + 1) * packageBytes),
      );
    const damages: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
      'one byte short': (bytes) => bytes.subarray(0, -1),
      'cut in a package': (bytes) => bytes.subarray(0, packageBytes + 1000),
      'cut between packages': (bytes) => bytes.subarray(0, packageBytes),
      'without its last package': (bytes) => Buffer.concat(packages(bytes).slice(0, -1)),
      empty: () => Buffer.alloc(0),
      'a package twice': (bytes) => {
        const [first = bytes, ...rest] = packages(bytes);
        return Buffer.concat([first, first, ...rest]);
      },
      'a package twice, of the right length': (bytes) => {
        const [first = bytes, , ...rest] = packages(bytes);
        return Buffer.concat([first, first, ...rest]);
      },
      'packages swapped': (bytes) => {
        const [first = bytes, second = bytes, ...rest] = packages(bytes);
        return Buffer.concat([second, first, ...rest]);
      },
      'the first package missing': (bytes) => Buffer.concat(packages(bytes).slice(1)),
      zeros: (bytes) => Buffer.alloc(bytes.length),
      'a package of another object': (bytes) => {
        const other = packages(readFileSync(fileOf('b')))[1] ?? bytes;
        const [first = bytes, , ...rest] = packages(bytes);
        return Buffer.concat([first, other, ...rest]);
      },
    };
    for (const key of ['a', 'large']) {
      for (const [what, change] of Object.entries(damages)) {
        await withDamage(key, { what, change });
      }
    }
    await assertIntact();
  });

  await test('bytes after the end of a file are never served', async () => {
    for (const key of ['a', 'odd']) {
      const file = fileOf(key);
      const before = readFileSync(file);
      for (const more of [randomBytes(5_000), before, before.subarray(-packageBytes)]) {
        writeFileSync(file, Buffer.concat([before, more]));
        const received = await download(storeOf(), `/bucket/${key}`);
        if (received.status === 200 && received.isWhole) {
          assert.ok(received.body.equals(plaintextOf(key)));
        } else assertRefused(received, plaintextOf(key), 'extended');
      }
      writeFileSync(file, before);
    }
  });

  await test('the file of another object, or of another part, is refused', async () => {
    for (const [key, part, otherKey, otherPart] of [
      ['a', 0, 'b', 0],
      ['b', 0, 'a', 0],
      ['parts', 0, 'parts', 1],
      ['parts', 1, 'parts', 0],
      ['parts', 1, 'large', 0],
    ] as const) {
      const other = readFileSync(fileOf(otherKey, otherPart));
      const what = `the file of ${otherKey} part ${otherPart + 1} as part ${part + 1}`;
      await withDamage(key, { what, part, change: () => other });
    }
    // Both at once: two parts of the same size change places.
    const [first, second] = [fileOf('parts', 0), fileOf('parts', 1)];
    copyFileSync(first, `${first}.kept`);
    copyFileSync(second, first);
    copyFileSync(`${first}.kept`, second);
    assertRefused(
      await download(storeOf(), '/bucket/parts'),
      plaintextOf('parts'),
      'parts swapped',
    );
    copyFileSync(first, second);
    copyFileSync(`${first}.kept`, first);
    unlinkSync(`${first}.kept`);
    await assertIntact();
  });

  await test('ranges give true bytes or an error, and those beside the damage go on working', async () => {
    const file = fileOf('large');
    const before = readFileSync(file);
    const damaged = Buffer.from(before);
    const at = 5 * packageBytes + 4_000;
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(file, damaged);
    const plaintext = plaintextOf('large');
    for (let start = 0; start < plaintext.length; start += 50_000) {
      const end = Math.min(start + 30_000, plaintext.length) - 1;
      const range = `bytes=${start}-${end}`;
      const received = await download(storeOf(), '/bucket/large', range);
      const expected = plaintext.subarray(start, end + 1);
      const isBeside = end < 5 * 64 * kib || start >= 6 * 64 * kib;
      if (isBeside) {
        assert.equal(received.status, 206, range);
        assert.ok(received.isWhole && received.body.equals(expected), range);
      } else assertRefused(received, expected, range);
    }
    writeFileSync(file, before);
    truncateSync(fileOf('odd'), 100);
    const tail = await download(storeOf(), '/bucket/odd', 'bytes=300000-300010');
    assertRefused(tail, plaintextOf('odd').subarray(300_000, 300_011), 'a range of a cut file');
    unlinkSync(fileOf('odd'));
    const gone = await download(storeOf(), '/bucket/odd');
    assert.ok(gone.status >= 500, `a missing file: ${gone.status}`);
    plaintexts.delete('odd');
    await assertIntact();
  });

  await test('changed, moved and forged entries of the metadata are refused, the others served', async () => {
    await storeOf().program.stop();
    const { dataDir } = storeOf();
    const saved = await withEngine(dataDir, (kv) => allEntries(kv));
    const flip = (bytes: Buffer, at: number): Buffer => {
      const index = at < 0 ? bytes.length + at : at;
      bytes[index] = (bytes[index] ?? 0) ^ 4;
      return bytes;
    };
    const damaged: string[] = [];
    const { partsKey } = objectOf('parts');
    assert.ok(partsKey);
    await withEngine(dataDir, async (kv) => {
      const write = async (entryKey: Buffer, value: Buffer): Promise<void> => {
        await kv.commit({ puts: [{ entryKey, value }] });
      };
      const inlineOf = (key: string): Buffer => objectOf(key).inlineKeys[0] ?? Buffer.alloc(0);
      const changes: [key: string, entryKey: Buffer, (value: Buffer) => Buffer][] = [
        ['small-0', inlineOf('small-0'), (value) => flip(value, 0)],
        ['small-1', inlineOf('small-1'), (value) => flip(value, -1)],
        ['small-2', inlineOf('small-2'), (value) => flip(value, 1_000)],
        ['small-3', inlineOf('small-3'), (value) => value.subarray(0, -1)],
        ['small-4', inlineOf('small-4'), () => Buffer.from([0])],
        // As a directory without encryption has it: mark and plain bytes.
        [
          'small-5',
          inlineOf('small-5'),
          () => Buffer.concat([Buffer.from([0]), randomBytes(2_005)]),
        ],
        ['small-6', objectOf('small-6').recordKey, (value) => flip(value, 40)],
        ['small-7', objectOf('small-7').recordKey, (value) => flip(value, -3)],
        ['parts', partsKey, (value) => flip(value, 60)],
      ];
      for (const [key, entryKey, change] of changes) {
        await write(entryKey, change(await rawValue(kv, entryKey)));
        damaged.push(key);
      }
      // Bytes and records change places with those of other objects.
      const [eight, nine] = [inlineOf('small-8'), objectOf('small-9').recordKey];
      await write(eight, await rawValue(kv, inlineOf('small-10')));
      await write(nine, await rawValue(kv, objectOf('small-10').recordKey));
      damaged.push('small-8', 'small-9');
      // A copy of a record under a name that never was.
      const bucketId = objectOf('a').recordKey.subarray(1, 9);
      await write(
        currentEntry(bucketId, Buffer.from('forged')),
        await rawValue(kv, objectOf('a').recordKey),
      );
    });
    await startAgain();
    for (const key of [...damaged, 'forged']) {
      const received = await download(storeOf(), `/bucket/${key}`);
      assert.ok(received.status >= 500, `${key}: ${received.status}`);
    }
    await assertIntact([...plaintexts.keys()].filter((key) => !damaged.includes(key)));

    await storeOf().program.stop();
    await withEngine(dataDir, async (kv) => {
      const bucketId = objectOf('a').recordKey.subarray(1, 9);
      const deletes = [currentEntry(bucketId, Buffer.from('forged'))];
      await kv.commit({ puts: saved, deletes });
    });
    await startAgain();
    await assertIntact();
  });

  await test('a format entry that was changed, or set back to plain, opens nothing and destroys nothing', async () => {
    await storeOf().program.stop();
    const { dataDir } = storeOf();
    const saved = await withEngine(dataDir, (kv) => rawValue(kv, formatEntryKey));
    const fields = JSON.parse(saved.toString()) as Record<string, string>;
    const { version, deploymentId } = fields;
    const other = randomBytes(60).toString('base64');
    const forgeries: Readonly<Record<string, Buffer>> = {
      'another sealed backend key': Buffer.from(JSON.stringify({ ...fields, ciphertext: other })),
      'another deployment': Buffer.from(
        JSON.stringify({ ...fields, deploymentId: '00000000-0000-4000-8000-000000000000' }),
      ),
      'without its MAC': Buffer.from(JSON.stringify({ ...fields, mac: undefined })),
      'still being sealed': Buffer.from(JSON.stringify({ ...fields, state: 'sealing' })),
      plain: Buffer.from(JSON.stringify({ version, deploymentId, state: 'plain' })),
      'not readable': Buffer.from('{'),
    };
    const failures: string[] = [];
    for (const [what, value] of Object.entries(forgeries)) {
      await withEngine(dataDir, (kv) => kv.commit({ puts: [{ entryKey: formatEntryKey, value }] }));
      const store = await startStore({ dir: state.dir, env }, cleanup);
      const outcome = await Promise.race([
        untilEnded(store).then((code) => `ended with ${code}`),
        untilReady(store).then(
          () => 'ready',
          () => 'ended',
        ),
      ]);
      if (outcome === 'ready' || (await isReady(store.port).catch(() => false))) {
        failures.push(`${what}: the store opened`);
      }
      await store.program.stop();
      await withEngine(dataDir, (kv) =>
        kv.commit({ puts: [{ entryKey: formatEntryKey, value: saved }] }),
      );
    }
    assert.deepEqual(failures, []);
    await startAgain();
    await assertIntact();
  });
});
