import assert from 'node:assert/strict';
import { test } from 'node:test';
import { believedAfterMs, CalmClock } from './calm-clock.ts';

const dayMs = 24 * 3_600_000;

function setUp() {
  const times = { now: 5_000, day: 1_000_000_000 };
  const clock = new CalmClock({ nowMs: () => times.day, now: () => times.now });
  const pass = (ms: number) => {
    times.now += ms;
    times.day += ms;
  };
  return { times, clock, pass };
}

test('goes with the time of day, small corrections and steps back included', () => {
  const { times, clock, pass } = setUp();
  for (const correction of [0, 1_000, -1_000, 60_000, -dayMs]) {
    pass(dayMs);
    times.day += correction;
    assert.equal(clock.nowMs(), times.day);
  }
});

test('does not follow a jump ahead, and is right again when that is undone', () => {
  const { times, clock, pass } = setUp();
  times.day += 30 * dayMs;
  for (let minutes = 0; minutes < 59; minutes += 1) {
    pass(60_000);
    assert.equal(clock.nowMs(), times.day - 30 * dayMs);
  }
  times.day -= 30 * dayMs;
  assert.equal(clock.nowMs(), times.day);
  pass(3_600_000);
  times.day += 30 * dayMs;
  assert.equal(clock.nowMs(), times.day - 30 * dayMs);
});

test('believes a jump ahead that lasts an hour, and no row of jumps', () => {
  const { times, clock, pass } = setUp();
  times.day += dayMs;
  clock.nowMs();
  pass(3_599_999);
  assert.notEqual(clock.nowMs(), times.day);
  times.day += dayMs;
  assert.notEqual(clock.nowMs(), times.day);
  pass(3_599_999);
  assert.notEqual(clock.nowMs(), times.day);
  pass(1);
  assert.equal(clock.nowMs(), times.day);
});

test('nothing is past in the first hour, however late the time of day; small steps do not prolong it', () => {
  const { times, clock, pass } = setUp();
  pass(believedAfterMs - 1);
  assert.equal(clock.isPast(0), false);
  times.day -= 1_000;
  pass(1);
  assert.equal(clock.isPast(0), true);
  assert.equal(clock.isPast(times.day), true);
  assert.equal(clock.isPast(times.day + 1), false);
});

test('a jump in the first hour is believed an hour after the jump, not after the start', () => {
  const { times, clock, pass } = setUp();
  pass(1_800_000);
  times.day += 30 * dayMs;
  const due = times.day;
  clock.nowMs();
  pass(1_800_000);
  assert.equal(clock.isPast(due), false);
  pass(1_799_999);
  assert.equal(clock.isPast(due), false);
  pass(1);
  assert.equal(clock.isPast(due), true);
});
