import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { test } from 'node:test';

import { ConnectionRouter } from './connection-router.ts';

function makeTarget() {
  const sockets: Socket[] = [];
  return { sockets, accept: (socket: Socket) => sockets.push(socket) > 0 };
}

void test('connections go to the workers in turn', () => {
  const router = new ConnectionRouter();
  const targets = [makeTarget(), makeTarget(), makeTarget()];
  router.setTargets(targets);
  for (let turn = 0; turn < 7; turn += 1) router.route(new Socket());
  assert.deepEqual(
    targets.map((target) => target.sockets.length),
    [3, 2, 2],
  );
});

void test('a worker that is gone is passed over; the connection waits when all are', () => {
  const router = new ConnectionRouter();
  const gone = { accept: () => false };
  const target = makeTarget();
  router.setTargets([gone, target]);
  router.route(new Socket());
  router.route(new Socket());
  assert.equal(target.sockets.length, 2);
  router.setTargets([gone]);
  const waiting = new Socket();
  router.route(waiting);
  assert.equal(waiting.destroyed, false);
  router.setTargets([target]);
  assert.equal(target.sockets[2], waiting);
});

void test('connections wait while there is no worker, and go in the order they came', () => {
  const router = new ConnectionRouter();
  const sockets = [new Socket(), new Socket(), new Socket()];
  const [first, second, third] = sockets;
  assert.ok(first && second && third);
  router.route(first);
  router.route(second);
  const target = makeTarget();
  router.setTargets([target]);
  router.route(third);
  assert.deepEqual(target.sockets, sockets);
  router.setTargets([]);
  const late = new Socket();
  router.route(late);
  assert.equal(target.sockets.length, 3);
  router.close();
  assert.ok(late.destroyed);
});

void test('a connection that a worker gives back goes to the next one, or is closed with the rest', () => {
  const router = new ConnectionRouter();
  const returns: (() => void)[] = [];
  const dying = {
    accept: (socket: Socket, giveBack: (socket: Socket) => void) =>
      returns.push(() => giveBack(socket)) > 0,
  };
  const target = makeTarget();
  const [first, second] = [new Socket(), new Socket()];
  router.setTargets([dying]);
  router.route(first);
  router.route(second);
  router.setTargets([target]);
  returns[0]?.();
  assert.deepEqual(target.sockets, [first]);
  router.close();
  returns[1]?.();
  assert.ok(second.destroyed);
});
