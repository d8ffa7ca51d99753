import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Log, silentLog } from '../../base/log.ts';
import { type KesPeer, openPeers, PeerNotifier } from './peers.ts';

/** A peer whose deliveries end when the test says so. */
class SlowPeer implements KesPeer {
  readonly origin = 'https://peer:7373';
  readonly asked: string[] = [];
  readonly #ends: PromiseWithResolvers<void>[] = [];
  isClosed = false;

  readonly send = (name: string): Promise<void> => {
    this.asked.push(name);
    const end = Promise.withResolvers<void>();
    this.#ends.push(end);
    return end.promise;
  };

  close(): void {
    this.isClosed = true;
  }

  /** Ends every delivery under way. */
  async end(error?: Error): Promise<void> {
    for (const { resolve, reject } of this.#ends.splice(0)) {
      if (error === undefined) resolve();
      else reject(error);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('every peer is told, and a slow one holds up nobody', async () => {
  const [slow, quick] = [new SlowPeer(), new SlowPeer()];
  const peers = new PeerNotifier([slow, quick], { log: silentLog });
  for (let at = 0; at < 6; at += 1) peers.changed(`k${at}`);
  await quick.end();
  await quick.end();
  assert.deepEqual(quick.asked, ['k0', 'k1', 'k2', 'k3', 'k4', 'k5']);
  assert.deepEqual(slow.asked, ['k0', 'k1', 'k2', 'k3']);
  peers.close();
  assert.ok(slow.isClosed && quick.isClosed);
});

test('a key that changes again and again is one notice, but a change is never lost', async () => {
  const peer = new SlowPeer();
  const peers = new PeerNotifier([peer], { log: silentLog });
  for (const name of ['a', 'b', 'c', 'd']) peers.changed(name);
  for (let at = 0; at < 5; at += 1) peers.changed('a');
  assert.deepEqual(peer.asked, ['a', 'b', 'c', 'd']);
  await peer.end();
  assert.deepEqual(peer.asked, ['a', 'b', 'c', 'd', 'a']);
});

test('the queue of a dead peer is bounded, and it is logged once each way', async () => {
  const peer = new SlowPeer();
  const lines: string[] = [];
  const note = (message: string) => void lines.push(message);
  const log: Log = { ...silentLog, warn: note, info: note };
  const peers = new PeerNotifier([peer], { log });
  for (let at = 0; at < 20_000; at += 1) peers.changed(`k${at}`);
  assert.equal(peer.asked.length, 4);
  await peer.end(new Error('refused'));
  // What waited for it was given up: it has to ask the store by itself anyway.
  assert.equal(peer.asked.length, 4);
  peers.changed('x');
  await peer.end(new Error('refused'));
  peers.changed('y');
  await peer.end();
  peers.changed('z');
  await peer.end();
  assert.deepEqual(lines, ['a peer cannot be told of changes', 'a peer hears of changes again']);
  peers.close();
  peers.changed('late');
  assert.equal(peer.asked.includes('late'), false);
});

test('a bad API key or an unreadable CA file is refused when opening', async () => {
  const config = { endpoints: ['https://127.0.0.1:1'], identities: [], apiKey: 'x', ca: '' };
  await assert.rejects(openPeers(config, { log: silentLog }));
  const apiKey = 'kes:v1:AGaV6VXHasF0FnaB60WdCOeTZ8eTIDikL4zlN56c8NAs';
  const peers = await openPeers({ ...config, apiKey }, { log: silentLog });
  peers.close();
  await assert.rejects(
    openPeers({ ...config, apiKey, ca: '/nowhere' }, { log: silentLog }),
    /'ca'/,
  );
  (await openPeers({ ...config, endpoints: [] }, { log: silentLog })).changed('x');
});
