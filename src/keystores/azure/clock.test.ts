// The bound on a server's time: when a second is surely over there.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServerClock } from './clock.ts';

const second = Math.floor(Date.UTC(2026, 0, 1) / 1_000);

function dateOf(unix: number): string {
  return new Date(unix * 1_000).toUTCString();
}

function makeClock(): { clock: ServerClock; advance: (ms: number) => void; slept: number[] } {
  let now = 5_000;
  const slept: number[] = [];
  const clock = new ServerClock({
    now: () => now,
    sleep: async (ms) => {
      slept.push(ms);
      now += ms;
    },
  });
  return {
    clock,
    slept,
    advance: (ms) => {
      now += ms;
    },
  };
}

test('a second is over when the next has lasted longer than clocks differ', async () => {
  const { clock, advance, slept } = makeClock();
  clock.observe(dateOf(second));
  assert.equal(clock.untilOver(second), 1_500);
  advance(1_499);
  assert.equal(clock.untilOver(second), 1);
  advance(1);
  assert.equal(clock.untilOver(second), 0);
  await clock.waitUntilOver(second);
  assert.deepEqual(slept, []);
  await clock.waitUntilOver(second + 1);
  assert.deepEqual(slept, [1_000]);
  assert.equal(clock.untilOver(second + 1), 0);
});

test('the observation that proves most counts', () => {
  const { clock, advance } = makeClock();
  clock.observe(dateOf(second));
  advance(900);
  clock.observe(dateOf(second + 2));
  assert.equal(clock.untilOver(second), 0);
  advance(10);
  clock.observe(dateOf(second));
  assert.equal(clock.untilOver(second), 0);
});

test('an old observation gives way to what the server says now', () => {
  const { clock, advance } = makeClock();
  clock.observe(dateOf(second + 3_600));
  advance(61_000);
  clock.observe(dateOf(second + 61));
  assert.equal(clock.untilOver(second + 61), 1_500);
});

test('whether a second was over is told for the time of a question, not of its answer', () => {
  const { clock, advance } = makeClock();
  assert.equal(clock.wasOver(second, clock.atLeast()), false);
  clock.observe(dateOf(second));
  const asked = clock.atLeast();
  advance(1_500);
  assert.equal(clock.wasOver(second, asked), false);
  assert.equal(clock.wasOver(second, clock.atLeast()), true);
});

test('without any date, and for a second far ahead, it waits a second and the difference of clocks', () => {
  const { clock } = makeClock();
  assert.equal(clock.untilOver(second), 1_500);
  clock.observe('no date');
  assert.equal(clock.untilOver(second), 1_500);
  clock.observe(dateOf(second));
  assert.equal(clock.untilOver(second + 100), 1_500);
});
