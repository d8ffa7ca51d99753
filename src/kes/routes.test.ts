import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { RouteTable } from './routes.ts';

const vectors = JSON.parse(
  readFileSync(new URL('../../test/vectors/kes-routes.json', import.meta.url), 'utf8'),
) as {
  routes: { method: string; path: string; max_body: number; timeout: number; auth: string }[];
};

const table = new RouteTable(new Map());

test('has every route of the reference with its limits', () => {
  for (const { method, path, max_body, timeout, auth } of vectors.routes) {
    const route = table.routes.find(({ prefix }) => prefix === path);
    assert.partialDeepStrictEqual(route, {
      method,
      maxBodyBytes: max_body,
      timeoutMs: timeout * 1000,
      auth,
    });
  }
});

const cases: [target: string, expected: string][] = [
  ['/version', 'version'],
  ['/version?x=1', 'version'],
  ['/v1/ready', 'ready'],
  ['/v1/status', 'status'],
  ['/v1/metrics', 'metrics'],
  ['/v1/api', 'api'],
  ['/v1/key/create/my-key', 'key-create my-key'],
  ['/v1/key/create/', 'key-create '],
  ['/v1/key/import/my-key', 'key-import my-key'],
  ['/v1/key/describe/my-key', 'key-describe my-key'],
  ['/v1/key/list/', 'key-list '],
  ['/v1/key/list', 'key-list '],
  ['/v1/key/list/%2A', 'key-list *'],
  ['/v1/key/list/my*', 'key-list my*'],
  ['/v1/key/list/my~my-key', 'key-list my~my-key'],
  ['/v1/key/delete/my-key', 'key-delete my-key'],
  ['/v1/key/generate/my-key', 'key-generate my-key'],
  ['/v1/key/generate/a%2Fb', 'key-generate a/b'],
  ['/v1/key/encrypt/my-key', 'key-encrypt my-key'],
  ['/v1/key/decrypt/my-key?enclave=x', 'key-decrypt my-key'],
  ['/v1/key/hmac/my-key', 'key-hmac my-key'],
  ['/v1/key/disable/my-key', 'key-disable my-key'],
  ['/v1/key/enable/my-key', 'key-enable my-key'],
  ['/v1/key/bulk/decrypt/my-key', 'key-bulk-decrypt my-key'],
  ['/v1/key/bulk/decrypt/a/b', 'key-bulk-decrypt a/b'],
  ['/v1/key/bulk/decrypt', '301 /v1/key/bulk/decrypt/'],
  ['/v1/key/bulk/encrypt/my-key', '404'],
  ['/v1/secret/create/x', '404'],
  ['/v1/enclave/create/x', '404'],
  ['/v1/policy/write/x', '404'],
  ['/v1/policy/assign/x', '404'],
  ['/v1/policy/delete/x', '404'],
  ['/v1/identity/create/x', '404'],
  ['/v1/identity/delete/x', '404'],
  ['/v1/batch/key', 'key-batch '],
  ['/v1/policy/describe/p', 'policy-describe p'],
  ['/v1/policy/read/p', 'policy-read p'],
  ['/v1/policy/list/', 'policy-list '],
  ['/v1/identity/describe/abc', 'identity-describe abc'],
  ['/v1/identity/list', 'identity-list '],
  ['/v1/identity/self/describe', 'identity-self '],
  ['/v1/log/error', 'log-error '],
  ['/v1/log/audit', 'log-audit '],
  ['/v1/key/create', '301 /v1/key/create/'],
  ['//v1/status', '301 /v1/status'],
  ['/v1/./status', '301 /v1/status'],
  ['/v1/key/create/../delete/x', '301 /v1/key/delete/x'],
  ['/v1/key/create/%2e%2e/delete/x', '301 /v1/key/delete/x'],
  ['/v1//key/create/', '301 /v1/key/create/'],
  ['/', '404'],
  ['', '301 /'],
  ['*', '301 /*'],
  ['/v1/status/', '404'],
  ['/v1/STATUS', '404'],
  ['/v1/secret/create/x', '404'],
  ['/v1/enclave/list/', '404'],
  ['/v1/key/unknown/x', '404'],
  ['/v1/identity/self/describe/', '404'],
  ['/%zz', '404'],
  ['/v1/__proto__/x/y', '404'],
];

for (const [target, expected] of cases) {
  test(`routes ${target} to ${expected}`, () => {
    const match = table.match(target);
    const seen =
      match.kind === 'route'
        ? `${match.route.name} ${match.resource}`.replace(
            /^(version|ready|status|metrics|api) $/,
            '$1',
          )
        : match.kind === 'redirect'
          ? `301 ${match.location}`
          : '404';
    assert.equal(seen, expected);
  });
}

test('a configuration changes timeouts and authentication of single routes', () => {
  const own = new RouteTable(
    new Map([
      ['/v1/status', { timeoutMs: 17_000, skipAuth: true }],
      ['/v1/key/create/', { timeoutMs: 0, skipAuth: false }],
      ['/version', { timeoutMs: 0, skipAuth: true }],
      ['/unknown', { timeoutMs: 1, skipAuth: true }],
    ]),
  );
  assert.partialDeepStrictEqual(own.find('status'), { timeoutMs: 17_000, auth: 'identify' });
  assert.partialDeepStrictEqual(own.find('key-create'), { timeoutMs: 15_000, auth: 'policy' });
  assert.equal(own.find('version')?.auth, 'none');
});
