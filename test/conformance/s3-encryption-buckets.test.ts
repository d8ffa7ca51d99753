// What a bucket says of encryption: defaults of the bucket and of prefixes, and that it takes no keys of clients.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  GetBucketEncryptionCommand,
  PutBucketEncryptionCommand,
  type ServerSideEncryptionConfiguration,
} from '@aws-sdk/client-s3';
import {
  copySourceHeaders,
  customerHeaders,
  shownEncryption,
  sseS3Headers,
} from '../support/sse-headers.ts';
import {
  freshBucket,
  type Harness,
  masterKeyName,
  otherKeyName,
  startHarness,
  textsOf,
  xmlOf,
} from './s3-harness.ts';

const aes: ServerSideEncryptionConfiguration = {
  Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
};
const rule = (inner: string) =>
  `<ServerSideEncryptionConfiguration><Rule>${inner}</Rule></ServerSideEncryptionConfiguration>`;
const byDefault = (inner: string) =>
  `<ApplyServerSideEncryptionByDefault>${inner}</ApplyServerSideEncryptionByDefault>`;
const kmsDefault = (keyId: string) =>
  rule(byDefault(`<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>${keyId}</KMSMasterKeyID>`));
const aesDefault = rule(byDefault('<SSEAlgorithm>AES256</SSEAlgorithm>'));
const blocked = (type: string) =>
  `<BlockedEncryptionTypes><EncryptionType>${type}</EncryptionType></BlockedEncryptionTypes>`;

void describe('encryption of buckets', () => {
  let at: Harness;
  let bucket: string;
  const key = randomBytes(32);
  const customer = customerHeaders(key);
  before(async () => {
    at = await startHarness();
  });
  after(() => at.close());
  const fresh = async () => {
    bucket = freshBucket();
    await at.send('PUT', `/${bucket}`);
  };
  const configure = (query: string, body: string) =>
    at.outcome('PUT', `/${bucket}?encryption${query}`, { body });
  const shownAt = async (name: string) =>
    shownEncryption((await at.send('PUT', `/${bucket}/${name}`, { body: 'x' })).headers);

  void test('the longest prefix wins over shorter ones and over the bucket', async () => {
    await fresh();
    assert.equal(await configure('', aesDefault), '200');
    assert.equal(await configure('&prefix=a/', kmsDefault(masterKeyName)), '200');
    assert.equal(await configure('&prefix=a/b/', kmsDefault(otherKeyName)), '200');
    assert.equal(await configure('&prefix=a/b/s3', aesDefault), '200');
    const kms = (id: string) => ({ method: 'aws:kms', 'aws-kms-key-id': id });
    const expected: readonly (readonly [string, Record<string, string>])[] = [
      ['a', { method: 'AES256' }],
      ['a/x', kms(masterKeyName)],
      ['a/b', kms(masterKeyName)],
      ['a/b/x', kms(otherKeyName)],
      ['a/b/s3/x', { method: 'AES256' }],
      ['b', { method: 'AES256' }],
    ];
    for (const [name, shown] of expected) {
      assert.deepEqual(await shownAt(name), shown, name);
      const upload = await at.send('POST', `/${bucket}/${name}?uploads`);
      assert.deepEqual(shownEncryption(upload.headers), shown, name);
      const headers = { 'x-amz-copy-source': `/${bucket}/${name}` };
      const copied = await at.send('PUT', `/${bucket}/${name}`, { headers });
      assert.deepEqual(shownEncryption(copied.headers), shown, `${name} onto itself`);
      const asked = await at.send('GET', `/${bucket}?encryption&prefix=${name}`);
      const [id] = textsOf(xmlOf(asked), 'KMSMasterKeyID');
      assert.equal(id, shown['aws-kms-key-id']);
    }
    const listed = xmlOf(await at.send('GET', `/${bucket}?encryption&prefixes`));
    assert.deepEqual(textsOf(listed, 'Prefix'), ['a/', 'a/b/', 'a/b/s3']);
  });

  void test('clients that know no prefixes see the rule of the bucket and lose none of the others', async () => {
    await fresh();
    await configure('&prefix=a/', kmsDefault(otherKeyName));
    const at404 = await at.outcome('GET', `/${bucket}?encryption`);
    assert.equal(at404, '404 ServerSideEncryptionConfigurationNotFoundError');
    await at.sdk.send(
      new PutBucketEncryptionCommand({ Bucket: bucket, ServerSideEncryptionConfiguration: aes }),
    );
    const got = await at.sdk.send(new GetBucketEncryptionCommand({ Bucket: bucket }));
    const { ServerSideEncryptionConfiguration } = got;
    assert.deepEqual(ServerSideEncryptionConfiguration, aes);
    await at.sdk.send(
      new PutBucketEncryptionCommand({ Bucket: bucket, ServerSideEncryptionConfiguration }),
    );
    assert.equal((await shownAt('a/x'))['aws-kms-key-id'], otherKeyName);
    await at.send('DELETE', `/${bucket}?encryption`);
    assert.deepEqual(await shownAt('x'), {});
    assert.equal((await shownAt('a/x'))['aws-kms-key-id'], otherKeyName);
    assert.equal(await at.outcome('DELETE', `/${bucket}?encryption&prefix=a/`), '204');
    assert.deepEqual(await shownAt('a/x'), {});
  });

  void test('rules of prefixes have limits', async () => {
    await fresh();
    for (let index = 0; index < 100; index += 1) {
      assert.equal(await configure(`&prefix=p${index}/`, aesDefault), '200');
    }
    assert.equal(await configure('&prefix=one-more/', aesDefault), '400 InvalidRequest');
    assert.equal(await configure('&prefix=p7/', aesDefault), '200');
    const long = 'x'.repeat(1025);
    assert.equal(await configure(`&prefix=${long}`, aesDefault), '400 InvalidArgument');
    assert.equal(await configure('&prefix=a', rule(blocked('SSE-C'))), '400 InvalidRequest');
  });

  void test('a bucket that blocks keys of clients refuses new objects under them, and reads old ones', async () => {
    await fresh();
    const body = 'x';
    await at.send('PUT', `/${bucket}/old`, { headers: customer, body });
    const created = await at.send('POST', `/${bucket}/open?uploads`, { headers: customer });
    const [uploadId] = textsOf(xmlOf(created), 'UploadId');
    await at.sdk.send(
      new PutBucketEncryptionCommand({
        Bucket: bucket,
        ServerSideEncryptionConfiguration: {
          Rules: [
            {
              ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' },
              BlockedEncryptionTypes: { EncryptionType: ['SSE-C'] },
            },
          ],
        },
      }),
    );
    const source = { 'x-amz-copy-source': `/${bucket}/old`, ...copySourceHeaders(key) };
    const replace = { 'x-amz-metadata-directive': 'REPLACE' };
    // biome-ignore format: one case to a line
    const refused: readonly (readonly [string, string, Record<string, string>])[] = [
      ['PUT', 'new', customer],
      ['POST', 'new?uploads', customer],
      ['PUT', `open?partNumber=1&uploadId=${uploadId}`, customer],
      ['PUT', 'new', { ...source, ...customer }],
      ['PUT', 'old', { ...source, ...customer, ...replace }],
    ];
    for (const [method, target, headers] of refused) {
      const isCopy = headers['x-amz-copy-source'] !== undefined;
      const answer = await at.outcome(method, `/${bucket}/${target}`, {
        headers,
        ...(isCopy || method === 'POST' ? {} : { body }),
      });
      assert.equal(answer, '403 AccessDenied', `${method} ${target}`);
    }
    assert.equal(await at.outcome('GET', `/${bucket}/old`, { headers: customer }), '200');
    const away = { headers: { ...source, ...sseS3Headers } };
    assert.equal(await at.outcome('PUT', `/${bucket}/away`, away), '200');
    const shown = await at.sdk.send(new GetBucketEncryptionCommand({ Bucket: bucket }));
    assert.deepEqual(shown.ServerSideEncryptionConfiguration?.Rules, [
      {
        ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' },
        BlockedEncryptionTypes: { EncryptionType: ['SSE-C'] },
      },
    ]);
    // Who does not know the element does not lift the block; nor does taking the default away.
    assert.equal(await configure('', aesDefault), '200');
    assert.equal(await at.outcome('DELETE', `/${bucket}?encryption`), '204');
    assert.equal(
      await at.outcome('PUT', `/${bucket}/new`, { headers: customer, body }),
      '403 AccessDenied',
    );
    const alone = xmlOf(await at.send('GET', `/${bucket}?encryption`));
    assert.deepEqual(textsOf(alone, 'EncryptionType'), ['SSE-C']);
    assert.deepEqual(textsOf(alone, 'SSEAlgorithm'), []);
    assert.equal(await configure('', rule(blocked('NONE'))), '200');
    assert.equal(await at.outcome('PUT', `/${bucket}/new`, { headers: customer, body }), '200');
    const gone = await at.outcome('GET', `/${bucket}?encryption`);
    assert.equal(gone, '404 ServerSideEncryptionConfigurationNotFoundError');
  });

  void test('what is blocked must be a known type, said once', async () => {
    await fresh();
    const twice = '<EncryptionType>SSE-C</EncryptionType><EncryptionType>NONE</EncryptionType>';
    for (const inner of [
      blocked('SSE-S3'),
      '<BlockedEncryptionTypes/>',
      `<BlockedEncryptionTypes>${twice}</BlockedEncryptionTypes>`,
      '<BucketKeyEnabled>maybe</BucketKeyEnabled>',
    ]) {
      assert.equal(await configure('', rule(inner)), '400 MalformedXML', inner);
    }
    const doubled = `<ServerSideEncryptionConfiguration><Rule>${blocked('SSE-C')}</Rule><Rule>${blocked('SSE-C')}</Rule></ServerSideEncryptionConfiguration>`;
    assert.equal(await configure('', doubled), '400 MalformedXML');
  });

  void test('a setting makes every new bucket block keys of clients', async () => {
    const strict = await startHarness({ blocksSseC: true });
    try {
      await strict.send('PUT', '/bucket');
      const write = { headers: customer, body: 'x' };
      assert.equal(await strict.outcome('PUT', '/bucket/k', write), '403 AccessDenied');
      const shown = xmlOf(await strict.send('GET', '/bucket?encryption'));
      assert.deepEqual(textsOf(shown, 'EncryptionType'), ['SSE-C']);
      await strict.send('PUT', '/bucket?encryption', { body: rule(blocked('NONE')) });
      assert.equal(await strict.outcome('PUT', '/bucket/k', write), '200');
    } finally {
      await strict.close();
    }
  });
});
