import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KnownKeys, knownKeysMax } from './known-keys.ts';
import { loadKnownKeys } from './known-keys-file.ts';
import { createKeyVersion, createMasterKey, keyTimeOf } from './master-key.ts';
import {
  buryStoredKey,
  changeStoredKey,
  formatStoredKey,
  parseStored,
  parseStoredKey,
} from './stored-key.ts';

const made = { createdAt: keyTimeOf(0), createdBy: '' };
const newKey = () => formatStoredKey(createMasterKey(made));
const rotated = (text: string) =>
  changeStoredKey(text, { kind: 'rotate', version: createKeyVersion(parseStoredKey(text), made) });
const disabled = (text: string) => changeStoredKey(text, { kind: 'disable' });
const buried = (text: string) =>
  buryStoredKey(text, { destroyedAt: keyTimeOf(0), destroyedBy: '' });

/** What a read that begins now makes of the texts, one after another. */
function see(known: KnownKeys, ...texts: string[]): void {
  for (const text of texts)
    assert.equal(known.check('k', parseStored(text), known.begin()), 'known');
}

function refuses(known: KnownKeys, text: string): void {
  assert.throws(() => known.check('k', parseStored(text), known.begin()), { code: 'replaced' });
}

test('a key may change as keys do', () => {
  const known = new KnownKeys();
  const first = newKey();
  const second = rotated(first);
  const third = disabled(second);
  see(known, first, first, second, third, third, buried(third), buried(third));
});

test('steps that this node did not see are no matter', () => {
  const known = new KnownKeys();
  const first = newKey();
  see(known, first, disabled(rotated(rotated(first))));
});

test('another key, an older state and a missing version are refused, with both fingerprints', () => {
  const first = newKey();
  const second = rotated(first);
  const other = newKey();
  const withSameSecret = formatStoredKey({ ...parseStoredKey(first), id: 'ab'.repeat(16) });
  const lost = disabled(disabled(first));
  for (const [seen, given] of [
    [first, other],
    [first, withSameSecret],
    [second, first],
    [second, lost],
    [second, rotated(first)],
    [rotated(second), rotated(rotated(first))],
    [buried(first), first],
    [buried(first), disabled(rotated(first))],
    [buried(second), buried(first)],
  ] as const) {
    const known = new KnownKeys();
    see(known, seen);
    refuses(known, given);
    see(known, seen);
  }
  const known = new KnownKeys();
  see(known, first);
  const fingerprints = /fingerprint [0-9a-f]{32}.*fingerprint [0-9a-f]{32}/;
  assert.throws(() => known.check('k', parseStored(other), known.begin()), fingerprints);
});

test('what a node forgot, saw deleted, or wrote itself is taken as it is', () => {
  const known = new KnownKeys();
  see(known, newKey());
  known.forget('k');
  see(known, newKey());
  known.gone('k', known.begin());
  see(known, newKey());
  known.wrote('k', parseStored(newKey()));
  assert.equal(known.has('k'), true);
  refuses(known, newKey());
});

test('a read that began before something was learnt proves nothing', () => {
  const known = new KnownKeys();
  const first = newKey();
  const mark = known.begin();
  known.wrote('k', parseStored(rotated(first)));
  assert.equal(known.check('k', parseStored(first), mark), 'outdated');
  known.gone('k', mark);
  assert.equal(known.has('k'), true);
  refuses(known, first);
});

test('a write that is answered late does not hide a later one that was seen', () => {
  const known = new KnownKeys();
  const first = newKey();
  const second = rotated(first);
  const third = rotated(second);
  see(known, first, third);
  known.wrote('k', parseStored(second));
  refuses(known, second);
});

test('only so many names are remembered', () => {
  const known = new KnownKeys();
  const key = parseStored(newKey());
  for (let index = 0; index <= knownKeysMax; index += 1) known.wrote(`k${index}`, key);
  assert.equal(known.has('k0'), false);
  assert.equal(known.has('k1'), true);
  assert.equal(known.has(`k${knownKeysMax}`), true);
});

async function withFile(work: (file: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'coffer-known-'));
  try {
    await work(join(directory, 'deep', 'known-keys'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const strict = {
  onError: (error: Error) => {
    throw error;
  },
};

test('what was learnt outlives a restart, what was forgotten does not', async () => {
  await withFile(async (file) => {
    const [key, other] = [newKey(), newKey()];
    const before = await loadKnownKeys(file, strict);
    const now = rotated(key);
    before.wrote('k', parseStored(now));
    before.wrote('gone', parseStored(key));
    before.forget('gone');
    before.wrote('destroyed', parseStored(buried(key)));
    await before.flush();
    const after = await loadKnownKeys(file, strict);
    refuses(after, key);
    refuses(after, other);
    see(after, now, disabled(now));
    assert.equal(after.has('gone'), false);
    assert.throws(() => after.check('destroyed', parseStored(key), after.begin()));
    await before.close();
    await after.close();
    const text = await readFile(file, 'utf8');
    const secret = parseStoredKey(key).secret.export();
    assert.ok(!text.includes(secret.toString('base64')) && !text.includes(secret.toString('hex')));
  });
});

test('a line that a crash cut off does not count, a damaged one is refused', async () => {
  await withFile(async (file) => {
    const key = newKey();
    const before = await loadKnownKeys(file, strict);
    before.wrote('k', parseStored(key));
    await before.close();
    await appendFile(file, '{"name":"k","gone":tr');
    const after = await loadKnownKeys(file, strict);
    refuses(after, newKey());
    await after.close();
    for (const line of ['{', 'null', '{"name":5}', '{"name":"k","fingerprint":"x"}', '']) {
      await writeFile(file, `${line}\n`);
      await assert.rejects(loadKnownKeys(file, strict), { code: 'damaged' });
    }
  });
});

test('the file does not grow without end', async () => {
  await withFile(async (file) => {
    const known = await loadKnownKeys(file, strict);
    let text = newKey();
    for (let round = 0; round < 60; round += 1) {
      for (let change = 0; change < 50; change += 1) {
        text = changeStoredKey(text, { kind: change % 2 === 0 ? 'disable' : 'enable' });
        known.wrote('k', parseStored(text));
      }
      await known.flush();
    }
    const lines = (await readFile(file, 'utf8')).split('\n').length;
    assert.ok(lines < 1_200, String(lines));
    const after = await loadKnownKeys(file, strict);
    see(after, text);
    await known.close();
    await after.close();
  });
});

test('a file that cannot be written is reported once, and written whole when it can be again', async () => {
  await withFile(async (file) => {
    const errors: Error[] = [];
    const known = await loadKnownKeys(file, { onError: (error) => errors.push(error) });
    await known.close();
    const directory = join(file, '..');
    await rm(directory, { recursive: true });
    await writeFile(directory, 'in the way');
    const key = newKey();
    known.wrote('k', parseStored(key));
    await known.flush();
    known.wrote('l', parseStored(key));
    await known.flush();
    assert.equal(errors.length, 1);
    await rm(directory);
    known.wrote('m', parseStored(key));
    await known.flush();
    const after = await loadKnownKeys(file, strict);
    assert.deepEqual([after.has('k'), after.has('l'), after.has('m')], [true, true, true]);
    await known.close();
    await after.close();
    await assert.rejects(loadKnownKeys(directory, strict), { code: 'unreadable' });
  });
});
