import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import { defaultAddress, defaultCache, parseKesConfigFile } from './config/config.ts';
import { configFileSchema } from './config/schema.ts';
import { defaultLimits } from './transport/connection.ts';
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
  const { config, warnings } = parseKesConfigFile(yaml, env);
  assert.deepEqual(warnings, []);
  assert.deepEqual(config.cache, defaultCache);
  assert.equal(config.address, defaultAddress);
  assert.equal(config.tls.auth, 'off');
});

/** The members of a schema as the reference names them: `policy.<name>.allow`, `keys[].name`. */
function membersOf(schema: z.ZodType, name = ''): string[] {
  if (schema instanceof z.ZodOptional) return membersOf(schema.unwrap() as z.ZodType, name);
  if (schema instanceof z.ZodUnion) return membersOf(schema.options[0] as z.ZodType, name);
  if (schema instanceof z.ZodRecord) {
    const each = name === 'api' ? '<path>' : '<name>';
    return membersOf(schema.valueType as z.ZodType, `${name}.${each}`);
  }
  if (schema instanceof z.ZodArray && schema.element instanceof z.ZodObject) {
    return membersOf(schema.element, `${name}[]`);
  }
  const members = schema instanceof z.ZodObject ? Object.entries(schema.shape) : [];
  if (members.length === 0) return [name];
  return members.flatMap(([member, inner]) =>
    membersOf(inner as z.ZodType, name === '' ? member : `${name}.${member}`),
  );
}

test('the reference has every member of the configuration, and no other', () => {
  const guide = readFileSync(new URL('../../docs/kes-server.md', import.meta.url), 'utf8');
  const section = guide.split('### Reference\n')[1]?.split(/\n##/)[0] ?? '';
  const documented = [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, member]) => member);
  // Spellings that are refused with what to write instead.
  const old = new Set(['root', 'policy.<name>.paths']);
  const members = membersOf(configFileSchema).filter((member) => !old.has(member));
  const sorted = (names: readonly (string | undefined)[]) => names.map(String).toSorted();
  assert.deepEqual(sorted(documented), sorted(members));
});

test('the documented limits are the limits', () => {
  const guide = readFileSync(new URL('../../docs/kes-server.md', import.meta.url), 'utf8');
  const { headerTimeoutMs, idleTimeoutMs, renewMs, streamsMax } = defaultLimits;
  const { connectionBodyBytesMax, bodyBytesMax } = defaultLimits;
  const mib = (bytes: number) => `${bytes / 1_048_576} MiB`;
  assert.match(guide, new RegExp(`first settings of HTTP/2 \\| ${headerTimeoutMs / 1000} s \\|`));
  assert.match(guide, new RegExp(`connection without a request \\| ${idleTimeoutMs / 1000} s \\|`));
  assert.match(guide, new RegExp(`requests in progress \\(${renewMs / 1000} s at most\\)`));
  assert.match(guide, new RegExp(`one HTTP/2 connection \\| ${streamsMax} \\|`));
  const bodies = `${mib(connectionBodyBytesMax)} for each connection, ${mib(bodyBytesMax)} in all`;
  assert.ok(guide.includes(bodies));
});

test('the pages that the guide names are there', () => {
  const folder = new URL('../../docs/', import.meta.url);
  const guide = readFileSync(new URL('kes-server.md', folder), 'utf8');
  const pages = [...guide.matchAll(/`([a-z/-]+\.md)`/gi)].map(([, page]) => page ?? '');
  assert.ok(pages.length > 10);
  for (const page of pages) assert.ok(existsSync(new URL(page, folder)), page);
});
