// The AWS adapter against its double: the contract of secret stores, then what is particular to AWS.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { failsWith } from '../../../test/contract/key-store.ts';
import { testSecretStore } from '../../../test/contract/secret-store.ts';
import {
  type AwsSecretsDouble,
  startAwsIdentityDouble,
  startAwsSecretsDouble,
} from '../../../test/support/doubles/aws-secrets.ts';
import {
  awsDeps,
  awsSecretKey,
  awsSettings,
  openAwsContract,
} from '../../../test/support/doubles/aws-contract.ts';
import { documentedKeyStore } from '../../../test/support/documented-config.ts';
import { connectionsTo } from '../../../test/support/doubles/cloud-hosts.ts';
import { type Log, silentLog } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import { type AwsSecretsSettings, openAwsSecrets } from './secrets.ts';
import type { SecretStore } from '../secret-store.ts';

testSecretStore('AWS', openAwsContract, { valueBytesMax: 65_536 });

describe('AWS Secrets Manager', () => {
  let double: AwsSecretsDouble;
  let store: SecretStore;

  beforeEach(async () => {
    double = await startAwsSecretsDouble();
    store = await openAwsSecrets(awsSettings(double), awsDeps);
  });

  afterEach(async () => {
    await store.close();
    await double.server.close();
  });

  test('keeps a key as the reference does: its name, its text, nothing else', async () => {
    await store.create('my-key', 'the text');
    const secret = double.secrets.get('my-key');
    assert.deepEqual(secret?.value, { text: 'the text' });
    assert.equal(secret.kmsKey, undefined);
  });

  test('reads a value that lies there as bytes', async () => {
    await store.create('my-key', 'x');
    const secret = double.secrets.get('my-key');
    assert.ok(secret);
    secret.value = { binary: Buffer.from('in bytes').toString('base64') };
    assert.equal(await store.get('my-key'), 'in bytes');
  });

  test('a lost answer is recognised as ours also by a server that is not idempotent', async () => {
    double.isIdempotent = false;
    double.server.loseAnswerNext(1);
    await store.create('my-key', 'x');
    assert.equal(await store.get('my-key'), 'x');
  });

  test('a lost answer to a create that came second does not make it first', async () => {
    await store.create('my-key', 'same');
    double.server.loseAnswerNext(1);
    await assert.rejects(store.create('my-key', 'same'), failsWith('exists'));
  });

  test('encrypts with the configured KMS key, and says which permission it takes', async () => {
    const settings = { ...awsSettings(double), kmskey: 'alias/coffer' };
    const other = await openAwsSecrets(settings, awsDeps);
    await other.create('my-key', 'x');
    assert.equal(double.secrets.get('my-key')?.kmsKey, 'alias/coffer');
    double.disabledKmsKeys.add('alias/coffer');
    await assert.rejects(other.get('my-key'), /DecryptionFailure.*kms:Decrypt/);
    await assert.rejects(other.create('b', 'x'), /EncryptionFailure.*kms:GenerateDataKey/);
    await other.close();
  });

  test('a name scheduled for deletion is an error that says what to do, not an absence', async () => {
    await store.create('my-key', 'x');
    double.schedule('my-key');
    const quick = await openAwsSecrets(awsSettings(double), {
      ...awsDeps,
      limits: { ...awsDeps.limits, changeMs: 200 },
    });
    for (const call of [quick.get('my-key'), quick.create('my-key', 'y')]) {
      await assert.rejects(call, (error) => {
        failsWith('failed')(error);
        assert.match(String(error), /InvalidRequestException.*restore-secret --secret-id my-key/);
        return true;
      });
    }
    assert.deepEqual(await quick.list(), []);
    await quick.delete('my-key');
    await quick.create('my-key', 'y');
    assert.equal(await quick.get('my-key'), 'y');
    await quick.close();
  });

  test('waits until AWS has deleted a name before it is used again', async () => {
    double.deletionLag = 2;
    const patient = await openAwsSecrets(awsSettings(double), {
      ...awsDeps,
      limits: { ...awsDeps.limits, attemptMs: 50 },
    });
    await patient.create('my-key', '1');
    await patient.delete('my-key');
    await assert.rejects(patient.get('my-key'), failsWith('not-found'));
    await patient.create('my-key', '2');
    assert.equal(await patient.get('my-key'), '2');
    await patient.close();
  });

  test('a deletion is sent once, and what became of it is looked at by the caller', async () => {
    const throttled = { body: { __type: 'ThrottlingException', message: 'Rate exceeded' } };
    for (const fault of [
      () => double.server.failNext(1, 503),
      () => double.server.failNext(1, 429),
      () => double.server.failNext(1, 400, { answer: throttled }),
      () => double.server.dropNext(1),
      () => double.server.loseAnswerNext(1),
    ]) {
      await store.create('a', '1');
      fault();
      const before = double.server.requests.length;
      await assert.rejects(store.delete('a'), failsWith('unreachable'));
      assert.equal(double.server.requests.length, before + 1);
      await store.delete('a');
    }
  });

  test('an answer without a list of secrets is not an empty list', async () => {
    const headers = { 'content-type': 'application/x-amz-json-1.1' };
    for (const body of ['{}', '{"SecretList":null}']) {
      double.server.garbageNext(1, { answer: { headers, body } });
      await assert.rejects(store.list(), failsWith('failed'));
    }
  });

  test('throttling is waited out, and named when it does not end', async () => {
    await store.create('my-key', 'x');
    const answer = { body: { __type: 'ThrottlingException', message: 'Rate exceeded' } };
    double.server.failNext(3, 400, { answer });
    assert.equal(await store.get('my-key'), 'x');
    double.server.failNext(4, 400, { answer });
    await assert.rejects(store.get('my-key'), /ThrottlingException.*cache\.revalidate/);
  });

  test('names the permission that is missing, action by action', async () => {
    for (const operation of ['CreateSecret', 'GetSecretValue', 'DeleteSecret', 'ListSecrets']) {
      double.denied.add(operation);
    }
    const rejects = (call: Promise<unknown>, permission: string) =>
      assert.rejects(
        call,
        new RegExp(`AccessDeniedException.*grant secretsmanager:${permission},`),
      );
    await rejects(store.create('a', 'x'), 'CreateSecret');
    await rejects(store.get('a'), 'GetSecretValue');
    await rejects(store.delete('a'), 'DeleteSecret');
    await rejects(store.list(), 'ListSecrets');
  });

  test('opens without the permission to list, and says so', async () => {
    double.denied.add('ListSecrets');
    const said: string[] = [];
    const log: Log = { ...silentLog, warn: (message) => said.push(message) };
    await (await openAwsSecrets(awsSettings(double), { ...awsDeps, log })).close();
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /secretsmanager:ListSecrets/);
  });

  test('does not open with wrong credentials, another region or no server', async () => {
    const settings = awsSettings(double);
    const credentials = { accesskey: 'AKIADOUBLE', secretkey: 'wrong' };
    for (const [wrong, pattern] of [
      [{ ...settings, credentials }, /InvalidSignatureException.*secret key/],
      [{ ...settings, credentials: { accesskey: 'AKIANONE' } }, /UnrecognizedClientException/],
      [{ ...settings, region: 'us-east-1' }, /InvalidSignatureException.*region/],
      [{ ...settings, endpoint: 'http://127.0.0.1:9' }, /connection refused/],
      [{ ...settings, endpoint: 'ftp://host' }, /endpoint must be/],
    ] as const) {
      await assert.rejects(openAwsSecrets(wrong, awsDeps), (error) => {
        assert.ok(error instanceof KeyStoreError);
        assert.match(error.message, pattern);
        assert.ok(!error.message.includes(awsSecretKey));
        return true;
      });
    }
  });

  test('a value too large for AWS is refused before it is sent', async () => {
    const before = double.calls.length;
    await assert.rejects(store.create('a', 'x'.repeat(65_537)), /at most 65536 bytes/);
    assert.equal(double.calls.length, before);
  });

  test('lists no secret whose name cannot be a key', async () => {
    await store.create('my-key', 'x');
    const secret = double.secrets.get('my-key');
    assert.ok(secret);
    double.secrets.set('other/team/secret', secret);
    double.pageSize = 1;
    assert.deepEqual(await store.list(), ['my-key']);
  });

  test('a get that is not answered fails in time', async () => {
    const limits = { attemptMs: 40, readMs: 120, retryDelayMs: 1 };
    const quick = await openAwsSecrets(awsSettings(double), { ...awsDeps, limits });
    double.server.hangNext(9);
    await assert.rejects(quick.get('a'), failsWith('unreachable'));
    await quick.close();
  });

  test('tells the server nothing about this machine', async () => {
    await store.create('a', 'x');
    for (const { userAgent } of double.calls) assert.match(userAgent, /^coffer\/[0-9.]+$/);
  });

  test('the documented configuration opens', async () => {
    const config = documentedKeyStore('keystores/aws-secrets-manager.md', {
      COFFER_AWS_ACCESS_KEY: 'AKIADOUBLE',
      COFFER_AWS_SECRET_KEY: awsSecretKey,
    });
    assert.ok(config.type === 'aws');
    const remote = await startAwsSecretsDouble({ isTls: true });
    const host = 'secretsmanager.eu-central-1.amazonaws.com';
    const connections = connectionsTo({ [host]: remote.server.origin });
    const documented = await openAwsSecrets(config.settings, { ...awsDeps, connections });
    await documented.create('my-key', 'x');
    assert.equal(remote.secrets.get('my-key')?.kmsKey, 'alias/coffer');
    await documented.close();
    await connections.destroy();
    await remote.server.close();
  });

  test('an endpoint without a scheme means https', async () => {
    const host = `secretsmanager.${double.region}.amazonaws.com`;
    const connections = connectionsTo({ [host]: double.server.origin });
    const settings = { ...awsSettings(double), endpoint: host };
    // The double speaks plain HTTP: that the connection fails shows that TLS was tried.
    await assert.rejects(
      openAwsSecrets(settings, { ...awsDeps, connections }),
      failsWith('unreachable'),
    );
    await connections.destroy();
  });
});

describe('AWS credentials of the environment', () => {
  const names = /^AWS_/;
  let saved: NodeJS.ProcessEnv;
  let directory: string;

  beforeEach(async () => {
    saved = { ...process.env };
    for (const name of Object.keys(process.env)) if (names.test(name)) delete process.env[name];
    directory = await mkdtemp(join(tmpdir(), 'coffer-aws-'));
    process.env['AWS_CONFIG_FILE'] = join(directory, 'config');
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = join(directory, 'credentials');
    process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
  });

  afterEach(async () => {
    for (const name of Object.keys(process.env)) if (names.test(name)) delete process.env[name];
    Object.assign(process.env, saved);
    await rm(directory, { recursive: true, force: true });
  });

  async function withDouble(work: (double: AwsSecretsDouble) => Promise<void>): Promise<void> {
    const double = await startAwsSecretsDouble();
    try {
      await work(double);
    } finally {
      await double.server.close();
    }
  }

  const ambient = (double: AwsSecretsDouble): AwsSecretsSettings => ({
    endpoint: double.server.origin,
    region: double.region,
  });

  test('none at all is said so', () =>
    withDouble(async (double) => {
      await assert.rejects(
        openAwsSecrets(ambient(double), awsDeps),
        /CredentialsProviderError.*AWS_ACCESS_KEY_ID/,
      );
    }));

  test('variables', () =>
    withDouble(async (double) => {
      process.env['AWS_ACCESS_KEY_ID'] = 'AKIADOUBLE';
      process.env['AWS_SECRET_ACCESS_KEY'] = awsSecretKey;
      await (await openAwsSecrets(ambient(double), awsDeps)).close();
    }));

  test('the shared credentials file', () =>
    withDouble(async (double) => {
      await writeFile(
        join(directory, 'credentials'),
        `[default]\naws_access_key_id = AKIADOUBLE\naws_secret_access_key = ${awsSecretKey}\n`,
      );
      await (await openAwsSecrets(ambient(double), awsDeps)).close();
    }));

  test('a web identity is exchanged at STS itself, not at the configured endpoint', () =>
    withDouble(async (double) => {
      const identity = await startAwsIdentityDouble(double, {
        webToken: 'the-web-identity-token',
        containerToken: '',
        lifetimeMs: 3_600_000,
      });
      await writeFile(join(directory, 'token'), 'the-web-identity-token');
      process.env['AWS_ROLE_ARN'] = 'arn:aws:iam::123456789012:role/coffer';
      process.env['AWS_WEB_IDENTITY_TOKEN_FILE'] = join(directory, 'token');
      process.env['AWS_ENDPOINT_URL_STS'] = identity.origin;
      const store = await openAwsSecrets(ambient(double), awsDeps);
      await store.create('a', 'x');
      await store.close();
      assert.equal(identity.requests.length, 1);
      assert.ok(double.calls.length >= 2);
      assert.ok(double.server.requests.every((line) => line === 'GET /' || line === 'POST /'));
      await identity.close();
    }));

  test('credentials of a container are renewed before they expire', () =>
    withDouble(async (double) => {
      const options = { webToken: '', containerToken: 'Basic container', lifetimeMs: 1_000 };
      const identity = await startAwsIdentityDouble(double, options);
      process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = `${identity.origin}/credentials`;
      process.env['AWS_CONTAINER_AUTHORIZATION_TOKEN'] = 'Basic container';
      const store = await openAwsSecrets(ambient(double), awsDeps);
      await store.create('a', 'x');
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      assert.equal(await store.get('a'), 'x');
      assert.ok(identity.requests.length >= 2);
      await store.close();
      await identity.close();
    }));
});
