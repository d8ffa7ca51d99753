import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  certificateIdentity,
  createClientCertificate,
  generateApiKey,
} from '../../wire/kes-identity.ts';
import { openPrivateKey } from '../../wire/kes-private-key.ts';
import { forwardedCertificate } from '../proxy.ts';
import { loadTls } from './tls.ts';

const vectors = JSON.parse(
  readFileSync(new URL('../../../test/vectors/kes-certificates.json', import.meta.url), 'utf8'),
) as {
  certificates: { name: string; pem: string; identity: string }[];
  tls_proxy: { cases: { values: string[]; ok: boolean; status?: number; message?: string }[] };
  private_keys: { cases: { name: string; pem: string; password: string; ok: boolean }[] };
};

void test('identities are those of the reference', () => {
  for (const { name, pem, identity } of vectors.certificates) {
    assert.equal(certificateIdentity(new X509Certificate(pem).raw), identity, name);
  }
});

void test('forwarded certificates are read as the reference reads them', () => {
  for (const { values, ok, status, message } of vectors.tls_proxy.cases) {
    if (ok) assert.ok(forwardedCertificate(values).raw.length > 0);
    else assert.throws(() => forwardedCertificate(values), { status, message });
  }
});

void test('private keys open with and without a password', () => {
  for (const { name, pem, password, ok } of vectors.private_keys.cases) {
    const open = () => openPrivateKey(pem, password === '' ? undefined : password);
    if (ok) assert.equal(open().type, 'private', name);
    else assert.throws(open, { name: 'KesIdentityError' }, name);
  }
});

async function withFiles(
  files: Record<string, string>,
  work: (at: (name: string) => string) => Promise<void>,
): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), 'coffer-tls-'));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
    await work((name) => join(path, name));
  } finally {
    await rm(path, { recursive: true });
  }
}

const own = await createClientCertificate(generateApiKey(), {
  dnsNames: ['localhost'],
  isServer: true,
});
const bare = await createClientCertificate(generateApiKey());
const off = {
  password: '',
  auth: 'off',
  ca: '',
  proxy: { identities: [], certHeader: '' },
} as const;

void test('refuses TLS files that would fail later', () =>
  withFiles(
    { key: own.key, cert: own.cert, bareKey: bare.key, bareCert: bare.cert, junk: 'x' },
    async (at) => {
      const cases: [string, string, RegExp][] = [
        ['none', 'cert', /cannot read private key/],
        ['key', 'none', /cannot read certificate/],
        ['junk', 'cert', /not a PEM file/],
        ['key', 'junk', /not a PEM file/],
        ['key', 'key', /contains a block of type 'PRIVATE KEY'/],
        ['bareKey', 'cert', /does not belong/],
        ['bareKey', 'bareCert', /does not contain any DNS or IP address as SAN/],
      ];
      for (const [key, cert, pattern] of cases) {
        await assert.rejects(loadTls({ ...off, key: at(key), cert: at(cert) }), pattern);
      }
      const loaded = await loadTls({ ...off, key: at('key'), cert: at('cert') });
      assert.deepEqual(loaded.roots, []);
    },
  ));

void test('roots come from a file or every file of a directory', () =>
  withFiles({ key: own.key, cert: own.cert, junk: 'x' }, async (at) => {
    await mkdir(at('roots'));
    await writeFile(join(at('roots'), 'one.pem'), own.cert + bare.cert);
    const load = (ca: string) =>
      loadTls({ ...off, auth: 'on', key: at('key'), cert: at('cert'), ca });
    const system = (await load('')).roots.length;
    assert.equal((await load(at('roots'))).roots.length, system + 2);
    assert.equal((await load(at('cert'))).roots.length, system + 1);
    await assert.rejects(load(at('junk')), /not a PEM file/);
    await assert.rejects(load(at('nowhere')), /cannot read/);
  }));
