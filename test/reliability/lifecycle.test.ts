// A server whose days are two seconds long: what its rules let go really goes, everything else stays, and a server
// that was killed in the middle of it goes on after its next start.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import {
  Cleanup,
  eventually,
  expectStatus,
  get,
  sse,
  startStore,
  type Store,
  type StoreOptions,
  untilReady,
} from './harness.ts';

const env = {
  MINIO_KMS_SECRET_KEY: `lifecycle-key:${randomBytes(32).toString('base64')}`,
  MINIO_PROMETHEUS_AUTH_TYPE: 'public',
  COFFER_SSE_C_OVER_HTTP: 'on',
  COFFER_LIFECYCLE_INTERVAL: '1s',
  COFFER_LIFECYCLE_DAY: '2',
};

async function running(options: StoreOptions, cleanup: Cleanup): Promise<Store> {
  const store = await startStore({ env, ...options }, cleanup);
  await untilReady(store);
  return store;
}

function ask(
  { client }: Store,
  method: string,
  target: string,
  more: { headers?: Record<string, string>; body?: string } = {},
): Promise<S3TestAnswer> {
  const { body, headers = {} } = more;
  const expected = method === 'DELETE' ? 204 : 200;
  const asked = {
    method,
    target,
    headers,
    ...(body === undefined ? {} : { body: Buffer.from(body) }),
  };
  return expectStatus(client, asked, expected);
}

async function setRules(store: Store, bucket: string, rules: readonly string[]): Promise<void> {
  const inner = rules.map((rule) => `<Rule><Status>Enabled</Status>${rule}</Rule>`).join('');
  const body = `<LifecycleConfiguration>${inner}</LifecycleConfiguration>`;
  const headers = { 'content-md5': createHash('md5').update(body).digest('base64') };
  await ask(store, 'PUT', `/${bucket}?lifecycle`, { body, headers });
}

/** `name` of a version, `name!` of a marker, sorted. */
async function versionsOf(store: Store, bucket: string): Promise<string[]> {
  const { body } = await ask(store, 'GET', `/${bucket}?versions`);
  const found = body.toString().matchAll(/<(Version|DeleteMarker)><Key>([^<]*)<\/Key>/g);
  return [...found].map(([, kind, key]) => `${key}${kind === 'Version' ? '' : '!'}`).sort();
}

async function removed({ port }: Store, kind: string): Promise<number> {
  const { text } = await get(port, '/minio/v2/metrics/cluster');
  return Number(
    new RegExp(`coffer_lifecycle_removed_total\\{kind="${kind}"\\} (\\d+)`).exec(text)?.[1],
  );
}

const prefix = (text: string): string => `<Filter><Prefix>${text}</Prefix></Filter>`;
const days = (count: number): string => `<Expiration><Days>${count}</Days></Expiration>`;
const versioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';

await test('objects, versions, markers and uploads go when they are due, and nothing else', async (t) => {
  const cleanup = new Cleanup();
  t.after(() => cleanup.run());
  const store = await running({ dir: cleanup.directory('lifecycle') }, cleanup);
  for (const bucket of ['plain', 'versions', 'ageless']) await ask(store, 'PUT', `/${bucket}`);
  await ask(store, 'PUT', '/versions?versioning', { body: versioning });
  const clientKey = randomBytes(32);
  const customer = {
    'x-amz-server-side-encryption-customer-algorithm': 'AES256',
    'x-amz-server-side-encryption-customer-key': clientKey.toString('base64'),
    'x-amz-server-side-encryption-customer-key-md5': createHash('md5')
      .update(clientKey)
      .digest('base64'),
  };
  await setRules(store, 'plain', [
    `${prefix('old/')}${days(1)}`,
    `${prefix('far/')}${days(1000)}`,
    `${prefix('')}<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
  ]);
  await setRules(store, 'versions', [
    `${prefix('old/')}${days(1)}`,
    `${prefix('')}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>`,
    `${prefix('')}<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>`,
  ]);
  const big = 'x'.repeat(200_000);
  for (const bucket of ['plain', 'versions', 'ageless']) {
    await ask(store, 'PUT', `/${bucket}/old/a`, { body: 'a' });
    await ask(store, 'PUT', `/${bucket}/old/sealed`, { body: big, headers: sse });
    await ask(store, 'PUT', `/${bucket}/old/customer`, { body: 'c', headers: customer });
    await ask(store, 'PUT', `/${bucket}/far/a`, { body: big, headers: sse });
  }
  await ask(store, 'PUT', '/versions/far/a', { body: 'newer' });
  await ask(store, 'DELETE', '/versions/marked');
  await ask(store, 'POST', '/plain/upload?uploads');
  await ask(store, 'POST', '/ageless/upload?uploads');
  // With versions an object is first hidden, then removed, then what hid it.
  await eventually('everything due is gone', async () => {
    const left = [await versionsOf(store, 'plain'), await versionsOf(store, 'versions')];
    const uploads = (await ask(store, 'GET', '/plain?uploads')).body.toString();
    return left.flat().join(' ') === 'far/a far/a' && !uploads.includes('<Upload>');
  });
  assert.equal((await ask(store, 'GET', '/versions/far/a')).body.toString(), 'newer');
  assert.equal((await ask(store, 'GET', '/plain/far/a')).body.toString(), big);
  assert.deepEqual(await versionsOf(store, 'ageless'), [
    'far/a',
    'old/a',
    'old/customer',
    'old/sealed',
  ]);
  const uploads = (await ask(store, 'GET', '/ageless?uploads')).body.toString();
  assert.match(uploads, /<Key>upload<\/Key>/);
  await eventually('all of it is counted', async () => {
    const kinds = ['object', 'version', 'marker', 'upload'];
    const counts = await Promise.all(kinds.map((kind) => removed(store, kind)));
    return counts.join(' ') === '6 4 4 1';
  });
  assert.match(store.log(), /lifecycle rules removed what was due/);
  assert.doesNotMatch(store.log(), /WARN|ERROR/);
});

await test('a scan that was killed leaves whole objects, and the next one finishes it', async (t) => {
  const cleanup = new Cleanup();
  t.after(() => cleanup.run());
  const dir = cleanup.directory('lifecycle-kill');
  const first = await running({ dir }, cleanup);
  await ask(first, 'PUT', '/bucket');
  const names = Array.from({ length: 600 }, (_, index) => `${index % 2 ? 'old' : 'new'}/${index}`);
  for (let at = 0; at < names.length; at += 30) {
    const some = names.slice(at, at + 30);
    await Promise.all(some.map((name) => ask(first, 'PUT', `/bucket/${name}`, { body: name })));
  }
  const count = async (store: Store): Promise<number> => (await versionsOf(store, 'bucket')).length;
  await setRules(first, 'bucket', [`${prefix('old/')}${days(1)}`]);
  await eventually('some are gone', async () => (await count(first)) < 600);
  await first.killAll();
  const second = await running({ dir, port: first.port }, cleanup);
  await eventually('all that is due is gone', async () => (await count(second)) === 300);
  for (const name of names.filter((each) => each.startsWith('new/'))) {
    assert.equal((await ask(second, 'GET', `/bucket/${name}`)).body.toString(), name);
  }
});
