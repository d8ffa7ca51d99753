// Notes of uses: gathered, kept until they arrive, bounded, and what a refusal does.

import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, it } from 'node:test';
import { VectorKms } from '../../test/support/vector-kms.ts';
import { type Kms, KmsError, type KmsUse } from './kms.ts';
import { UseNotes } from './use-notes.ts';

type Noting = Kms & {
  readonly groups: KmsUse[][];
  failure: KmsError | undefined;
  refused: string;
};

function notingKms(): Noting {
  const base: Kms = new VectorKms({ defaultKeyName: 'k', masterKeys: {} });
  const kms: Noting = Object.assign(Object.create(base) as Kms, {
    groups: [] as KmsUse[][],
    failure: undefined as KmsError | undefined,
    refused: '',
    noteUses: async (uses: readonly KmsUse[]) => {
      if (kms.failure) throw kms.failure;
      kms.groups.push([...uses]);
      return uses.map(({ keyName }) =>
        keyName === kms.refused ? new KmsError('key-disabled', 'disabled') : undefined,
      );
    },
  });
  return kms;
}

const use = (index: number, keyName = 'k'): KmsUse => ({ keyName, context: { b: `b/${index}` } });
const unreachable = new KmsError('unreachable', 'no answer');

void describe('notes of uses', () => {
  void it('go out together, each once and in order', async () => {
    const kms = notingKms();
    const notes = new UseNotes(kms, () => undefined);
    for (let index = 0; index < 600; index += 1) await notes.add(use(index));
    await notes.close();
    assert.deepEqual(
      kms.groups.flat(),
      Array.from({ length: 600 }, (_, index) => use(index)),
    );
    assert.ok(kms.groups.length <= 4);
  });

  void it('go out by themselves', async () => {
    const kms = notingKms();
    const notes = new UseNotes(kms, () => undefined);
    await notes.add(use(1));
    for (let waited = 0; kms.groups.length === 0 && waited < 200; waited += 1) await delay(20);
    assert.deepEqual(kms.groups, [[use(1)]]);
    await notes.close();
  });

  void it('are kept while the KMS does not answer, and then block further uses', async () => {
    const kms = notingKms();
    const notes = new UseNotes(kms, () => undefined);
    kms.failure = unreachable;
    for (let index = 0; index < 4096; index += 1) await notes.add(use(index));
    await assert.rejects(notes.add(use(4096)), unreachable);
    kms.failure = undefined;
    await notes.add(use(4096));
    await notes.flush();
    assert.equal(kms.groups.flat().length, 4097);
    await notes.close();
  });

  void it('tell whose use was refused, and nothing of trouble', async () => {
    const kms = notingKms();
    const refused: string[] = [];
    const notes = new UseNotes(kms, (keyName) => refused.push(keyName));
    kms.refused = 'bad';
    await notes.add(use(1));
    await notes.add(use(2, 'bad'));
    await notes.close();
    assert.deepEqual(refused, ['bad']);
  });

  void it('are none where there is nobody to tell', async () => {
    const notes = new UseNotes(
      new VectorKms({ defaultKeyName: 'k', masterKeys: {} }),
      () => undefined,
    );
    for (let index = 0; index < 5000; index += 1) await notes.add(use(index));
    await notes.close();
  });
});
