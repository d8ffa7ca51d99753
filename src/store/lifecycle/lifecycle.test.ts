// When rules let objects, versions, markers and uploads go.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  findExpiration,
  isLoneMarkerExpired,
  isUploadExpired,
  lifecycleDayMs as dayMs,
  noncurrentLimits,
} from './lifecycle.ts';
import type { LifecycleRule, Tag } from '../types.ts';

const made = Date.UTC(2026, 0, 10, 15, 30);
const rule = (change: Partial<LifecycleRule>): LifecycleRule => ({
  id: 'r',
  isEnabled: true,
  filter: { prefix: '', tags: [] },
  filterForm: 'filter',
  ...change,
});
const subject = (change: { key?: string; sizeBytes?: number; tags?: readonly Tag[] } = {}) => ({
  key: change.key ?? 'logs/a',
  sizeBytes: change.sizeBytes ?? 100,
  tags: () => change.tags ?? [],
});
const times = { modifiedMs: made, dayMs };
const days = (count: number): Partial<LifecycleRule> => ({
  expiration: { kind: 'days', days: count },
});

void test('days are counted to the next midnight, and the earliest rule counts', () => {
  const rules = [rule({ id: 'late', ...days(9) }), rule({ id: 'soon', ...days(1) })];
  assert.deepEqual(findExpiration(rules, subject(), times), {
    dateMs: Date.UTC(2026, 0, 12),
    ruleId: 'soon',
  });
  const atMidnight = { modifiedMs: Date.UTC(2026, 0, 10), dayMs };
  assert.equal(findExpiration(rules, subject(), atMidnight)?.dateMs, Date.UTC(2026, 0, 11));
  const date = rule({ expiration: { kind: 'date', dateMs: 5 } });
  assert.equal(findExpiration([date], subject(), times)?.dateMs, 5);
});

void test('a short day shortens every wait', () => {
  const short = { modifiedMs: 1_000_005_000, dayMs: 10_000 };
  assert.equal(findExpiration([rule(days(2))], subject(), short)?.dateMs, 1_000_030_000);
});

void test('disabled rules and those of another filter say nothing', () => {
  const tags = [{ key: 'a', value: '1' }];
  const cases: readonly (readonly [LifecycleRule, ReturnType<typeof subject>, boolean])[] = [
    [rule({ ...days(1), isEnabled: false }), subject(), false],
    [rule({ ...days(1), filter: { prefix: 'logs/', tags: [] } }), subject(), true],
    [rule({ ...days(1), filter: { prefix: 'logs/b', tags: [] } }), subject(), false],
    [rule({ ...days(1), filter: { prefix: '', tags } }), subject({ tags }), true],
    [rule({ ...days(1), filter: { prefix: '', tags } }), subject(), false],
    [
      rule({ ...days(1), filter: { prefix: '', tags } }),
      subject({ tags: [{ key: 'a', value: '2' }] }),
      false,
    ],
    [
      rule({ ...days(1), filter: { prefix: '', tags: [], sizeGreaterThan: 100 } }),
      subject(),
      false,
    ],
    [rule({ ...days(1), filter: { prefix: '', tags: [], sizeGreaterThan: 99 } }), subject(), true],
    [rule({ ...days(1), filter: { prefix: '', tags: [], sizeLessThan: 100 } }), subject(), false],
    [rule({ ...days(1), filter: { prefix: '', tags: [], sizeLessThan: 101 } }), subject(), true],
    [rule({ expiration: { kind: 'lone-marker' } }), subject(), false],
  ];
  for (const [one, of, isFound] of cases) {
    assert.equal(findExpiration([one], of, times) !== undefined, isFound, JSON.stringify(one));
  }
});

void test('noncurrent versions go by age and by number', () => {
  const nowMs = made;
  const rules = [
    rule({ noncurrent: { days: 3, newerVersions: 2 } }),
    rule({ noncurrent: { days: 0, newerVersions: 5 } }),
    rule({ noncurrent: { days: 1 }, isEnabled: false }),
  ];
  assert.deepEqual(noncurrentLimits(rules, subject(), { nowMs, dayMs }), [
    { dueBeforeMs: Date.UTC(2026, 0, 7), newerVersions: 2 },
    { dueBeforeMs: nowMs, newerVersions: 5 },
  ]);
});

void test('a marker that hides nothing goes at once, or with the days of an expiration', () => {
  const lone = [rule({ expiration: { kind: 'lone-marker' } })];
  const aged = [rule(days(1))];
  const at = (nowMs: number) => ({ modifiedMs: made, nowMs, dayMs });
  assert.equal(isLoneMarkerExpired(lone, subject(), at(made)), true);
  assert.equal(isLoneMarkerExpired(aged, subject(), at(Date.UTC(2026, 0, 12) - 1)), false);
  assert.equal(isLoneMarkerExpired(aged, subject(), at(Date.UTC(2026, 0, 12))), true);
});

void test('uploads go by their prefix and age', () => {
  const rules = [rule({ abortUploadDays: 2, filter: { prefix: 'logs/', tags: [] } })];
  const upload = { key: 'logs/a', initiatedMs: made };
  const due = Date.UTC(2026, 0, 13);
  assert.equal(isUploadExpired(rules, upload, { nowMs: due - 1, dayMs }), false);
  assert.equal(isUploadExpired(rules, upload, { nowMs: due, dayMs }), true);
  assert.equal(isUploadExpired(rules, { ...upload, key: 'x' }, { nowMs: due, dayMs }), false);
});
