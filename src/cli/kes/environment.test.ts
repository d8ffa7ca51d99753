import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tempFolder, useTestCli } from '../../../test/support/kes-cli.ts';
import { createClientCertificate } from '../../wire/kes-identity.ts';
import { kesCredentials, kesEnvOrder, kesServers } from './environment.ts';

const cli = useTestCli();
const { run, out, fails } = cli;

void test('a client key and certificate file serve instead of an API key', async (t) => {
  const dir = tempFolder(t);
  const [key, cert] = [join(dir, 'root.key'), join(dir, 'root.cert')];
  const made = await createClientCertificate(cli.server.admin);
  writeFileSync(key, made.key);
  writeFileSync(cert, made.cert);
  const files = { KES_API_KEY: undefined, KES_CLIENT_KEY: key, KES_CLIENT_CERT: cert };
  assert.equal(await out(['key', 'create', 'by-file'], { env: files }), '');
  const cases: [Record<string, string | undefined>, string][] = [
    [{ KES_API_KEY: undefined }, 'no API key specified. Consider setting MINIO_KES_API_KEY'],
    [{ KES_API_KEY: '' }, 'no API key specified. Consider setting MINIO_KES_API_KEY'],
    [{ KES_CLIENT_KEY: key }, 'API key and private key file cannot be used at the same time'],
    [{ KES_CLIENT_CERT: cert }, 'API key and certificate file cannot be used at the same time'],
    [
      { KES_API_KEY: '', KES_CLIENT_KEY: key },
      'no certificate file specified. Consider setting MINIO_KES_CERT_FILE',
    ],
    [
      { KES_API_KEY: '', KES_CLIENT_CERT: cert },
      'no private key file specified. Consider setting MINIO_KES_KEY_FILE',
    ],
    [{ KES_API_KEY: 'kes:v1:AAAA' }, 'parsing API key: kes: invalid API key: invalid length'],
  ];
  for (const [env, text] of cases) await fails(['key', 'ls'], text, { env });
});

void test('of several variables the first that is set wins', () => {
  const vectors = JSON.parse(
    readFileSync(new URL('../../../test/vectors/kes-cli-env.json', import.meta.url), 'utf8'),
  ) as {
    server_order: string[];
    api_key_order: string[];
    key_file_order: string[];
    cert_file_order: string[];
    endpoints: { env: Record<string, string>; endpoints: string[] }[];
  };
  assert.deepEqual(
    [kesEnvOrder.server, kesEnvOrder.apiKey, kesEnvOrder.keyFile, kesEnvOrder.certFile],
    [vectors.server_order, vectors.api_key_order, vectors.key_file_order, vectors.cert_file_order],
  );
  for (const vector of vectors.endpoints) {
    assert.deepEqual(kesServers(vector.env), vector.endpoints);
  }
  const both = { MINIO_KES_API_KEY: 'first', KES_API_KEY: 'second' };
  assert.deepEqual(kesCredentials(both), { kind: 'api-key', text: 'first' });
  assert.throws(() => kesCredentials({ ...both, MINIO_KES_API_KEY: '' }), /no API key specified/);
});

void test('a server that is not there or not trusted is named, with a way out', async () => {
  const gone = await run(['key', 'ls'], { env: { KES_SERVER: '127.0.0.1:1' } });
  assert.match(
    gone.stderr,
    /^Error: failed to list keys: kes: connection error: connect ECONNREFUSED 127\.0\.0\.1:1\n$/,
  );
  const untrusted = await run(['key', 'ls'], { env: { SSL_CERT_FILE: undefined } });
  assert.match(
    untrusted.stderr,
    /^Error: failed to list keys: kes: connection error: .*--insecure\)\n$/,
  );
  const missing = await run(['key', 'ls'], { env: { SSL_CERT_FILE: '/nowhere/ca.crt' } });
  assert.match(missing.stderr, /SSL_CERT_FILE names \/nowhere\/ca\.crt, which is not there/);
  assert.match(await out(['key', 'ls', '-k'], { env: { SSL_CERT_FILE: undefined } }), /^Key\n/);
});
