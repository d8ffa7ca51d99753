// Keys over immutable texts: the contract, the layout, what crashes leave, and what a read costs.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { failsWith, testKeyStore } from '../../test/contract/key-store.ts';
import { MemorySecrets } from '../../test/support/memory-secrets.ts';
import { KeyStoreError } from '../keys/key-store.ts';
import { openGenerations } from './generations.ts';

const fast = { settleMs: 1 };

testKeyStore('generations', async () => {
  const entries = new Map<string, string>();
  const openAgain = async () => openGenerations(new MemorySecrets(entries), fast);
  return { store: await openAgain(), openAgain, close: async () => {} };
});

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

/** Counts calls, and dies before the one that is told. */
class WatchedSecrets extends MemorySecrets {
  readonly calls: string[] = [];
  diesBefore: RegExp | undefined;

  override async create(name: string, value: string): Promise<void> {
    this.#note(`create ${name}`);
    await super.create(name, value);
  }

  override async get(name: string): Promise<string> {
    this.#note(`get ${name}`);
    return super.get(name);
  }

  override async delete(name: string): Promise<void> {
    this.#note(`delete ${name}`);
    await super.delete(name);
  }

  #note(call: string): void {
    this.calls.push(call);
    if (this.diesBefore?.test(call)) throw new KeyStoreError('unreachable', 'it died');
  }
}

test('the base is the value as given, changes lie beside it under names no key can have', async () => {
  const secrets = new MemorySecrets();
  const store = openGenerations(secrets, fast);
  await store.create('my-key', 'value');
  assert.deepEqual([...secrets.entries], [['my-key', 'value']]);
  await store.replace('my-key', { expected: 'value', value: 'disabled' });
  await store.replace('my-key', { expected: 'disabled', value: 'value' });
  assert.deepEqual(
    [...secrets.entries],
    [
      ['my-key', 'value'],
      [`my-key--${hashOf('value')}-1-`, '=disabled'],
      [`my-key--${hashOf('value')}-2-`, '=value'],
    ],
  );
  await store.replace('my-key', { expected: 'value', value: 'gone', isErasing: true });
  assert.deepEqual(
    [...secrets.entries],
    [['my-key--destroyed-', `!${hashOf('value')}${hashOf('value')}gone`]],
  );
  assert.equal(await openGenerations(secrets, fast).get('my-key'), 'gone');
});

test('a destroyed name is never given free', async () => {
  const store = openGenerations(new MemorySecrets(), fast);
  await store.create('a', '1');
  await store.replace('a', { expected: '1', value: 'gone', isErasing: true });
  await assert.rejects(store.delete('a'), failsWith('conflict'));
  await assert.rejects(store.create('a', '1'), failsWith('exists'));
  assert.equal(await store.get('a'), 'gone');
});

test('a key that is known costs two reads when it never changed, three when it did', async () => {
  const secrets = new WatchedSecrets();
  const store = openGenerations(secrets, { ...fast, now: () => 0 });
  await store.create('a', '1');
  await store.get('a');
  secrets.calls.length = 0;
  await store.get('a');
  assert.deepEqual(secrets.calls, ['get a', `get a--${hashOf('1')}-1-`]);
  await store.replace('a', { expected: '1', value: '2' });
  await store.get('a');
  secrets.calls.length = 0;
  await store.get('a');
  assert.equal(secrets.calls.length, 3);
});

test('a node that starts finds the newest of many changes in few reads', async () => {
  const secrets = new WatchedSecrets();
  const store = openGenerations(secrets, fast);
  await store.create('a', '0');
  for (let value = 1; value <= 100; value += 1) {
    await store.replace('a', { expected: String(value - 1), value: String(value) });
  }
  secrets.calls.length = 0;
  assert.equal(await openGenerations(secrets, fast).get('a'), '100');
  assert.ok(secrets.calls.length < 20, String(secrets.calls.length));
});

test('what the reference service deletes or creates counts at once', async () => {
  const secrets = new MemorySecrets();
  const store = openGenerations(secrets, fast);
  await store.create('a', '1');
  await store.replace('a', { expected: '1', value: '2' });
  await secrets.delete('a');
  await assert.rejects(store.get('a'), failsWith('not-found'));
  await secrets.create('a', 'other');
  assert.equal(await store.get('a'), 'other');
  await store.replace('a', { expected: 'other', value: '3' });
  await store.list({ prefix: '' });
  await store.close();
  assert.deepEqual([...secrets.entries.keys()], ['a', `a--${hashOf('other')}-1-`]);
});

test('an entry of a key that somebody else wrote is an error, not a value', async () => {
  for (const entry of [`a--${hashOf('1')}-1-`, 'a--destroyed-']) {
    const secrets = new MemorySecrets();
    await secrets.create('a', '1');
    await secrets.create(entry, 'what is this');
    await assert.rejects(openGenerations(secrets, fast).get('a'), failsWith('failed'));
  }
});

test('erasing that died at any step is finished by the next who sees it', async () => {
  for (const step of [/create a--destroyed/, /delete a$/, /delete a--.*-3-$/, /delete a--.*-1-$/]) {
    const secrets = new WatchedSecrets();
    const store = openGenerations(secrets, fast);
    await store.create('a', '0');
    await store.replace('a', { expected: '0', value: '1' });
    await store.replace('a', { expected: '1', value: '2' });
    secrets.diesBefore = step;
    const erasing = { expected: '2', value: 'gone', isErasing: true };
    await assert.rejects(store.replace('a', erasing), failsWith('unreachable'));
    secrets.diesBefore = undefined;
    const next = openGenerations(secrets, fast);
    assert.equal(await next.get('a'), 'gone');
    await next.replace('a', { ...erasing, value: 'gone again' });
    assert.equal(await next.get('a'), 'gone');
    await next.close();
    assert.deepEqual([...secrets.entries.keys()], ['a--destroyed-']);
  }
});

test('a deletion that died is one to every reader, and is finished by deleting again or by a list', async () => {
  for (const step of [/delete a$/, /delete a--.*-3-$/, /delete a--.*-1-$/]) {
    const secrets = new WatchedSecrets();
    const store = openGenerations(secrets, fast);
    await store.create('a', '0');
    await store.replace('a', { expected: '0', value: '1' });
    await store.replace('a', { expected: '1', value: '2' });
    secrets.diesBefore = step;
    await assert.rejects(store.delete('a'), failsWith('unreachable'));
    secrets.diesBefore = undefined;
    const next = openGenerations(secrets, fast);
    await assert.rejects(next.get('a'), failsWith('not-found'));
    const change = { expected: '2', value: '3' };
    await assert.rejects(next.replace('a', change), failsWith('not-found'));
    if (secrets.entries.has('a')) {
      await assert.rejects(next.create('a', '0'), /delete it again/);
      await next.delete('a');
    } else {
      await next.list({ prefix: '' });
      await next.close();
    }
    assert.deepEqual([...secrets.entries.keys()], []);
    await next.create('a', '0');
    assert.equal(await next.get('a'), '0');
  }
});

test('a create that died beside a destroyed entry is not a key, and is swept by a list', async () => {
  const secrets = new MemorySecrets();
  const store = openGenerations(secrets, fast);
  await store.create('a', '0');
  await store.replace('a', { expected: '0', value: 'gone', isErasing: true });
  await secrets.create('a', 'stray');
  const next = openGenerations(secrets, fast);
  assert.equal(await next.get('a'), 'gone');
  assert.deepEqual((await next.list({ prefix: '' })).names, ['a']);
  await next.close();
  assert.deepEqual([...secrets.entries.keys()], ['a--destroyed-']);
});

test('an unreachable product is an error, never an absence', async () => {
  const secrets = new WatchedSecrets();
  const store = openGenerations(secrets, fast);
  await store.create('a', '0');
  await store.get('a');
  for (const part of [/get a$/, /get a--[0-9a-f]/]) {
    secrets.diesBefore = part;
    await assert.rejects(store.get('a'), failsWith('unreachable'));
    await assert.rejects(openGenerations(secrets, fast).get('a'), failsWith('unreachable'));
    await assert.rejects(store.delete('a'), failsWith('unreachable'));
  }
  secrets.diesBefore = undefined;
  assert.equal(await store.get('a'), '0');
});

test('the list hides what belongs to keys and claims of creators', async () => {
  const secrets = new MemorySecrets();
  const store = openGenerations(secrets, fast);
  for (const name of ['b', 'a--x', 'c--destroyed']) await store.create(name, '1');
  await store.replace('b', { expected: '1', value: '2' });
  await secrets.create('b--claim-0011-22-', 'x');
  assert.deepEqual((await store.list({ prefix: '' })).names, ['a--x', 'b', 'c--destroyed']);
});

test('a removal waits between base and companions, so that reads which saw the base are done', async () => {
  for (const isErasing of [false, true]) {
    const secrets = new WatchedSecrets();
    const sleep = async (ms: number) => {
      secrets.calls.push(`sleep ${ms}`);
    };
    const store = openGenerations(secrets, { sleep });
    await store.create('a', '0');
    await store.replace('a', { expected: '0', value: '1' });
    secrets.calls.length = 0;
    if (isErasing) await store.replace('a', { expected: '1', value: '-', isErasing });
    else await store.delete('a');
    const removals = secrets.calls.filter((call) => !call.startsWith('get'));
    const companion = `a--${hashOf('0')}`;
    assert.deepEqual(removals, [
      `create ${companion}-2-`,
      ...(isErasing ? ['create a--destroyed-'] : []),
      'delete a',
      'sleep 500',
      `delete ${companion}-2-`,
      `delete ${companion}-1-`,
    ]);
  }
});

test('a read slower than that looks at the base again', async () => {
  const secrets = new WatchedSecrets();
  let now = 0;
  const reader = openGenerations(secrets, { ...fast, now: () => now });
  await reader.create('a', '0');
  await reader.get('a');
  const other = openGenerations(secrets, fast);
  await other.replace('a', { expected: '0', value: '1' });
  const get = secrets.get.bind(secrets);
  // Base read, then the whole removal, then the companion: alone, that looks like generation 0.
  secrets.get = async (name) => {
    if (name === 'a') return get(name);
    secrets.get = get;
    await other.delete('a');
    now += 1000;
    return get(name);
  };
  await assert.rejects(reader.get('a'), failsWith('not-found'));
});

test('a key that is destroyed while it is read is never absent', async () => {
  const secrets = new WatchedSecrets();
  const other = openGenerations(secrets, fast);
  await other.create('a', '0');
  const get = secrets.get.bind(secrets);
  // The destroyed entry is looked for, then the key is destroyed, then its base is looked for.
  secrets.get = async (name) => {
    if (name !== 'a') return get(name);
    secrets.get = get;
    await other.replace('a', { expected: '0', value: 'gone', isErasing: true });
    return get(name);
  };
  assert.equal(await openGenerations(secrets, fast).get('a'), 'gone');
});

test('a product that loses what it acknowledged is noticed', async () => {
  const secrets = new WatchedSecrets();
  const store = openGenerations(secrets, fast);
  await store.create('a', '0');
  const create = secrets.create.bind(secrets);
  secrets.create = async () => {};
  await assert.rejects(store.create('b', '1'), /the store lost the write/);
  await assert.rejects(store.replace('a', { expected: '0', value: '1' }), failsWith('failed'));
  const erasing = { expected: '0', value: 'gone', isErasing: true };
  await assert.rejects(store.replace('a', erasing), failsWith('failed'));
  secrets.create = create;
  assert.equal(await store.get('a'), '0');
});
