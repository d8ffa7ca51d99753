import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createLog } from './log.ts';

void test('JSON lines hold level, message and fields', () => {
  const lines: string[] = [];
  const log = createLog({
    level: 'info',
    isJson: true,
    fields: { worker: 1 },
    write: (line) => lines.push(line),
  });
  log.debug('not shown');
  log.warn('look', { count: 3 });
  const { time, ...rest } = JSON.parse(lines.join(''));
  assert.ok(!Number.isNaN(Date.parse(time)));
  assert.deepEqual(rest, { level: 'warn', worker: 1, count: 3, message: 'look' });
});

void test('text lines are one line each, whatever the fields hold', () => {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', isJson: false, write: (line) => lines.push(line) });
  log.error('failed', { path: '/a b', stack: 'x\ny', size: 2 });
  assert.match(lines.join(''), /^\S+ ERROR failed path="\/a b" stack="x\\ny" size=2\n$/);
});
