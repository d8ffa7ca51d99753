import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import type { FromWorker, WorkerConfig } from './protocol.ts';
import { makeTestDirectory } from './test-support.ts';
import { WorkerHandle } from './worker-handle.ts';

/** What a worker that does nothing else tells of its environment. */
async function threadsOfWorker(setting: string | undefined): Promise<string | undefined> {
  using directory = makeTestDirectory();
  const mainFile = join(directory.path, 'main.mjs');
  writeFileSync(
    mainFile,
    "process.send({ type: 'failed', message: process.env.UV_THREADPOOL_SIZE + ' ' + (process.env.PATH !== undefined) });",
  );
  const before = process.env['UV_THREADPOOL_SIZE'];
  setThreads(setting);
  try {
    const told = Promise.withResolvers<FromWorker>();
    const worker = new WorkerHandle(
      {} as WorkerConfig, // Never sent: the worker does not greet.
      { mainFile, onMessage: (_, message) => told.resolve(message), onExit: () => {} },
      { isHeld: true },
    );
    const message = await told.promise;
    worker.kill();
    await worker.reached(['exited']);
    return message.type === 'failed' ? message.message : undefined;
  } finally {
    setThreads(before);
  }
}

function setThreads(setting: string | undefined): void {
  if (setting === undefined) delete process.env['UV_THREADPOOL_SIZE'];
  else process.env['UV_THREADPOOL_SIZE'] = setting;
}

void test('a worker has 16 threads for files, unless the environment says otherwise', async () => {
  assert.equal(await threadsOfWorker(undefined), '16 true');
  assert.equal(await threadsOfWorker(''), '16 true');
  assert.equal(await threadsOfWorker('7'), '7 true');
});

/** A worker process that only stays there and receives all but the third connection, and `count` connections to hand to it. */
async function workerAndConnections(t: TestContext, count: number) {
  const directory = makeTestDirectory();
  t.after(() => directory[Symbol.dispose]());
  const mainFile = join(directory.path, 'main.mjs');
  const text =
    "process.on('message', ({ type, id }) => { if (type === 'connection' && id !== 3) process.send({ type: 'taken', id }); if (type === 'handed' && id === 3) process.send({ type: 'missed', id }); }); process.send({ type: 'waiting', reason: 'nothing' });";
  writeFileSync(mainFile, text);
  const worker = new WorkerHandle(
    {} as WorkerConfig, // Never sent: the worker does not greet.
    { mainFile, onMessage: () => {}, onExit: () => {} },
    { isHeld: true },
  );
  t.after(() => worker.kill());
  assert.equal(await worker.reached(['waiting']), 'waiting');
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const sockets: Socket[] = [];
  for (let at = 0; at < count; at += 1) {
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    t.after(() => client.destroy());
    const [socket] = (await once(server, 'connection')) as [Socket];
    t.after(() => socket.destroy());
    client.on('error', () => {});
    sockets.push(socket);
  }
  const { pid } = worker;
  assert.ok(pid);
  return { worker, sockets, pid };
}

void test('a connection for a worker that has just died is given back, and no other is taken', async (t) => {
  if (process.platform !== 'linux') return t.skip('only Linux tells in /proc that it has died');
  const { worker, sockets, pid } = await workerAndConnections(t, 1);
  const [socket] = sockets;
  assert.ok(socket);
  worker.kill();
  // The event loop may notice nothing of it yet, so this waits without one.
  while (!readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')) continue;
  const back = Promise.withResolvers<Socket>();
  assert.equal(worker.accept(socket, back.resolve), true);
  assert.equal(await back.promise, socket);
  assert.equal(socket.destroyed, false);
  assert.equal(worker.accept(socket, back.resolve), false);
});

void test('connections that a worker did not take are given back when it dies, in order', async (t) => {
  const { worker, sockets, pid } = await workerAndConnections(t, 4);
  const [first, ...others] = sockets;
  assert.ok(first);
  const back: Socket[] = [];
  const allBack = Promise.withResolvers<void>();
  const accept = (socket: Socket) =>
    worker.accept(socket, (each) => {
      if (back.push(each) === others.length) allBack.resolve();
    });
  accept(first);
  await once(first, 'close'); // It told that it took it.
  process.kill(pid, 'SIGSTOP');
  assert.ok(others.every(accept));
  worker.kill();
  await allBack.promise;
  assert.deepEqual(back, others);
  assert.ok(back.every((socket) => !socket.destroyed));
});

void test('connections that a worker could not receive are closed, and no other', async (t) => {
  const { worker, sockets } = await workerAndConnections(t, 4);
  const back: Socket[] = [];
  for (const socket of sockets)
    assert.equal(
      worker.accept(socket, (each) => back.push(each)),
      true,
    );
  await Promise.all(sockets.map((socket) => once(socket, 'close')));
  assert.deepEqual(back, []);
});
