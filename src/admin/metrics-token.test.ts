import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { verifyMetricsToken } from './metrics-token.ts';

const known =
  'eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJwcm9tZXRoZXVzIiwic3ViIjoibWluaW9hZG1pbiIsImV4cCI6NDEwMjQ0NDgwMH0.25mmq5LZ0b7RTh6P4_K3Se5lAekSMi7hJEnn0FF35p8U-0eg_BsUNke5HxFLhxav8SzZkVtrMC69t0dcGQOFqA';

const deps = {
  findSecretKey: async (accessKey: string) =>
    accessKey === 'minioadmin' ? 'minioadmin' : undefined,
  now: () => Date.UTC(2026, 0, 1),
};

function makeToken(header: object, claims: object, digest = 'sha512', secretKey = 'minioadmin') {
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode(header)}.${encode(claims)}`;
  return `${signed}.${createHmac(digest, secretKey).update(signed).digest('base64url')}`;
}

const claims = { iss: 'prometheus', sub: 'minioadmin', exp: 4_102_444_800 };

void test('accepts the known token of the clients', async () => {
  assert.equal(await verifyMetricsToken(known, deps), 'minioadmin');
});

void test('accepts the shorter hashes and the other name of the user', async () => {
  assert.equal(
    await verifyMetricsToken(makeToken({ alg: 'HS256' }, claims, 'sha256'), deps),
    'minioadmin',
  );
  const named = { iss: 'prometheus', accessKey: 'minioadmin', exp: claims.exp };
  assert.equal(
    await verifyMetricsToken(makeToken({ alg: 'HS384' }, named, 'sha384'), deps),
    'minioadmin',
  );
});

void test('refuses everything that proves nothing', async () => {
  const [header, body] = known.split('.');
  const refused = [
    '',
    'a.b.c',
    `${header}.${body}.`,
    `${known}.x`,
    makeToken({ alg: 'none' }, claims),
    `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`,
    makeToken({ alg: 'RS256' }, claims, 'sha256'),
    makeToken({ alg: 'HS512' }, claims, 'sha512', 'other-secret'),
    makeToken({ alg: 'HS512' }, claims, 'sha256'),
    makeToken({ alg: 'HS512' }, { ...claims, iss: 'someone' }),
    makeToken({ alg: 'HS512' }, { ...claims, exp: 1 }),
    makeToken({ alg: 'HS512' }, { iss: 'prometheus', sub: 'minioadmin' }),
    makeToken({ alg: 'HS512' }, { ...claims, sub: 'nobody' }),
    makeToken({ alg: 'HS512' }, { iss: 'prometheus', exp: claims.exp }),
    makeToken([], claims),
  ];
  for (const token of refused)
    assert.equal(await verifyMetricsToken(token, deps), undefined, token);
});
