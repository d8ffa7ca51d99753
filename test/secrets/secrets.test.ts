// Searches everything that a key service and a store wrote while they worked, and failed to work, for the
// secrets they used: logs, metrics, error answers, the data directory.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sealAdminPayload } from '../../src/aead/admin-payload.ts';
import { parseStoredKey } from '../../src/keys/stored-key.ts';
import { parseApiKey } from '../../src/wire/kes-identity.ts';
import { type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import { s3TestClient } from '../support/s3-test-client.ts';

const plaintext = 'the plaintext that must never reach the disk in clear';
const metadataText = 'confidential-metadata-value';
const userSecrets = ['first-secret-of-alice', 'second-secret-of-alice', 'unsealed-secret-of-alice'];

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/** The forms in which a secret could have been written. */
function formsOf(secret: Uint8Array): Buffer[] {
  const bytes = Buffer.from(secret);
  return [
    bytes,
    ...['hex', 'base64', 'base64url'].map((form) =>
      Buffer.from(bytes.toString(form as BufferEncoding)),
    ),
  ];
}

await describe('secrets', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'coffer-secrets-'));
  const state: { pair?: CofferPair; answers: Buffer[] } = { answers: [] };
  const pairOf = (): CofferPair => {
    assert.ok(state.pair);
    return state.pair;
  };

  before(async () => {
    state.pair = await startCofferPair(dir, {
      env: { COFFER_LOG_LEVEL: 'debug', MINIO_PROMETHEUS_AUTH_TYPE: 'public', COFFER_WORKERS: '1' },
    });
    const pair = pairOf();
    const client = s3TestClient(pair);
    const wrong = s3TestClient({ ...pair, secretKey: 'wrong-secret-key' });
    const note = async (sent: Promise<{ body: Buffer }>): Promise<void> => {
      state.answers.push((await sent).body);
    };
    const sse = { 'x-amz-server-side-encryption': 'AES256', 'x-amz-meta-note': metadataText };
    await note(client.send({ method: 'PUT', target: '/secret-bucket' }));
    for (const size of [1, 3000, 6000]) {
      const body = Buffer.from(plaintext.repeat(size));
      await note(
        client.send({ method: 'PUT', target: `/secret-bucket/${size}`, headers: sse, body }),
      );
      await client.send({ method: 'GET', target: `/secret-bucket/${size}` });
    }
    await note(wrong.send({ method: 'GET', target: '/secret-bucket/1' }));
    await note(client.send({ method: 'GET', target: '/secret-bucket/absent' }));
    await note(
      client.send({
        method: 'PUT',
        target: '/secret-bucket/bad',
        headers: { ...sse, 'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA==' },
        body: Buffer.from('x'),
      }),
    );
    await note(
      client.send({
        method: 'PUT',
        target: '/secret-bucket/c',
        headers: {
          'x-amz-server-side-encryption-customer-key': Buffer.alloc(32, 7).toString('base64'),
        },
      }),
    );
    const addUser = (body: Uint8Array): Promise<{ body: Buffer }> =>
      client.send({ method: 'PUT', target: '/minio/admin/v3/add-user?accessKey=alice', body });
    for (const secretKey of userSecrets.slice(0, 2)) {
      const request = Buffer.from(JSON.stringify({ secretKey, status: 'enabled' }));
      await note(addUser(await sealAdminPayload(pair.secretKey, request)));
      // Refused: one that is not sealed, and one that is not what it should be.
      const unsealed = `{"secretKey":"${userSecrets[2]}"}`;
      await note(addUser(Buffer.from(unsealed)));
      await note(addUser(await sealAdminPayload(pair.secretKey, Buffer.from(`${unsealed}x`))));
      const alice = s3TestClient({ ...pair, accessKey: 'alice', secretKey });
      await note(alice.send({ method: 'GET', target: '/secret-bucket/1' }));
      const target = '/minio/admin/v3/user-info?accessKey=alice';
      const shown = await alice.send({ method: 'GET', target });
      assert.equal(shown.status, 200, 'alice is there, with this secret key');
      state.answers.push(shown.body);
      alice.close();
    }
    await note(client.send({ method: 'GET', target: '/minio/admin/v3/list-users' }));
    await pair.kes('key', 'disable', pair.keyName, '-k');
    await note(client.send({ method: 'GET', target: '/secret-bucket/1' }));
    await pair.kes('key', 'enable', pair.keyName, '-k');
    await pair.keyService.stop();
    await note(client.send({ method: 'GET', target: '/secret-bucket/1' }));
    await pair.startAgain();
    const metrics = await fetch(`http://127.0.0.1:${pair.port}/minio/v2/metrics/cluster`);
    assert.equal(metrics.status, 200);
    state.answers.push(Buffer.from(await metrics.text()));
    client.close();
    wrong.close();
    await pair.server.stop();
  });
  after(async () => {
    await state.pair?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  const secrets = (): { name: string; forms: Buffer[] }[] => {
    const pair = pairOf();
    const masterKey = parseStoredKey(
      readFileSync(path.join(pair.dir, 'keys', pair.keyName), 'utf8'),
    );
    const apiKey = parseApiKey(pair.apiKey);
    const seed = apiKey.privateKey.export({ format: 'jwk' }).d ?? '';
    return [
      { name: 'root secret key', forms: formsOf(Buffer.from(pair.secretKey)) },
      ...userSecrets.map((secret) => ({
        name: 'secret key of a user',
        forms: formsOf(Buffer.from(secret)),
      })),
      {
        name: 'API key',
        forms: [Buffer.from(pair.apiKey), Buffer.from(pair.apiKey.slice('kes:v1:'.length))],
      },
      { name: 'API key seed', forms: formsOf(Buffer.from(seed, 'base64url')) },
      { name: 'master key', forms: formsOf(masterKey.secret.export()) },
      {
        name: 'HMAC key',
        forms: masterKey.hmacSecret === undefined ? [] : formsOf(masterKey.hmacSecret.export()),
      },
      { name: 'customer key', forms: formsOf(Buffer.alloc(32, 7)) },
    ];
  };

  await test('are in no log, metric, answer or stored file', () => {
    const pair = pairOf();
    const places = [
      ...filesBelow(pair.dataDir).map((file) => ({ where: file, bytes: readFileSync(file) })),
      { where: 'log of the store', bytes: readFileSync(pair.server.logFile) },
      { where: 'log of the key service', bytes: readFileSync(pair.keyService.logFile) },
      ...state.answers.map((bytes, index) => ({ where: `answer ${index}`, bytes })),
    ];
    const found = places.flatMap((place) =>
      secrets()
        .filter((secret) => secret.forms.some((form) => place.bytes.includes(form)))
        .map((secret) => `${secret.name} in ${place.where}`),
    );
    assert.ok(places.length > 10, 'there was something to search');
    assert.deepEqual(found, []);
  });

  await test('plaintext and metadata of encrypted objects are in no stored file', () => {
    const found = filesBelow(pairOf().dataDir).filter((file) => {
      const bytes = readFileSync(file);
      return (
        bytes.includes(plaintext) ||
        bytes.includes(metadataText) ||
        bytes.includes('secret-bucket/1')
      );
    });
    assert.deepEqual(found, []);
  });
});
