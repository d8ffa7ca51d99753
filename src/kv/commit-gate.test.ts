import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { CommitGate } from './commit-gate.ts';

test('a held gate waits for the commits under way and lets none begin', async () => {
  const gate = new CommitGate();
  const events: string[] = [];
  const first = Promise.withResolvers<void>();
  const running = gate.pass(() => first.promise).then(() => events.push('first'));
  const held = gate.hold().then(() => events.push('held'));
  const waiting = gate.pass(async () => events.push('second'));
  await setImmediate();
  assert.deepEqual(events, []);
  first.resolve();
  await Promise.all([running, held]);
  await setImmediate();
  assert.deepEqual(new Set(events), new Set(['first', 'held']));
  gate.release();
  await waiting;
  assert.equal(events.at(-1), 'second');
});

test('a commit that fails is over too, and a gate can be held again', async () => {
  const gate = new CommitGate();
  const failing = gate.pass(() => Promise.reject(new Error('no')));
  await assert.rejects(failing, /no/);
  await gate.hold();
  gate.release();
  await gate.hold();
  await gate.hold();
  gate.release();
  assert.equal(await gate.pass(async () => 'through'), 'through');
});
