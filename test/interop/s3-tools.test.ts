// awscli 1 and 2, s3cmd, rclone and restic against a store over HTTP and one over TLS: folders up, over and down in
// every mode they can ask for, with and without a default of the bucket; long listings; presigned URLs.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { awsSdkDriver } from './s3-drivers/aws-sdk.ts';
import { shownFor } from './s3-model.ts';
import type { Mode, Result, Step } from './s3-plan.ts';
import {
  fetchRaw,
  masterKeys,
  newCustomerKey,
  type S3Store,
  startS3Store,
  type Transport,
  transports,
} from './s3-store.ts';
import { awscli, awscliPythons, rclone, s3cmd, succeed, type Tool } from './s3-tools.ts';
import { assertSameTree, fullTree, leanTree, type TreeFile, writeTree } from './s3-tree.ts';

const mib = 1024 * 1024;
const customerKey = newCustomerKey();
const resticPassword = newCustomerKey();
const manyCount = 1005;

const modes: readonly Mode[] = [
  { kind: 'none' },
  { kind: 's3' },
  { kind: 'kms', keyId: masterKeys[0] },
  { kind: 'c', key: customerKey },
];

const tools: Readonly<Record<string, (store: S3Store) => Tool>> = {
  'awscli 1': (store) => awscli(store, awscliPythons['awscli 1']),
  'awscli 2': (store) => awscli(store, awscliPythons['awscli 2']),
  s3cmd,
  rclone,
};

/** Asks with an SDK what was stored: the client's word for it is not enough. */
async function assertStored(
  store: S3Store,
  files: readonly TreeFile[],
  at: { bucket: string; prefix: string; mode: Mode; shown: Mode; from: string },
): Promise<void> {
  const steps = files.map(
    ({ name }): Step => ({
      op: 'head',
      bucket: at.bucket,
      key: `${at.prefix}/${name}`,
      mode: at.mode,
    }),
  );
  const [results = []] = await awsSdkDriver({ ...store.at, stages: [steps] });
  for (const [index, { name, size }] of files.entries()) {
    const { error, etag = '', sse, size: stored }: Result = results[index] ?? {};
    const what = `${at.bucket}/${at.prefix}/${name}`;
    assert.equal(error, undefined, what);
    assert.equal(stored, size, what);
    assert.deepEqual(sse, shownFor(at.shown), what);
    const bytes = readFileSync(path.join(at.from, name));
    const md5 = createHash('md5').update(bytes).digest('hex');
    const isPlain = at.shown.kind === 'none' || at.shown.kind === 's3';
    if (!etag.includes('-')) assert.equal(etag === `"${md5}"`, isPlain, `${what}: ETag ${etag}`);
  }
}

/** Puts one client through everything. */
async function exercise(store: S3Store, name: string, tool: Tool): Promise<void> {
  const bucket = name.replaceAll(' ', '-');
  const trees = { full: path.join(store.dir, 'full'), lean: path.join(store.dir, 'lean') };
  const work = path.join(store.dir, bucket);
  await tool.makeBucket(bucket);
  const usable = modes.filter(
    ({ kind }) => tool.modes.includes(kind) && (kind !== 'c' || store.transport === 'tls'),
  );
  for (const mode of usable) {
    const isFull = mode.kind === 'none';
    const [files, from] = isFull ? [fullTree, trees.full] : [leanTree, trees.lean];
    const at = { bucket, prefix: `up-${mode.kind}`, mode };
    const to = path.join(work, `down-${mode.kind}`);
    mkdirSync(to, { recursive: true });
    await tool.upload(from, at);
    await assertStored(store, files, { ...at, shown: mode, from });
    await tool.download(to, at);
    assertSameTree(to, from, `${name}, ${mode.kind}`);
  }
  const [from = modes[1], to = modes[2]] = usable.slice(1);
  assert.ok(from && to);
  const source = { bucket, prefix: `up-${from.kind}`, mode: from };
  const copied = { bucket, prefix: 'copied', mode: to };
  await tool.copy(source, copied);
  await assertStored(store, leanTree, { ...copied, shown: to, from: trees.lean });
  assert.equal(await tool.count('many', ''), manyCount);
  if (tool.presign !== undefined) {
    const got = await fetchRaw(await tool.presign(bucket, 'up-s3/one byte'));
    assert.equal(got.status, 200, got.body.toString());
    assert.deepEqual(got.body, readFileSync(path.join(trees.lean, 'one byte')));
  }
  await tool.removeBucket(bucket);
  await exerciseDefault(store, name, tool);
}

/** Without a word of the client, the bucket's default decides. */
async function exerciseDefault(store: S3Store, name: string, tool: Tool): Promise<void> {
  const bucket = `${name.replaceAll(' ', '-')}-default`;
  const shown: Mode =
    tool.trustsEtags === true ? { kind: 's3' } : { kind: 'kms', keyId: masterKeys[1] };
  const from = path.join(store.dir, 'lean');
  await awsSdkDriver({
    ...store.at,
    stages: [[{ op: 'createBucket', bucket }], [{ op: 'setDefault', bucket, mode: shown }]],
  });
  const at = { bucket, prefix: 'p', mode: { kind: 'none' } } as const;
  await tool.upload(from, at);
  await assertStored(store, leanTree, { ...at, shown, from });
  const to = path.join(store.dir, `${bucket}-down`);
  mkdirSync(to, { recursive: true });
  await tool.download(to, at);
  assertSameTree(to, from, `${name}, default of the bucket`);
  assert.equal(await tool.count(bucket, ''), leanTree.length);
}

/** Backup, check, restore, prune: many small and some large writes, reads by range, deletions. */
async function exerciseRestic(store: S3Store): Promise<void> {
  const restic = (...args: string[]): Promise<unknown> =>
    succeed(
      [
        '/usr/bin/restic',
        ...(store.at.caFile === undefined ? [] : ['--cacert', store.at.caFile]),
        ...args,
      ],
      {
        env: {
          HOME: store.dir,
          AWS_ACCESS_KEY_ID: store.at.accessKey,
          AWS_SECRET_ACCESS_KEY: store.at.secretKey,
          RESTIC_PASSWORD: resticPassword,
          RESTIC_REPOSITORY: `s3:${store.at.endpoint}/restic/a folder`,
        },
      },
    );
  const mode: Mode = { kind: 'kms', keyId: masterKeys[0] };
  await awsSdkDriver({
    ...store.at,
    stages: [
      [{ op: 'createBucket', bucket: 'restic' }],
      [{ op: 'setDefault', bucket: 'restic', mode }],
    ],
  });
  await restic('init');
  await restic('backup', path.join(store.dir, 'full'));
  await restic('backup', path.join(store.dir, 'lean'));
  await restic('check', '--read-data');
  const target = path.join(store.dir, 'restored');
  await restic('restore', 'latest', '--target', target);
  assertSameTree(path.join(target, store.dir, 'lean'), path.join(store.dir, 'lean'), 'restic');
  await restic('forget', '--keep-last', '1', '--group-by', '', '--prune');
  await restic('check');
}

await describe('S3 command-line clients', async () => {
  const stores = new Map<Transport, S3Store>();
  before(async () => {
    const start = async (transport: Transport): Promise<void> => {
      const store = await startS3Store(transport, 18 * mib);
      stores.set(transport, store);
      writeTree(path.join(store.dir, 'full'), fullTree, store.data);
      writeTree(path.join(store.dir, 'lean'), leanTree, store.data);
      const puts = Array.from({ length: manyCount }, (_, at): Step => {
        const key = `group ${at % 12}/${String(at).padStart(4, '0')}`;
        return { op: 'put', bucket: 'many', key, size: at % 3, offset: at, mode: { kind: 'none' } };
      });
      await awsSdkDriver({ ...store.at, stages: [[{ op: 'createBucket', bucket: 'many' }], puts] });
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
    await describe(transport, { concurrency: 2 }, async () => {
      const all = Object.entries(tools).map(([name, tool]) =>
        test(name, async () => {
          const started = tool(storeOf());
          try {
            await exercise(storeOf(), name, started);
          } finally {
            started.close?.();
          }
        }),
      );
      await Promise.all([...all, test('restic', () => exerciseRestic(storeOf()))]);
    });
    await test(`no key of a client is in a log, a metric or a file (${transport})`, async () => {
      const secretKey = storeOf().pair.secretKey;
      await storeOf().assertHidden({ customerKey, resticPassword, secretKey });
    });
  }
});
