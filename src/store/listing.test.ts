// Listing, against a model that sorts and folds all names in memory, and the cases that clients trip over.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { openTestStore, put, type TestStore } from '../../test/support/test-store.ts';
import type { ListObjectsQuery } from './types.ts';

let opened: TestStore;

before(async () => {
  opened = await openTestStore({ isSealed: false });
});
after(() => opened.close());

let bucketCount = 0;

async function bucketOf(names: Iterable<string>): Promise<string> {
  bucketCount += 1;
  const bucket = `list-${bucketCount}`;
  await opened.store.createBucket({ name: bucket, owner: 'o', location: '' });
  for (const key of names) await put(opened.store, key, Buffer.alloc(0), { bucket });
  return bucket;
}

async function listAll(
  query: Pick<ListObjectsQuery, 'bucket'> & Partial<ListObjectsQuery>,
): Promise<string[]> {
  const names: string[] = [];
  let after = query.after ?? '';
  for (;;) {
    const page = await opened.store.listObjects({
      prefix: '',
      delimiter: '',
      limit: 1000,
      ...query,
      after,
    });
    const found = [...page.objects.map(({ key }) => key), ...page.commonPrefixes];
    assert.ok(found.length <= (query.limit ?? 1000));
    found.sort(byBytes);
    names.push(...found);
    if (!page.isTruncated) {
      assert.equal(page.next, undefined);
      return names;
    }
    assert.equal(page.next, found.at(-1));
    after = page.next ?? '';
  }
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** What S3 says, done the slow way. */
function model(names: Iterable<string>, prefix: string, delimiter: string, from: string): string[] {
  const fold = (name: string): string => {
    const at = delimiter === '' ? -1 : name.indexOf(delimiter, prefix.length);
    return at < 0 ? name : name.slice(0, at + delimiter.length);
  };
  const all = [...names].filter((name) => name.startsWith(prefix));
  const folded = [...new Set(all.map(fold))].sort(byBytes);
  const isBehind = (name: string): boolean => {
    if (from === '') return true;
    if (byBytes(name, from) <= 0) return false;
    return !(name !== fold(name) && from.startsWith(name));
  };
  return folded.filter(isBehind);
}

void test('pages of any size show exactly what the model shows', async () => {
  const piece = fc.constantFrom(
    'a',
    'b',
    '/',
    '//',
    '+',
    'ä',
    '\u{1F600}',
    '\uFFFD',
    ' ',
    '%',
    '\x01',
  );
  const name = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''));
  const names = fc.uniqueArray(name, { minLength: 1, maxLength: 40 });
  const query = fc.record({
    prefix: fc.oneof(
      fc.constant(''),
      fc.array(piece, { maxLength: 2 }).map((p) => p.join('')),
    ),
    delimiter: fc.constantFrom('', '/', '/', 'b', '//', 'ä'),
    from: fc.oneof(fc.constant(''), name),
    limit: fc.constantFrom(1, 2, 3, 7, 1000),
  });
  await fc.assert(
    fc.asyncProperty(
      names,
      fc.array(query, { minLength: 5, maxLength: 5 }),
      async (all, queries) => {
        const bucket = await bucketOf(all);
        for (const { prefix, delimiter, from, limit } of queries) {
          const listed = await listAll({ bucket, prefix, delimiter, after: from, limit });
          assert.deepEqual(listed, model(all, prefix, delimiter, from));
        }
      },
    ),
    { numRuns: 40 },
  );
});

void test('common prefixes are merged into the order of the bytes', async () => {
  const bucket = await bucketOf(['foo+1/bar', 'foo/bar/xyzzy', 'quux ab/thud', 'asdf']);
  assert.deepEqual(await listAll({ bucket, delimiter: '/' }), [
    'asdf',
    'foo+1/',
    'foo/',
    'quux ab/',
  ]);
});

void test('a key equal to the prefix is a key', async () => {
  const bucket = await bucketOf(['asdf/', 'asdf/b', 'asdf/c/d']);
  assert.deepEqual(await listAll({ bucket, prefix: 'asdf/', delimiter: '/' }), [
    'asdf/',
    'asdf/b',
    'asdf/c/',
  ]);
});

void test('a limit of zero shows nothing and is not truncated', async () => {
  const bucket = await bucketOf(['a']);
  const page = await opened.store.listObjects({
    bucket,
    prefix: '',
    delimiter: '',
    after: '',
    limit: 0,
  });
  assert.deepEqual(page, { objects: [], commonPrefixes: [], isTruncated: false, next: undefined });
});

void test('a folded prefix with thousands of keys costs a few reads', async () => {
  const names = Array.from({ length: 3000 }, (_, index) => `big/${index}`);
  const bucket = await bucketOf([...names, 'a', 'z']);
  assert.deepEqual(await listAll({ bucket, delimiter: '/', limit: 2 }), ['a', 'big/', 'z']);
  assert.equal((await listAll({ bucket, prefix: 'big/', delimiter: '/' })).length, 3000);
});
