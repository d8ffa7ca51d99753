import assert from 'node:assert/strict';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { test } from 'node:test';

import { silentLog } from '../base/log.ts';
import { createApp, waitingRequestsMax } from './app.ts';

function setUp() {
  const served: ServerResponse[] = [];
  const app = createApp({
    log: silentLog,
    logsRequests: false,
    health: () => false,
    showMetrics: async () => {},
    admin: async () => {},
    s3: () => (_, res) => void served.push(res),
  });
  const ask = (): ServerResponse => {
    const req = new IncomingMessage(new Socket());
    req.url = '/bucket/key';
    const res = new ServerResponse(req);
    app.handle(req, res);
    return res;
  };
  return { app, served, ask };
}

void test('requests wait while the service is frozen, in their order, and then are served', () => {
  const { app, served, ask } = setUp();
  app.setFrozen(true);
  const [first, second] = [ask(), ask()];
  assert.deepEqual(served, []);
  app.setFrozen(true);
  app.setFrozen(false);
  assert.deepEqual(served, [first, second]);
  const third = ask();
  assert.deepEqual(served, [first, second, third]);
});

void test('a limited number waits; a client that leaves makes room', () => {
  const { app, served, ask } = setUp();
  app.setFrozen(true);
  const waiting = Array.from({ length: waitingRequestsMax }, ask);
  const refused = ask();
  assert.equal(refused.statusCode, 503);
  assert.ok(refused.writableEnded);
  waiting[0]?.emit('close');
  const late = ask();
  assert.equal(late.writableEnded, false);
  app.setFrozen(false);
  assert.deepEqual(served, [...waiting.slice(1), late]);
});
