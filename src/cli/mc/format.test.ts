import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import {
  boxTable,
  formatAmount,
  formatClock,
  formatSize,
  formatSizeShort,
  formatTimestamp,
  parseDuration,
  parseSize,
} from './format.ts';

describe('sizes as text', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [9, '9 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [3000, '2.9 KiB'],
    [4096, '4.0 KiB'],
    [10_240, '10 KiB'],
    [20_971_520, '20 MiB'],
    [97_793_294_336, '91 GiB'],
  ] as const) {
    it(`${bytes} bytes are ${text}`, () => {
      assert.equal(formatSize(bytes), text);
      assert.equal(formatSizeShort(bytes), text.replace(' ', ''));
    });
  }

  it('has two decimals in transfer summaries', () => {
    assert.equal(formatAmount(12), '12 B');
    assert.equal(formatAmount(20_971_520), '20.00 MiB');
    assert.equal(formatAmount(7025.2), '6.86 KiB');
  });
});

describe('times as text', () => {
  it('leaves trailing zeros of the fraction out', () => {
    assert.equal(
      formatTimestamp(Date.parse('2026-01-02T03:04:05.830Z')),
      '2026-01-02T03:04:05.83Z',
    );
    assert.equal(formatTimestamp(Date.parse('2026-01-02T03:04:10Z')), '2026-01-02T03:04:10Z');
  });

  it('shows minutes and seconds, and hours when there are any', () => {
    assert.equal(formatClock(0), '00m00s');
    assert.equal(formatClock(61_000), '01m01s');
    assert.equal(formatClock(3_661_000), '01h01m01s');
  });
});

describe('what the user types', () => {
  it('reads durations', () => {
    assert.equal(parseDuration('7d10h31s'), 640_831_000);
    assert.equal(parseDuration('500ms'), 500);
    for (const text of ['', '7', '7 days', '-1d']) assert.throws(() => parseDuration(text), text);
  });

  it('reads sizes in powers of 1000 and 1024', () => {
    assert.equal(parseSize('1MB'), 1_000_000);
    assert.equal(parseSize('16MiB'), 16_777_216);
    assert.equal(parseSize('512'), 512);
    for (const text of ['', 'x', '1 XB']) assert.throws(() => parseSize(text), text);
  });
});

describe('boxTable', () => {
  it('makes every column as wide as its widest cell', () => {
    const rows = [
      ['A', 'Long'],
      ['wide', 'B'],
    ];
    assert.equal(
      boxTable(rows),
      ['┌──────┬──────┐', '│ A    │ Long │', '│ wide │ B    │', '└──────┴──────┘'].join('\n'),
    );
  });
});
