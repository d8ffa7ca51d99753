// docs/compatibility/kes.md says what the tables of routes, commands and settings say.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatKesPage } from '../../tools/compatibility-kes.ts';

test('the page about KES is what the tables say: node tools/compatibility-kes.ts brings it up to date', () => {
  const page = new URL('../../docs/compatibility/kes.md', import.meta.url);
  assert.equal(readFileSync(page, 'utf8'), formatKesPage());
});
