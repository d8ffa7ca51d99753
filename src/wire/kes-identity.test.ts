import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { inspect } from 'node:util';
import {
  apiKeyOf,
  apiKeyToPkcs8,
  certificateIdentity,
  createClientCertificate,
  formatApiKey,
  generateApiKey,
  isIdentity,
  KesIdentityError,
  parseApiKey,
} from './kes-identity.ts';
import { isEncryptedKey, openPrivateKey, sealPrivateKey } from './kes-private-key.ts';

const vectorsDir = new URL('../../test/vectors/', import.meta.url);
const apiKeys = JSON.parse(readFileSync(new URL('kes-apikeys.json', vectorsDir), 'utf8')) as {
  pkcs8: { seed_hex: string; api_key: string };
  valid: { api_key: string; seed_hex: string; public_key_hex: string; identity: string }[];
  valid_extra: { api_key: string; same_as: string }[];
  invalid: { api_key: string; reason: string }[];
  invalid_extra: { api_key: string; reason: string }[];
};
const certificates = JSON.parse(
  readFileSync(new URL('kes-certificates.json', vectorsDir), 'utf8'),
) as {
  certificates: { name: string; pem: string; identity: string }[];
  private_keys: { cases: { name: string; pem: string; password: string; ok: boolean }[] };
};

void test('published API keys have their published identities', () => {
  for (const vector of apiKeys.valid) {
    const apiKey = parseApiKey(vector.api_key);
    assert.equal(apiKey.identity, vector.identity);
    assert.equal(formatApiKey(apiKey), vector.api_key);
    const der = apiKey.privateKey.export({ type: 'pkcs8', format: 'der' });
    assert.equal(der.subarray(-32).toString('hex'), vector.seed_hex);
  }
});

void test('the prefix of an API key may be left out', () => {
  for (const vector of apiKeys.valid_extra) {
    assert.equal(formatApiKey(parseApiKey(vector.api_key)), vector.same_as);
  }
});

void test('malformed API keys are refused without being shown', () => {
  for (const vector of [...apiKeys.invalid, ...apiKeys.invalid_extra]) {
    assert.throws(
      () => parseApiKey(vector.api_key),
      (error: unknown) => {
        assert.ok(error instanceof KesIdentityError);
        assert.equal(error.code, 'invalid-api-key');
        assert.ok(vector.api_key.length < 10 || !error.message.includes(vector.api_key.slice(7)));
        return true;
      },
      vector.reason,
    );
  }
});

void test('a PKCS#8 file holds the same key as an API key', () => {
  const apiKey = parseApiKey(apiKeys.pkcs8.api_key);
  const read = apiKeyOf(createPrivateKey(apiKeyToPkcs8(apiKey)));
  assert.equal(formatApiKey(read), apiKeys.pkcs8.api_key);
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  assert.throws(() => apiKeyOf(ec), { code: 'invalid-private-key' });
});

void test('certificates have their known identities, whatever the key type', () => {
  for (const vector of certificates.certificates) {
    assert.equal(certificateIdentity(vector.pem), vector.identity, vector.name);
    assert.equal(certificateIdentity(new X509Certificate(vector.pem).raw), vector.identity);
  }
  assert.throws(() => certificateIdentity('no certificate'), { code: 'invalid-certificate' });
});

void test('the certificate of an API key has its identity and the documented fields', async () => {
  const apiKey = generateApiKey();
  const now = Date.UTC(2030, 0, 1);
  const { cert, key } = await createClientCertificate(apiKey, { now });
  const parsed = new X509Certificate(cert);
  assert.equal(certificateIdentity(cert), apiKey.identity);
  assert.equal(parsed.subject, `CN=${apiKey.identity}`);
  assert.equal(parsed.issuer, `CN=${apiKey.identity}`);
  assert.equal(parsed.validFromDate.getTime(), now);
  assert.equal(parsed.validToDate.getTime(), now + 90 * 24 * 3600 * 1000);
  assert.deepEqual(parsed.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  assert.equal(parsed.ca, false);
  assert.equal(parsed.subjectAltName, undefined);
  assert.match(parsed.serialNumber, /^[0-9A-F]{2,32}$/);
  const again = new X509Certificate((await createClientCertificate(apiKey, { now })).cert);
  assert.notEqual(again.serialNumber, parsed.serialNumber);
  assert.ok(parsed.verify(parsed.publicKey));
  assert.ok(parsed.checkPrivateKey(createPrivateKey(key)));
});

void test('a certificate can name hosts and addresses and serve both ends', async () => {
  const { cert } = await createClientCertificate(generateApiKey(), {
    commonName: 'käse',
    dnsNames: ['localhost', 'kes.example.com'],
    ipAddresses: ['127.0.0.1', '::1', '2001:db8::8:0', 'fe80::'],
    isServer: true,
    now: Date.UTC(2050, 0, 1),
  });
  const parsed = new X509Certificate(cert);
  assert.equal(
    parsed.subjectAltName,
    'DNS:localhost, DNS:kes.example.com, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, ' +
      'IP Address:2001:DB8:0:0:0:0:8:0, IP Address:FE80:0:0:0:0:0:0:0',
  );
  assert.deepEqual(parsed.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.equal(parsed.validFromDate.getUTCFullYear(), 2050);
  const apiKey = generateApiKey();
  for (const address of ['localhost', '1.2.3', '1.2.3.256', 'fe80::1%eth0', '::ffff:1.2.3.4']) {
    const made = createClientCertificate(apiKey, { ipAddresses: [address] });
    await assert.rejects(made, RangeError, address);
  }
  for (const name of ['', 'käse.example', 'a b']) {
    const made = createClientCertificate(apiKey, { dnsNames: [name] });
    await assert.rejects(made, RangeError, name);
  }
});

void test('an identity is 64 lower-case hex digits', () => {
  assert.ok(isIdentity(generateApiKey().identity));
  assert.ok(!isIdentity('disabled'));
  assert.ok(!isIdentity('A'.repeat(64)));
});

void test('an API key does not show when it is printed or serialised', () => {
  const apiKey = parseApiKey(apiKeys.pkcs8.api_key);
  const shown = inspect(apiKey, { depth: 9 }) + JSON.stringify(apiKey);
  assert.ok(!shown.includes(apiKeys.pkcs8.seed_hex));
  assert.ok(!shown.includes('AD9E7FSY'));
});

void test('private key files open as the documents say', () => {
  for (const vector of certificates.private_keys.cases) {
    const open = () => openPrivateKey(vector.pem, vector.password);
    if (vector.ok) assert.equal(open().type, 'private', vector.name);
    else assert.throws(open, KesIdentityError, vector.name);
  }
  assert.throws(() => openPrivateKey('nothing here'), { code: 'invalid-private-key' });
});

void test('a private key sealed under a password opens with it and with no other', () => {
  const { privateKey } = generateApiKey();
  const pem = sealPrivateKey(privateKey, 'correct horse');
  assert.ok(isEncryptedKey(pem));
  assert.ok(openPrivateKey(pem, 'correct horse').equals(privateKey));
  assert.throws(() => openPrivateKey(pem), { code: 'password-required' });
  assert.throws(
    () => openPrivateKey(pem, 'wrong'),
    (error: unknown) => {
      return (
        error instanceof KesIdentityError && /wrong-password|invalid-private-key/.test(error.code)
      );
    },
  );
  assert.ok(!isEncryptedKey(apiKeyToPkcs8(generateApiKey())));
});
