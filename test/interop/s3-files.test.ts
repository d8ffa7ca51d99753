// Programs that use objects as files, over HTTP and TLS: s3fs (a mounted bucket) in every mode it can ask for, and
// pyarrow and DuckDB, which read Parquet by range, in buckets with and without default encryption.

import assert from 'node:assert/strict';
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectRoot, startProgram, waitUntil } from '../support/programs.ts';
import { clientPaths, runClient } from './clients.ts';
import { awsSdkDriver } from './s3-drivers/aws-sdk.ts';
import { shownFor } from './s3-model.ts';
import type { Mode, Step } from './s3-plan.ts';
import {
  masterKeys,
  newCustomerKey,
  type S3Store,
  startS3Store,
  type Transport,
  transports,
} from './s3-store.ts';
import { succeed } from './s3-tools.ts';
import { assertSameTree, leanTree, writeTree } from './s3-tree.ts';

const mib = 1024 * 1024;
const customerKey = newCustomerKey();

const mountModes: readonly Mode[] = [
  { kind: 'none' },
  { kind: 's3' },
  { kind: 'kms', keyId: masterKeys[0] },
  { kind: 'c', key: customerKey },
];

function hasFuse(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function setUp(store: S3Store, bucket: string, mode: Mode): Promise<void> {
  const stages: Step[][] = [[{ op: 'createBucket', bucket }]];
  if (mode.kind !== 'none') stages.push([{ op: 'setDefault', bucket, mode }]);
  const results = await awsSdkDriver({ ...store.at, stages });
  assert.deepEqual(
    results.flat().filter(({ error }) => error !== undefined),
    [],
  );
}

async function assertMode(
  store: S3Store,
  object: { bucket: string; key: string; mode: Mode; shown?: Mode },
): Promise<void> {
  const { bucket, key, mode } = object;
  const [[result] = []] = await awsSdkDriver({
    ...store.at,
    stages: [[{ op: 'head', bucket, key, mode }]],
  });
  assert.deepEqual(result?.error, undefined, key);
  assert.deepEqual(result?.sse, shownFor(object.shown ?? mode), key);
}

/**
 * Mounts a bucket, works in it, unmounts it, and looks again through a new mount. s3fs asks for encryption only when
 * it writes a file in one request: for copies (renaming) and parts the bucket's default has to be the same.
 */
async function exerciseMount(store: S3Store, mode: Mode): Promise<void> {
  const bucket = `mount-${mode.kind}`;
  const hasKey = mode.kind === 'c';
  await setUp(store, bucket, hasKey ? { kind: 'none' } : mode);
  const at = path.join(store.dir, bucket);
  const from = path.join(store.dir, 'lean');
  await withMount(store, { bucket, mode, at }, () => {
    writeTree(path.join(at, 'tree'), leanTree, store.data);
    assertSameTree(path.join(at, 'tree'), from, 'written and read back');
    mkdirSync(path.join(at, 'folder'));
    writeFileSync(path.join(at, 'folder/appended'), 'first ');
    writeFileSync(path.join(at, 'folder/appended'), 'second', { flag: 'a' });
    writeFileSync(path.join(at, 'folder/cut'), store.data.subarray(0, 70_000));
    truncateSync(path.join(at, 'folder/cut'), 65_537);
    writeFileSync(path.join(at, 'gone'), 'x');
    rmSync(path.join(at, 'gone'));
    if (hasKey) return;
    writeFileSync(path.join(at, 'large.bin'), store.data.subarray(0, 21 * mib));
    renameSync(path.join(at, 'large.bin'), path.join(at, 'renamed+ 1.bin'));
    chmodSync(path.join(at, 'renamed+ 1.bin'), 0o640);
  });
  await withMount(store, { bucket, mode, at }, () => {
    assertSameTree(path.join(at, 'tree'), from, 'through a new mount');
    assert.equal(readFileSync(path.join(at, 'folder/appended'), 'utf8'), 'first second');
    const cut = readFileSync(path.join(at, 'folder/cut'));
    assert.ok(cut.equals(store.data.subarray(0, 65_537)));
    assert.throws(() => statSync(path.join(at, 'gone')), { code: 'ENOENT' });
    if (hasKey) return;
    const renamed = path.join(at, 'renamed+ 1.bin');
    assert.ok(readFileSync(renamed).equals(store.data.subarray(0, 21 * mib)));
    assert.equal(statSync(renamed).mode & 0o777, 0o640);
  });
  await assertMode(store, { bucket, key: 'folder/cut', mode });
  if (!hasKey) await assertMode(store, { bucket, key: 'renamed+ 1.bin', mode });
}

async function withMount(
  store: S3Store,
  options: { readonly bucket: string; readonly mode: Mode; readonly at: string },
  work: () => void,
): Promise<void> {
  const { bucket, mode, at } = options;
  mkdirSync(at, { recursive: true });
  const passwordFile = path.join(store.dir, 'passwd-s3fs');
  const keyFile = path.join(store.dir, 's3fs-key');
  writeFileSync(passwordFile, `${store.at.accessKey}:${store.at.secretKey}\n`, { mode: 0o600 });
  writeFileSync(keyFile, `${customerKey}\n`, { mode: 0o600 });
  const asked = {
    none: [],
    s3: ['use_sse=1'],
    kms: [`use_sse=kmsid:${mode.kind === 'kms' ? (mode.keyId ?? '') : ''}`],
    c: [`use_sse=custom:${keyFile}`, 'nomultipart'],
  }[mode.kind];
  const mount = [
    `passwd_file=${passwordFile}`,
    `url=${store.at.endpoint}`,
    'use_path_request_style',
    'endpoint=us-east-1',
    'multipart_size=5',
    'max_stat_cache_size=0',
    ...asked,
  ];
  const program = await startProgram({
    name: `s3fs-${bucket}`,
    command: [clientPaths.s3fs, bucket, at, '-f', ...mount.flatMap((option) => ['-o', option])],
    dir: store.dir,
    env: store.at.caFile === undefined ? {} : { CURL_CA_BUNDLE: store.at.caFile },
  });
  const isMounted = (): boolean => readFileSync('/proc/mounts', 'utf8').includes(` ${at} fuse`);
  try {
    await waitUntil(program, () => Promise.resolve(isMounted()));
    work();
  } finally {
    await runClient(['fusermount', '-u', at]);
    await program.stop();
  }
}

/** Writes and reads Parquet with both programs; what is stored carries the bucket's default, or what they asked. */
async function exerciseParquet(store: S3Store, mode: Mode): Promise<void> {
  const bucket = `parquet-${mode.kind}`;
  await setUp(store, bucket, mode);
  await succeed(
    [
      clientPaths.python,
      path.join(projectRoot, 'test/interop/s3-drivers/parquet_files.py'),
      store.at.endpoint,
      store.at.caFile ?? '',
      bucket,
      masterKeys[0],
    ],
    {
      env: {
        HOME: store.dir,
        AWS_ACCESS_KEY_ID: store.at.accessKey,
        AWS_SECRET_ACCESS_KEY: store.at.secretKey,
        AWS_EC2_METADATA_DISABLED: 'true',
        PYTHONDONTWRITEBYTECODE: '1',
      },
    },
  );
  const none: Mode = { kind: 'none' };
  const kms: Mode = { kind: 'kms', keyId: masterKeys[0] };
  for (const key of ['a folder/big table+1.parquet', 'duck 1.parquet'])
    await assertMode(store, { bucket, key, mode: none, shown: mode });
  await assertMode(store, { bucket, key: 'duck-kms.parquet', mode: none, shown: kms });
}

await describe('programs that use objects as files', async () => {
  const stores = new Map<Transport, S3Store>();
  before(async () => {
    const start = async (transport: Transport): Promise<void> => {
      const store = await startS3Store(transport, 22 * mib);
      stores.set(transport, store);
      writeTree(path.join(store.dir, 'lean'), leanTree, store.data);
    };
    await Promise.all(transports.map(start));
  });
  after(async () => {
    for (const store of stores.values()) await store.stop();
  });
  for (const transport of transports) {
    const storeOf = (): S3Store => {
      const store = stores.get(transport);
      assert.ok(store);
      return store;
    };
    for (const mode of mountModes) {
      if (mode.kind === 'c' && transport === 'http') continue;
      const skip = hasFuse() ? false : 'no /dev/fuse on this machine';
      await test(`s3fs over ${transport}, ${mode.kind}`, { skip }, () =>
        exerciseMount(storeOf(), mode),
      );
    }
    for (const mode of mountModes.filter(({ kind }) => kind === 'none' || kind === 'kms')) {
      await test(`pyarrow and DuckDB over ${transport}, ${mode.kind}`, () =>
        exerciseParquet(storeOf(), mode.kind === 'kms' ? { ...mode, keyId: masterKeys[1] } : mode));
    }
    await test(`no key of a client is in a log, a metric or a file (${transport})`, async () => {
      const secretKey = storeOf().pair.secretKey;
      await storeOf().assertHidden({ customerKey, secretKey });
    });
  }
});
