import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

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
