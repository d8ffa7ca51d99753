// Keys of clients against a whole server, as AWS's own SDK sends them: over TLS they are taken, over plain HTTP only
// where a setting says so, and neither logs nor files ever hold one.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  findTestPort,
  makeTestDirectory,
  startTestServer,
  testPassword,
  testUser,
} from '../../src/server/test-support.ts';
import { customerHeaders } from '../support/sse-headers.ts';
import { presignTarget } from '../../src/sigv4/sign.ts';
import { createClientCertificate, generateApiKey } from '../../src/wire/kes-identity.ts';

const body = randomBytes(300_000);
const env = {
  MINIO_KMS_SECRET_KEY: `default-key:${randomBytes(32).toString('base64')}`,
  COFFER_LOG_LEVEL: 'debug',
};

function client(endpoint: string, ca?: string): S3Client {
  return new S3Client({
    region: 'us-east-1',
    endpoint,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: testUser, secretAccessKey: testPassword },
    ...(ca === undefined ? {} : { requestHandler: { httpsAgent: new Agent({ ca }) } }),
  });
}

/** The SDK takes the raw key; it makes base64 and the MD5 of it. */
function customer(key: Buffer): { SSECustomerAlgorithm: string; SSECustomerKey: string } {
  return { SSECustomerAlgorithm: 'AES256', SSECustomerKey: key.toString('base64') };
}

async function useKey(sdk: S3Client, key: Buffer): Promise<void> {
  const at = { Bucket: 'bucket', Key: 'object' };
  await sdk.send(new PutObjectCommand({ ...at, Body: body, ...customer(key) }));
  const got = await sdk.send(new GetObjectCommand({ ...at, ...customer(key) }));
  assert.ok(body.equals((await got.Body?.transformToByteArray()) ?? Buffer.alloc(0)));
  assert.equal(got.SSECustomerAlgorithm, 'AES256');
  const next = randomBytes(32);
  const copied = await sdk.send(
    new CopyObjectCommand({
      ...at,
      CopySource: 'bucket/object',
      CopySourceSSECustomerAlgorithm: 'AES256',
      CopySourceSSECustomerKey: key.toString('base64'),
      ...customer(next),
    }),
  );
  assert.equal(copied.SSECustomerAlgorithm, 'AES256');
  await assert.rejects(sdk.send(new HeadObjectCommand({ ...at, ...customer(key) })));
  await sdk.send(new HeadObjectCommand({ ...at, ...customer(next) }));
  await sdk.send(
    new CopyObjectCommand({
      ...at,
      CopySource: 'bucket/object',
      CopySourceSSECustomerAlgorithm: 'AES256',
      CopySourceSSECustomerKey: next.toString('base64'),
      ServerSideEncryption: 'aws:kms',
      SSEKMSEncryptionContext: Buffer.from('{"a":"b"}').toString('base64'),
    }),
  );
  const kms = await sdk.send(new HeadObjectCommand(at));
  assert.equal(kms.ServerSideEncryption, 'aws:kms');
  assert.equal(kms.SSEKMSKeyId, 'default-key');
}

/** The key in a query is a secret as any other: it is in no line of the log. */
async function usePresigned(port: number, output: () => string): Promise<void> {
  const key = randomBytes(32);
  const query = new URLSearchParams(customerHeaders(key)).toString();
  for (const method of ['PUT', 'GET', 'PATCH']) {
    const target = presignTarget({
      method,
      target: `/bucket/presigned?${query}`,
      headers: { host: `127.0.0.1:${port}` },
      credentials: { accessKey: testUser, secretKey: testPassword },
      region: 'us-east-1',
      timeMs: Date.now(),
      expiresSeconds: 60,
    });
    const answer = await fetch(`http://127.0.0.1:${port}${target}`, {
      method,
      ...(method === 'PUT' ? { body: 'presigned' } : {}),
    });
    const text = await answer.text();
    assert.equal(answer.status, method === 'PATCH' ? 405 : 200, text);
    const encoded = key.toString('base64');
    for (const form of [encoded, encodeURIComponent(encoded), key.toString('hex')]) {
      assert.ok(!text.includes(form) && !output().includes(form));
    }
  }
}

function holds(directory: string, key: Buffer): string[] {
  const forms = [key, Buffer.from(key.toString('base64')), Buffer.from(key.toString('hex'))];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => {
      const bytes = readFileSync(file);
      return forms.some((form) => bytes.includes(form));
    });
}

void test('over TLS a client key is taken, and is in no log and no file', async () => {
  using directory = makeTestDirectory();
  const certsDirectory = join(directory.path, 'certs');
  const { cert, key: privateKey } = await createClientCertificate(generateApiKey(), {
    commonName: 'localhost',
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  mkdirSync(certsDirectory);
  writeFileSync(join(certsDirectory, 'public.crt'), cert);
  writeFileSync(join(certsDirectory, 'private.key'), privateKey);
  const port = await findTestPort();
  const data = join(directory.path, 'data');
  await using server = startTestServer({ directory: data, port, certsDirectory, env });
  await server.printed(/serves .* at https:/);
  const sdk = client(`https://127.0.0.1:${port}`, cert);
  const key = randomBytes(32);
  try {
    await sdk.send(new CreateBucketCommand({ Bucket: 'bucket' }));
    await useKey(sdk, key);
  } finally {
    sdk.destroy();
  }
  assert.equal(await server.end('SIGTERM'), 0);
  for (const form of ['base64', 'hex'] as const) {
    assert.ok(!server.output().includes(key.toString(form)));
  }
  assert.ok(!server.output().includes(encodeURIComponent(key.toString('base64'))));
  assert.deepEqual(holds(data, key), []);
});

void test('over plain HTTP a client key is refused, unless a setting allows it', async () => {
  for (const isAllowed of [false, true]) {
    using directory = makeTestDirectory();
    const port = await findTestPort();
    const more = isAllowed ? { COFFER_SSE_C_OVER_HTTP: 'on' } : {};
    await using server = startTestServer({
      directory: join(directory.path, 'data'),
      port,
      env: { ...env, ...more },
    });
    await server.printed(/serves/);
    const sdk = client(`http://127.0.0.1:${port}`);
    try {
      await sdk.send(new CreateBucketCommand({ Bucket: 'bucket' }));
      if (isAllowed) {
        await useKey(sdk, randomBytes(32));
        await usePresigned(port, server.output);
      } else await assert.rejects(useKey(sdk, randomBytes(32)), { name: 'InvalidRequest' });
    } finally {
      sdk.destroy();
    }
    assert.equal(await server.end('SIGTERM'), 0);
  }
});
