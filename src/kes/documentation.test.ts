import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkPatterns, defaultAddress, defaultCache, parseKesConfig } from './config.ts';
import { kesErrors, kesRoutes } from '../wire/kes.ts';

const text = readFileSync(new URL('../../docs/formats/kes-protocol.md', import.meta.url), 'utf8');

/** The cells of the table rows below a heading. */
function rowsBelow(heading: string): string[][] {
  const section = text.split(`### ${heading}\n`)[1]?.split(/\n##/)[0] ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
}

test('the documented routes are the routes', () => {
  assert.deepEqual(
    rowsBelow('Routes'),
    kesRoutes.map((route) => [
      route.method,
      route.prefix,
      String(route.maxBodyBytes),
      route.timeoutSeconds === 0 ? 'none' : `${route.timeoutSeconds} s`,
      route.auth,
    ]),
  );
});

test('the documented errors are the errors', () => {
  assert.deepEqual(
    rowsBelow('Errors that clients compare'),
    Object.values(kesErrors).map(({ status, message }) => [String(status), message]),
  );
});

test('the documented configuration is valid, and shows the defaults', () => {
  const guide = readFileSync(new URL('../../docs/kes-server.md', import.meta.url), 'utf8');
  const yaml = guide.split('```yaml\n')[1]?.split('```')[0] ?? '';
  const env = { KES_ADMIN: 'admin', MY_APP_IDENTITY: 'app' };
  const config = parseKesConfig(yaml, env);
  assert.deepEqual(checkPatterns(config.policies), []);
  assert.deepEqual(config.cache, defaultCache);
  assert.equal(config.address, defaultAddress);
  assert.equal(config.tls.auth, 'off');
});
