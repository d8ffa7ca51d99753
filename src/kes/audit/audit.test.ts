import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AuditEvent,
  createTimeFormatter,
  formatAuditJson,
  formatAuditLine,
  formatLine,
} from './audit.ts';

const event: AuditEvent = {
  timeMs: 0,
  method: 'PUT',
  path: '/v1/key/create/x',
  identity: 'abc',
  ip: '10.0.0.1',
  status: 200,
  durationMs: 1.25,
};

test('an audit line says who did what, with which outcome', () => {
  assert.equal(
    formatAuditLine(event, '1970-01-01T00:00:00.000Z'),
    `time=1970-01-01T00:00:00.000Z level=INFO msg="secret key 'x' created" req.method=PUT ` +
      'req.path=/v1/key/create/x req.ip=10.0.0.1 req.identity=abc res.code=200 res.time=1.250ms\n',
  );
  const refused = formatAuditLine({ ...event, identity: '', status: 403 }, 't');
  assert.match(refused, /msg="request refused" .* req\.identity=<unknown> res\.code=403/);
});

test('an audit event of the stream has its time in nanoseconds, and leaves out what is unknown', () => {
  assert.deepEqual(JSON.parse(formatAuditJson(event)), {
    time: '1970-01-01T00:00:00.000Z',
    request: { ip: '10.0.0.1', path: '/v1/key/create/x', identity: 'abc' },
    response: { code: 200, time: 1_250_000 },
  });
  const unknown = JSON.parse(formatAuditJson({ ...event, ip: '', identity: '' })) as object;
  assert.deepEqual(Object.keys((unknown as { request: object }).request), ['path']);
});

test('nothing that a client sends can forge or flood a line', () => {
  const path = '/v1/key/create/x\nlevel=ERROR msg="y" \u001b[2J';
  const line = formatAuditLine({ ...event, path, status: 400 }, 't');
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.ok(!line.includes('\u001b'));
  const long = formatAuditLine({ ...event, path: 'x'.repeat(60_000), status: 400 }, 't');
  assert.ok(long.length < 600);
  const other = formatLine('t', { level: 8, message: 'a\nb' }, [['key', 'c d\n']]);
  assert.equal(other, 'time=t level=ERROR msg="a\\nb" key="c d\\n"\n');
});

test('times are formatted anew when they change', () => {
  const format = createTimeFormatter();
  assert.equal(format(0), '1970-01-01T00:00:00.000Z');
  assert.equal(format(0), '1970-01-01T00:00:00.000Z');
  assert.equal(format(5), '1970-01-01T00:00:00.005Z');
});
