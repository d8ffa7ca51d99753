import assert from 'node:assert/strict';
import { test } from 'node:test';
import { believedAfterMs, CalmClock } from './calm-clock.ts';
import { DueKeys, keptMsMax, lateMsMax } from './due-keys.ts';

const startMs = 1_800_000_000_000;
const weekMs = 7 * 24 * 3_600_000;

/** A process that has just started, at a time of day that is right. */
function setUp() {
  const times = { now: 5_000, day: startMs };
  const now = () => times.now;
  const told: string[] = [];
  const clock = new CalmClock({ nowMs: () => times.day, now });
  const due = new DueKeys({
    clock,
    now,
    onKept: (name, forMs) => told.push(`${name} ${forMs}`),
  });
  const pass = (ms: number) => {
    times.now += ms;
    times.day += ms;
  };
  return { times, due, pass, told };
}

test('a key whose time comes while the process runs is due at that moment', () => {
  const { due, pass, told } = setUp();
  const schedule = { scheduledAtMs: startMs, destroyAtMs: startMs + weekMs };
  pass(weekMs - 1);
  assert.equal(due.isDue('k', schedule), false);
  pass(1);
  assert.equal(due.isDue('k', schedule), true);
  assert.deepEqual(told, []);
});

test('no key is due in the first hour; one whose time comes in it is due after it', () => {
  const { due, pass } = setUp();
  const schedule = { scheduledAtMs: startMs - weekMs, destroyAtMs: startMs + 60_000 };
  pass(believedAfterMs - 1);
  assert.equal(due.isDue('k', schedule), false);
  pass(1);
  assert.equal(due.isDue('k', schedule), true);
});

test('a key scheduled by a clock decades behind waits a day after the clock is right, and is told of once', () => {
  const { due, pass, told } = setUp();
  const schedule = { scheduledAtMs: 0, destroyAtMs: weekMs };
  pass(believedAfterMs);
  for (let hour = 0; hour < 24; hour += 1) {
    assert.equal(due.isDue('k', schedule), false);
    pass(3_600_000);
  }
  assert.equal(due.isDue('k', schedule), true);
  assert.deepEqual(told, [`k ${keptMsMax}`]);
});

test('the time of day cannot shorten what an overdue key is kept for', () => {
  const { due, pass, times } = setUp();
  pass(believedAfterMs);
  assert.equal(due.isDue('k', { destroyAtMs: 0 }), false);
  times.day += 10 * weekMs;
  pass(keptMsMax - 1);
  assert.equal(due.isDue('k', { destroyAtMs: 0 }), false);
  pass(1);
  assert.equal(due.isDue('k', { destroyAtMs: 0 }), true);
});

test('a short waiting time is waited for, no longer; another time begins anew', () => {
  const { due, pass } = setUp();
  pass(believedAfterMs);
  const short = { scheduledAtMs: 0, destroyAtMs: 60_000 };
  assert.equal(due.isDue('k', short), false);
  pass(59_999);
  assert.equal(due.isDue('k', short), false);
  const moved = { scheduledAtMs: 1, destroyAtMs: 60_001 };
  pass(1);
  assert.equal(due.isDue('k', moved), false);
  pass(60_000);
  assert.equal(due.isDue('k', moved), true);
  due.forget('k');
  assert.equal(due.isDue('k', moved), false);
});

test('a little late is not overdue', () => {
  const { due, pass, times } = setUp();
  pass(believedAfterMs);
  assert.equal(due.isDue('a', { destroyAtMs: times.day - lateMsMax }), true);
  assert.equal(due.isDue('b', { destroyAtMs: times.day - lateMsMax - 1 }), false);
});
