import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { OpenGate } from './open-gate.ts';
import type { ToWorker } from './protocol.ts';

class FakeWorker {
  state: 'starting' | 'exited' = 'starting';
  readonly got: string[] = [];
  send(message: ToWorker): void {
    this.got.push(message.type);
  }
}

/** A gate beside a worker that has the store open. */
async function opened(): Promise<{ gate: OpenGate; first: FakeWorker }> {
  const gate = new OpenGate();
  const first = new FakeWorker();
  gate.ask(first);
  await setImmediate();
  assert.deepEqual(first.got, ['open-granted']);
  gate.done();
  await setImmediate();
  return { gate, first };
}

test('a worker opens only after every other holds its commits, and then they go on', async () => {
  const { gate, first } = await opened();
  const second = new FakeWorker();
  gate.ask(second);
  await setImmediate();
  assert.deepEqual(second.got, []);
  assert.equal(first.got.at(-1), 'hold-commits');
  gate.held(first);
  await setImmediate();
  assert.deepEqual(second.got, ['open-granted']);
  assert.equal(first.got.at(-1), 'hold-commits');
  gate.done();
  await setImmediate();
  assert.equal(first.got.at(-1), 'release-commits');
});

test('one opens at a time, and the next waits for the last to hold as well', async () => {
  const { gate, first } = await opened();
  const second = new FakeWorker();
  const third = new FakeWorker();
  gate.ask(second);
  gate.ask(third);
  gate.held(first);
  await setImmediate();
  assert.deepEqual(third.got, []);
  gate.done();
  await setImmediate();
  assert.deepEqual(third.got, []);
  assert.equal(second.got.at(-1), 'hold-commits');
  gate.held(first);
  await setImmediate();
  assert.deepEqual(third.got, []);
  gate.held(second);
  await setImmediate();
  assert.deepEqual(third.got, ['open-granted']);
});

test('nobody waits for a worker that ended, before or after it was allowed', async () => {
  const { gate, first } = await opened();
  const second = new FakeWorker();
  gate.ask(second);
  await setImmediate();
  first.state = 'exited';
  gate.exited(first);
  await setImmediate();
  assert.deepEqual(second.got, ['open-granted']);
  const third = new FakeWorker();
  gate.ask(third);
  second.state = 'exited';
  gate.exited(second);
  await setImmediate();
  assert.deepEqual(third.got, ['open-granted']);
});
