// The SDKs where it matters who asks and for which version: users with a policy, policies of buckets, anonymous
// readers, presigned requests and forms of every kind, versions and delete markers. Over HTTP and TLS.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { clientPaths } from './clients.ts';
import { type SdkClient, sdkClients } from './s3-clients.ts';
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
import { succeed } from './s3-tools.ts';

const customerKey = newCustomerKey();
const none: Mode = { kind: 'none' };

const users = {
  reader: { secretKey: newCustomerKey(), policy: 'readonly' },
  writer: { secretKey: newCustomerKey(), policy: 'readwrite' },
  nobody: { secretKey: newCustomerKey(), policy: undefined },
} as const;
type User = keyof typeof users;

/** Makes the users with the unmodified mc, as an operator would. */
async function addUsers(store: S3Store): Promise<void> {
  const config = path.join(store.dir, 'mc');
  if (store.at.caFile !== undefined) {
    mkdirSync(path.join(config, 'certs/CAs'), { recursive: true });
    copyFileSync(store.at.caFile, path.join(config, 'certs/CAs/store.crt'));
  }
  const origin = new URL(store.at.endpoint);
  const host = `${origin.protocol}//${store.at.accessKey}:${store.at.secretKey}@${origin.host}`;
  const mc = (...args: string[]): Promise<unknown> =>
    succeed([clientPaths.mc, '--config-dir', config, ...args], {
      env: { HOME: store.dir, MC_HOST_t: host },
    });
  for (const [user, { secretKey, policy }] of Object.entries(users)) {
    await mc('admin', 'user', 'add', 't', user, secretKey);
    if (policy !== undefined) await mc('admin', 'policy', 'attach', 't', policy, '--user', user);
  }
}

type Ask = (steps: readonly Step[], user?: User) => Promise<readonly Result[]>;

/** One step after the other; each result must be a success unless it is looked at. */
function asker(store: S3Store, client: SdkClient): Ask {
  return async (steps, user) => {
    const stages = steps.map((step) => [step]);
    const credentials =
      user === undefined ? {} : { accessKey: user, secretKey: users[user].secretKey };
    return (await client.driver({ ...store.at, ...credentials, stages })).flat();
  };
}

function assertAll(results: readonly Result[], what: string): void {
  for (const { error } of results) assert.equal(error, undefined, what);
}

function assertRefused(result: Result | undefined, code: RegExp, what: string): void {
  const { code: got = '', status = '', message = '' } = result?.error ?? {};
  assert.match(`${got} ${status} ${message}`, code, what);
}

const denied = /AccessDenied|403|Forbidden/;
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function exerciseUsers(store: S3Store, client: SdkClient): Promise<void> {
  const ask = asker(store, client);
  const bucket = `${client.short}-users`;
  const key = 'a file';
  const put = { op: 'put', bucket, key, size: 100, offset: 0, mode: none } as const;
  const get = { op: 'get', bucket, key, mode: none } as const;
  const list = { op: 'list', bucket, prefix: '', delimiter: '', api: 2, pageSize: 10 } as const;
  const steps = [get, list, put, { op: 'delete', bucket, keys: [key] } as const];
  assertAll(await ask([{ op: 'createBucket', bucket }, put]), 'root');
  const reader = await ask(steps, 'reader');
  assert.equal(reader[0]?.sha256, digest(store.data.subarray(0, 100)));
  assertRefused(reader[2], denied, 'a reader writes');
  const nobody = await ask(steps, 'nobody');
  for (const [at, result] of nobody.slice(0, 3).entries())
    assertRefused(result, denied, `step ${at} of a user without a policy`);
  const [after] = await ask([get]);
  assert.equal(after?.error, undefined, 'neither of them deleted it');
  assertAll(await ask(steps, 'writer'), 'a writer');
  assertRefused((await ask([get]))[0], /NoSuchKey|404/, 'the writer deleted it');
}

async function exercisePolicy(store: S3Store, client: SdkClient): Promise<void> {
  const ask = asker(store, client);
  const bucket = `${client.short}-policy`;
  const put = { op: 'put', bucket, size: 100, offset: 0 } as const;
  const resource = `arn:aws:s3:::${bucket}/*`;
  const policy = JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Deny',
        Principal: '*',
        Action: 's3:PutObject',
        Resource: resource,
        Condition: { Null: { 's3:x-amz-server-side-encryption': 'true' } },
      },
      {
        Effect: 'Allow',
        Principal: { AWS: ['*'] },
        Action: ['s3:GetObject'],
        Resource: [`arn:aws:s3:::${bucket}/public/*`],
      },
    ],
  });
  assertAll(
    await ask([
      { op: 'createBucket', bucket },
      { op: 'setPolicy', bucket, policy },
    ]),
    'a policy of the bucket',
  );
  const [plain, sealed, secret] = await ask([
    { ...put, key: 'public/plain', mode: none },
    { ...put, key: 'public/sealed', mode: { kind: 's3' } },
    { ...put, key: 'secret', mode: { kind: 's3' } },
  ]);
  assertRefused(plain, denied, 'a write without encryption');
  assert.equal(sealed?.error, undefined);
  assert.equal(secret?.error, undefined);
  const open = await fetchRaw(`${store.at.endpoint}/${bucket}/public/sealed`);
  assert.equal(open.status, 200);
  assert.equal(digest(open.body), digest(store.data.subarray(0, 100)));
  assert.equal((await fetchRaw(`${store.at.endpoint}/${bucket}/secret`)).status, 403);
}

/** A form as a browser sends it. */
function formBody(fields: Readonly<Record<string, string>>, file: string): [string, Buffer] {
  const boundary = 'boundary-of-a-form';
  const parts = Object.entries(fields).map(
    ([name, value]) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const last = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n${file}\r\n--${boundary}--\r\n`;
  return [`multipart/form-data; boundary=${boundary}`, Buffer.from(parts.join('') + last)];
}

async function exercisePresigned(store: S3Store, client: SdkClient): Promise<void> {
  const ask = asker(store, client);
  const bucket = `${client.short}-presigned`;
  const key = 'dir/with space+plus%20 ü';
  assertAll(
    await ask([
      { op: 'createBucket', bucket },
      { op: 'setDefault', bucket, mode: { kind: 'kms', keyId: masterKeys[0] } },
    ]),
    'a bucket with a default',
  );
  for (const signature of client.signatures ?? [4]) {
    const presign = { op: 'presign', bucket, key, signature } as const;
    const made = await ask([
      { ...presign, method: 'PUT' },
      { ...presign, method: 'GET' },
      { ...presign, method: 'HEAD' },
      { ...presign, method: 'DELETE' },
      { op: 'form', bucket, key: 'from a form', signature },
    ]);
    assertAll(made, 'presigning');
    const [put = '', get = '', head = '', remove = ''] = made.map(({ url }) => url);
    const body = Buffer.from(`presigned with ${signature}`);
    const written = await fetchRaw(put, { method: 'PUT', body });
    assert.equal(written.status, 200, written.body.toString());
    assert.equal(written.headers['x-amz-server-side-encryption'], 'aws:kms');
    assert.deepEqual((await fetchRaw(get)).body, body);
    assert.equal((await fetchRaw(get.replace('with', 'With'))).status, 403, 'an altered URL');
    assert.equal((await fetchRaw(get, { method: 'PUT', body })).status, 403, 'another method');
    assert.equal((await fetchRaw(head, { method: 'HEAD' })).status, 200);
    assert.equal((await fetchRaw(remove, { method: 'DELETE' })).status, 204);
    assert.equal((await fetchRaw(get)).status, 404);
    const { url = '', fields = {} } = made[4] ?? {};
    const [type, form] = formBody(fields, 'the bytes of a form');
    const sent = await fetchRaw(url, {
      method: 'POST',
      headers: { 'content-type': type },
      body: form,
    });
    assert.equal(sent.status, 204, sent.body.toString());
    const [got] = await ask([{ op: 'get', bucket, key: 'from a form', mode: none }]);
    assert.equal(got?.sha256, digest(Buffer.from('the bytes of a form')));
  }
}

async function exerciseVersions(store: S3Store, client: SdkClient): Promise<void> {
  const ask = asker(store, client);
  const bucket = `${client.short}-versions`;
  const key = 'a key/with + and ü';
  const modes = (
    [
      none,
      { kind: 's3' },
      { kind: 'kms', keyId: masterKeys[0] },
      { kind: 'c', key: customerKey },
    ] satisfies Mode[]
  ).filter(
    ({ kind }) =>
      store.transport === 'tls' || (kind !== 'c' && client.onlyTls?.includes(kind) !== true),
  );
  const put = { op: 'put', bucket, key, size: 70_000 } as const;
  const written = await ask([
    { op: 'createBucket', bucket },
    { op: 'versioning', bucket, status: 'Enabled' },
    ...modes.map((mode, offset) => ({ ...put, mode, offset })),
  ]);
  assertAll(written, 'versions');
  const ids = written.slice(2).map(({ versionId }) => versionId ?? '');
  assert.equal(new Set(ids).size, modes.length);
  assert.ok(ids.every((id) => id !== '' && id !== 'null'));

  const [, gone, listed] = await ask([
    { op: 'remove', bucket, key },
    { op: 'get', bucket, key, mode: none },
    { op: 'listVersions', bucket },
  ]);
  assertRefused(gone, /NoSuchKey|404/, 'behind a delete marker');
  const entries = listed?.versions ?? [];
  assert.deepEqual(
    entries.filter(([, , , isMarker]) => !isMarker).map(([, id]) => id),
    ids.toReversed(),
  );
  const markers = entries.filter(([, , , isMarker]) => isMarker);
  assert.deepEqual(
    markers.map(([name, , isLatest]) => [name, isLatest]),
    [[key, true]],
  );

  const read = await ask(
    modes.flatMap((mode, at): Step[] => {
      const version = { bucket, key, mode, versionId: ids[at] ?? '' };
      return [
        { op: 'get', ...version },
        { op: 'head', ...version },
      ];
    }),
  );
  assertAll(read, 'reading versions');
  for (const [at, mode] of modes.entries()) {
    assert.equal(read[2 * at]?.sha256, digest(store.data.subarray(at, at + 70_000)));
    assert.deepEqual(read[2 * at + 1]?.sse, shownFor(mode), `the encryption of version ${at}`);
  }

  const [, brought, , , again, suspended] = await ask([
    {
      op: 'copy',
      bucket,
      key: 'restored',
      mode: { kind: 's3' },
      fromBucket: bucket,
      fromKey: key,
      fromMode: none,
      fromVersionId: ids[0] ?? '',
    },
    { op: 'get', bucket, key: 'restored', mode: none },
    { op: 'remove', bucket, key, versionId: markers[0]?.[1] ?? '' },
    { op: 'versioning', bucket, status: 'Suspended' },
    { ...put, key: 'unversioned', mode: none, offset: 9 },
    { op: 'listVersions', bucket },
  ]);
  assert.equal(brought?.sha256, digest(store.data.subarray(0, 70_000)));
  assert.equal(again?.error, undefined);
  const left = suspended?.versions ?? [];
  assert.ok(
    left.every(([, , , isMarker]) => !isMarker),
    'the marker is deleted',
  );
  assert.equal(left.find(([name, , isLatest]) => name === key && isLatest)?.[1], ids.at(-1));
  assert.equal(left.find(([name]) => name === 'unversioned')?.[1], 'null');
  const versions = left.map(([name, id]) => [name, id] as const);
  const [, empty, removed] = await ask([
    { op: 'deleteVersions', bucket, versions },
    { op: 'listVersions', bucket },
    { op: 'deleteBucket', bucket },
  ]);
  assert.deepEqual(empty?.versions ?? [], []);
  assert.equal(removed?.error, undefined);
}

await describe('who asks, and for which version', async () => {
  const stores = new Map<Transport, S3Store>();
  before(async () => {
    const start = async (transport: Transport): Promise<void> => {
      const store = await startS3Store(transport, 100_000);
      stores.set(transport, store);
      await addUsers(store);
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
    for (const client of sdkClients) {
      const { name } = client.traits;
      await test(`users with ${name} over ${transport}`, () => exerciseUsers(storeOf(), client));
      await test(`policies of buckets with ${name} over ${transport}`, () =>
        exercisePolicy(storeOf(), client));
      await test(`presigned requests and forms of ${name} over ${transport}`, () =>
        exercisePresigned(storeOf(), client));
      if (client.hasVersions !== false)
        await test(`versions with ${name} over ${transport}`, () =>
          exerciseVersions(storeOf(), client));
    }
    await test(`no key of a client is in a log, a metric or a file (${transport})`, async () => {
      const secretKey = storeOf().pair.secretKey;
      const ofUsers = Object.fromEntries(
        Object.entries(users).map(([name, user]) => [name, user.secretKey]),
      );
      await storeOf().assertHidden({ customerKey, secretKey, ...ofUsers });
    });
  }
});
