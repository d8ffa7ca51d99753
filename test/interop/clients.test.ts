// boto3, awscli, s3cmd, rclone, the AWS SDK for JavaScript and minio (npm) against one Coffer: each writes,
// reads, lists and deletes, plain and encrypted, small and multipart.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketEncryptionCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { Client as MinioClient } from 'minio';
import { type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import { clientPaths, type Ran, runClient } from './clients.ts';

const mib = 1024 * 1024;

await describe('S3 clients', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'coffer-clients-'));
  const small = path.join(dir, 'small.txt');
  const large = path.join(dir, 'large.bin');
  const state: { pair?: CofferPair } = {};

  before(async () => {
    state.pair = await startCofferPair(dir);
    writeFileSync(small, 'a small file\n');
    writeFileSync(large, randomBytes(20 * mib + 5));
  });
  after(async () => {
    await state.pair?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  const pairOf = (): CofferPair => {
    assert.ok(state.pair);
    return state.pair;
  };
  const url = (): string => `http://127.0.0.1:${pairOf().port}`;
  const good = async (
    command: readonly string[],
    env: Record<string, string> = {},
  ): Promise<Ran> => {
    const ran = await runClient(command, { env: { HOME: dir, ...env }, cwd: dir });
    assert.equal(
      ran.exitCode,
      0,
      `${command.join(' ')}\n${ran.stdout.slice(-2000)}\n${ran.stderr.slice(-3000)}`,
    );
    return ran;
  };
  const same = (a: string, b: string): void =>
    assert.equal(
      createHash('sha256').update(readFileSync(a)).digest('hex'),
      createHash('sha256').update(readFileSync(b)).digest('hex'),
    );
  const awsEnv = (): Record<string, string> => ({
    AWS_ACCESS_KEY_ID: pairOf().accessKey,
    AWS_SECRET_ACCESS_KEY: pairOf().secretKey,
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_ENDPOINT_URL: url(),
  });

  await test('boto3', async () => {
    await good(
      [clientPaths.python, path.join(import.meta.dirname, 'boto3-client.py'), url(), large],
      awsEnv(),
    );
  });

  await test('awscli', async () => {
    const aws = (...args: string[]): Promise<Ran> => good([clientPaths.aws, ...args], awsEnv());
    await aws('s3', 'mb', 's3://aws-bucket');
    await aws('s3', 'cp', small, 's3://aws-bucket/small.txt');
    await aws('s3', 'cp', '--sse', 'AES256', large, 's3://aws-bucket/dir/large.bin');
    await aws('s3', 'cp', 's3://aws-bucket/dir/large.bin', path.join(dir, 'aws-large'));
    same(large, path.join(dir, 'aws-large'));
    const head = await aws(
      's3api',
      'head-object',
      '--bucket',
      'aws-bucket',
      '--key',
      'dir/large.bin',
    );
    assert.match(head.stdout, /"ServerSideEncryption": "AES256"/);
    assert.match(
      (await aws('s3', 'ls', '--recursive', 's3://aws-bucket')).stdout,
      /dir\/large\.bin/,
    );
    await aws('s3', 'sync', 's3://aws-bucket', path.join(dir, 'aws-sync'));
    same(large, path.join(dir, 'aws-sync/dir/large.bin'));
    await aws('s3', 'rb', '--force', 's3://aws-bucket');
  });

  await test('s3cmd', async () => {
    const pair = pairOf();
    const s3cmd = (...args: string[]): Promise<Ran> =>
      good([
        clientPaths.s3cmd,
        '--no-ssl',
        `--host=127.0.0.1:${pair.port}`,
        `--host-bucket=127.0.0.1:${pair.port}`,
        `--access_key=${pair.accessKey}`,
        `--secret_key=${pair.secretKey}`,
        ...args,
      ]);
    await s3cmd('mb', 's3://cmd-bucket');
    await s3cmd('put', small, 's3://cmd-bucket/small.txt');
    await s3cmd('put', '--server-side-encryption', large, 's3://cmd-bucket/large.bin');
    await s3cmd('get', 's3://cmd-bucket/large.bin', path.join(dir, 'cmd-large'));
    same(large, path.join(dir, 'cmd-large'));
    assert.match((await s3cmd('info', 's3://cmd-bucket/large.bin')).stdout, /SSE:\s+AES256/);
    assert.match((await s3cmd('ls', 's3://cmd-bucket')).stdout, /small\.txt/);
    await s3cmd('info', 's3://cmd-bucket');
    await s3cmd('cp', 's3://cmd-bucket/small.txt', 's3://cmd-bucket/copy.txt');
    await s3cmd('del', '--recursive', '--force', 's3://cmd-bucket');
    await s3cmd('rb', 's3://cmd-bucket');
  });

  await test('rclone', async () => {
    const pair = pairOf();
    const rclone = (...args: string[]): Promise<Ran> =>
      good([clientPaths.rclone, ...args], {
        RCLONE_CONFIG_C_TYPE: 's3',
        RCLONE_CONFIG_C_PROVIDER: 'Minio',
        RCLONE_CONFIG_C_ENDPOINT: url(),
        RCLONE_CONFIG_C_ACCESS_KEY_ID: pair.accessKey,
        RCLONE_CONFIG_C_SECRET_ACCESS_KEY: pair.secretKey,
        RCLONE_CONFIG_C_SERVER_SIDE_ENCRYPTION: 'AES256',
      });
    const source = path.join(dir, 'aws-sync');
    await rclone('mkdir', 'c:rclone-bucket');
    await rclone('copy', small, 'c:rclone-bucket/one');
    await rclone(
      'copy',
      large,
      'c:rclone-bucket/two',
      '--s3-chunk-size',
      '5M',
      '--s3-upload-cutoff',
      '5M',
    );
    await rclone('copy', 'c:rclone-bucket', source);
    same(large, path.join(source, 'two/large.bin'));
    await rclone(
      'check',
      source,
      'c:rclone-bucket',
      '--one-way',
      '--exclude',
      'dir/**',
      '--exclude',
      'small.txt',
    );
    assert.match((await rclone('ls', 'c:rclone-bucket')).stdout, /one\/small\.txt/);
    await rclone('purge', 'c:rclone-bucket');
  });

  await test('AWS SDK for JavaScript', async () => {
    const pair = pairOf();
    const s3 = new S3Client({
      endpoint: url(),
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: pair.accessKey, secretAccessKey: pair.secretKey },
    });
    const Bucket = 'js-bucket';
    await s3.send(new CreateBucketCommand({ Bucket }));
    await s3.send(
      new PutBucketEncryptionCommand({
        Bucket,
        ServerSideEncryptionConfiguration: {
          Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
        },
      }),
    );
    const put = await s3.send(
      new PutObjectCommand({ Bucket, Key: 'k ü/+', Body: 'text', Metadata: { a: 'b' } }),
    );
    assert.equal(put.ServerSideEncryption, 'AES256');
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'k ü/+' }));
    assert.equal(await got.Body?.transformToString(), 'text');
    assert.deepEqual(got.Metadata, { a: 'b' });
    const list = await s3.send(new ListObjectsV2Command({ Bucket }));
    assert.equal(list.Contents?.[0]?.Key, 'k ü/+');
    await s3.send(new DeleteObjectCommand({ Bucket, Key: 'k ü/+' }));
    s3.destroy();
  });

  await test('minio (npm)', async () => {
    const pair = pairOf();
    const client = new MinioClient({
      endPoint: '127.0.0.1',
      port: pair.port,
      useSSL: false,
      accessKey: pair.accessKey,
      secretKey: pair.secretKey,
    });
    await client.makeBucket('npm-bucket');
    await client.fPutObject('npm-bucket', 'large', large, {});
    await client.fGetObject('npm-bucket', 'large', path.join(dir, 'npm-large'));
    same(large, path.join(dir, 'npm-large'));
    assert.equal((await client.statObject('npm-bucket', 'large')).size, 20 * mib + 5);
    await client.removeObject('npm-bucket', 'large');
    await client.removeBucket('npm-bucket');
  });
});
