// What may and what may not be removed: after lost answers, beside another caller, and when a product hides
// for a moment what it has.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failsWith } from '../../test/contract/key-store.ts';
import { MemorySecrets } from '../../test/support/memory-secrets.ts';
import { KeyStoreError } from '../keys/key-store.ts';
import { companionName, deletionText, shortHash } from './generation-entries.ts';
import { openGenerations } from './generations.ts';

const fast = { settleMs: 1 };
const firstOf = (base: string) => companionName('a', shortHash(base), 1);

function changedKey(): Map<string, string> {
  return new Map([
    ['a', '0'],
    [firstOf('0'), '=1'],
  ]);
}

/** Every deletion rejects as if its answer was lost, after `arrives` said whether it is carried out. */
class DeafSecrets extends MemorySecrets {
  readonly deleted: string[] = [];
  arrives: (name: string) => boolean = () => true;
  afterwards: (name: string) => void = () => {};

  override async delete(name: string): Promise<void> {
    this.deleted.push(name);
    if (this.arrives(name)) await super.delete(name);
    this.afterwards(name);
    throw new KeyStoreError('unreachable', 'the answer was lost');
  }
}

test('a list never removes the changes of a key whose entries are hidden for a moment', async () => {
  const secrets = new MemorySecrets(changedKey());
  secrets.entries.set(firstOf('former'), '=x');
  secrets.get = async (name) => {
    throw new KeyStoreError('not-found', name);
  };
  const store = openGenerations(secrets, fast);
  await store.list({ prefix: '' });
  await store.close();
  assert.equal(secrets.entries.get(firstOf('0')), '=1');
});

test('a change whose key is hidden for a moment is not taken back', async () => {
  const secrets = new MemorySecrets(changedKey());
  const get = secrets.get.bind(secrets);
  const create = secrets.create.bind(secrets);
  let isHidden = false;
  secrets.create = async (name, value) => {
    await create(name, value);
    isHidden = true;
  };
  secrets.get = async (name) => {
    if (isHidden) throw new KeyStoreError('not-found', name);
    return get(name);
  };
  const sleep = async () => {
    isHidden = false;
  };
  const store = openGenerations(secrets, { ...fast, sleep });
  await store.replace('a', { expected: '1', value: '2' });
  assert.equal(await store.get('a'), '2');
});

test('a deletion whose answers were lost is done, each entry once', async () => {
  const secrets = new DeafSecrets(changedKey());
  await openGenerations(secrets, fast).delete('a');
  assert.equal(secrets.entries.size, 0);
  assert.equal(new Set(secrets.deleted).size, secrets.deleted.length);
});

test('a deletion that did not arrive is repeated twice at most', async () => {
  const secrets = new DeafSecrets(changedKey());
  secrets.arrives = (name) => secrets.deleted.filter((each) => each === name).length === 3;
  await openGenerations(secrets, fast).delete('a');
  assert.equal(secrets.entries.size, 0);
  const silent = new DeafSecrets(changedKey());
  silent.arrives = () => false;
  await assert.rejects(openGenerations(silent, fast).delete('a'), failsWith('unreachable'));
  assert.deepEqual(silent.deleted, ['a', 'a', 'a']);
});

test('what was created after a deletion with a lost answer stays', async () => {
  for (const text of ['other', '0']) {
    const secrets = new DeafSecrets(changedKey());
    secrets.afterwards = (name) => {
      if (name !== 'a') return;
      // A creator removes what is left before it creates the very same text.
      secrets.entries.clear();
      secrets.entries.set('a', text);
    };
    await openGenerations(secrets, fast).delete('a');
    assert.deepEqual([...secrets.entries], [['a', text]]);
  }
});

test('a deletion that met one that died after the base removes the rest', async () => {
  const secrets = new MemorySecrets(changedKey());
  secrets.entries.set(companionName('a', shortHash('0'), 2), deletionText);
  const sleep = async () => void secrets.entries.delete('a');
  await openGenerations(secrets, { ...fast, sleep }).delete('a');
  assert.equal(secrets.entries.size, 0);
});

test('companions stay when the very same text was created again before they went', async () => {
  const secrets = new MemorySecrets(changedKey());
  const sleep = async () => {
    for (const [name, text] of changedKey()) secrets.entries.set(name, text);
    secrets.entries.delete(companionName('a', shortHash('0'), 2));
  };
  await openGenerations(secrets, { ...fast, sleep }).delete('a');
  assert.deepEqual(secrets.entries, changedKey());
});
