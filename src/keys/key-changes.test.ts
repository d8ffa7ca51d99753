import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryKeyStore } from '../keystores/memory.ts';
import { CachedKeyStore } from './cached-key-store.ts';
import { KeyService } from './key-service.ts';
import { parseStored } from './stored-key.ts';

function openNode(store: MemoryKeyStore): KeyService {
  const rules = { anyMs: 0, unusedMs: 0, offlineMs: 0 };
  const cache = new CachedKeyStore({ store, rules, now: () => performance.now() });
  return new KeyService({ store: cache, nowMs: Date.now });
}

test('a deletion that another node overtakes with a destruction leaves the tombstone', async () => {
  let overtake = async (): Promise<void> => {};
  class Overtaken extends MemoryKeyStore {
    override async delete(name: string, expected?: string): Promise<void> {
      await overtake();
      await super.delete(name, expected);
    }
  }
  const store = new Overtaken();
  await openNode(store).create('a', 'me');
  const other = openNode(store);
  overtake = async () => {
    await other.scheduleDestruction('a', { afterMs: 0, by: 'other' });
  };
  await assert.rejects(openNode(store).delete('a'), { code: 'destroyed' });
  assert.equal(parseStored(await store.get('a')).state, 'destroyed');
});
