// Three key services on one key store: what one of them takes back, no other gives out a second later,
// whatever is cached, in flight or cut off. Clients measure with the same monotonic clock, and count by when
// a call began: a slow machine makes calls late, never early, so it cannot make these tests fail.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLog } from '../../src/base/log.ts';
import type { AuditEvent } from '../../src/kes/audit/audit.ts';
import { defaultCache, type KesCacheConfig, type KesConfig } from '../../src/kes/config/config.ts';
import type { KeyStore } from '../../src/keys/key-store.ts';
import { openFileKeyStore } from '../../src/keystores/files/key-store.ts';
import { openFortanixSecrets } from '../../src/keystores/vendors/fortanix.ts';
import { openGenerations } from '../../src/keystores/generations.ts';
import { type KesServer, startKesServer } from '../../src/server/kes/service.ts';
import { KesClient } from '../../src/wire/kes-client.ts';
import { KesClientError } from '../../src/wire/kes-error.ts';
import {
  createClientCertificate,
  formatApiKey,
  generateApiKey,
} from '../../src/wire/kes-identity.ts';
import { startFortanixDouble } from '../support/doubles/fortanix.ts';
import { type NetworkLink, startNetworkLink } from '../support/network-link.ts';

const nodeCount = 3;
/** The promise: nothing that begins later than this after the acknowledgement succeeds. */
const promisedMs = 1_000;
/** How long a test waits for what must happen some time. */
const patienceMs = 20_000;

type Node = {
  readonly server: KesServer;
  readonly client: KesClient;
  readonly origin: string;
  /** What this node was asked, newest last. */
  readonly events: AuditEvent[];
};

type Cluster = {
  readonly nodes: readonly Node[];
  node(index: number): Node;
  /** Makes the nodes tell each other. */
  introduce(): Promise<void>;
};

type ClusterOptions = {
  readonly cache?: Partial<KesCacheConfig>;
  readonly now?: (index: number) => (() => number) | undefined;
};

async function startCluster(
  t: TestContext,
  openStore: (index: number) => Promise<KeyStore>,
  options: ClusterOptions = {},
): Promise<Cluster> {
  const [admin, peer] = [generateApiKey(), generateApiKey()];
  const certificate = await createClientCertificate(generateApiKey(), {
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  const dir = await mkdtemp(path.join(tmpdir(), 'coffer-nodes-'));
  const caFile = path.join(dir, 'ca.crt');
  await writeFile(caFile, certificate.cert);
  const config: KesConfig = {
    address: '127.0.0.1:0',
    admin: admin.identity,
    tls: {
      key: '',
      cert: '',
      password: '',
      auth: 'off',
      ca: '',
      proxy: { identities: [], certHeader: '' },
    },
    policies: [],
    cache: { ...defaultCache, ...options.cache },
    api: new Map(),
    log: { error: 0, audit: 0 },
    keys: [],
    keyStore: { type: 'memory' },
  };
  const nodes: Node[] = [];
  for (let index = 0; index < nodeCount; index += 1) {
    const events: AuditEvent[] = [];
    const now = options.now?.(index);
    const server = await startKesServer(config, {
      log: silentLog,
      audit: { record: (event) => void events.push(event) },
      tls: { ...certificate, roots: [] },
      keyStore: await openStore(index),
      ...(now && { now }),
    });
    const origin = `https://127.0.0.1:${server.address.port}`;
    const tls = { ...(await createClientCertificate(admin)), ca: [certificate.cert] };
    const client = new KesClient({ endpoints: [origin], tls, retriesMax: 0 });
    nodes.push({ server, client, origin, events });
  }
  t.after(async () => {
    for (const { client, server } of nodes) {
      client.close();
      await server.close();
    }
    await rm(dir, { recursive: true, force: true });
  });
  const introduce = async () => {
    const endpoints = nodes.map(({ origin }) => origin);
    const apiKey = formatApiKey(peer);
    const peers = { endpoints, identities: [peer.identity], apiKey, ca: caFile };
    for (const { server } of nodes) await server.reload({ ...config, peers });
  };
  const node = (index: number): Node => {
    const found = nodes[index];
    assert.ok(found);
    return found;
  };
  return { nodes, node, introduce };
}

/** One shared directory. */
async function sharedDirectory(t: TestContext): Promise<() => Promise<KeyStore>> {
  const dir = await mkdtemp(path.join(tmpdir(), 'coffer-shared-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return () => openFileKeyStore(dir);
}

/** One remote product, each node behind a cable of its own. */
async function remoteProduct(t: TestContext): Promise<{
  readonly links: readonly NetworkLink[];
  readonly openStore: (index: number) => Promise<KeyStore>;
}> {
  const apiKey = Buffer.from('app:secret-of-the-test').toString('base64');
  const double = await startFortanixDouble(apiKey);
  const target = Number(new URL(double.origin).port);
  const links: NetworkLink[] = [];
  for (let index = 0; index < nodeCount; index += 1) links.push(await startNetworkLink(target));
  t.after(async () => {
    for (const link of links) await link.close();
    await double.close();
  });
  const openStore = async (index: number) => {
    const endpoint = `http://127.0.0.1:${links[index]?.port}`;
    const settings = { endpoint, credentials: { key: apiKey } };
    const deps = { log: silentLog, retryDelayMs: () => 1 };
    return openGenerations(await openFortanixSecrets(settings, deps));
  };
  return { links, openStore };
}

/** A call of a client: its time, and the status it got (0 when it got none). */
type Attempt = { readonly beganAt: number; readonly endedAt: number; readonly status: number };

async function attempt(work: () => Promise<unknown>): Promise<Attempt> {
  const beganAt = performance.now();
  try {
    await work();
    return { beganAt, endedAt: performance.now(), status: 200 };
  } catch (error) {
    if (!(error instanceof KesClientError)) throw error;
    return { beganAt, endedAt: performance.now(), status: error.status ?? 0 };
  }
}

/** Decrypts again and again on one node, several at a time, until it is stopped. */
class Load {
  readonly attempts: Attempt[] = [];
  readonly #workers: Promise<void>[];
  #isStopped = false;

  constructor(call: () => Promise<unknown>) {
    this.#workers = Array.from({ length: 3 }, () => this.#work(call));
  }

  get last(): Attempt | undefined {
    return this.attempts.at(-1);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#workers);
  }

  async #work(call: () => Promise<unknown>): Promise<void> {
    while (!this.#isStopped) {
      this.attempts.push(await attempt(call));
      await sleep(3);
    }
  }
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    assert.ok(performance.now() < deadline, `${what}: not within ${patienceMs} ms`);
    await sleep(20);
  }
}

type Sealed = { readonly name: string; readonly ciphertext: Buffer };

/** A new key, with a ciphertext that every node has opened. */
async function warmKey(cluster: Cluster, name: string): Promise<Sealed> {
  const { client } = cluster.node(0);
  await client.createKey(name);
  const { ciphertext } = await client.generateKey(name, Buffer.alloc(0));
  for (const node of cluster.nodes) await node.client.decrypt(name, { ciphertext });
  return { name, ciphertext };
}

function loadOn(node: Node, { name, ciphertext }: Sealed): Load {
  return new Load(() => node.client.decrypt(name, { ciphertext }));
}

/** Nothing that began later than promised after `acknowledgedAt` succeeded, and there was something. */
function assertRefusedInTime(load: Load, acknowledgedAt: number): void {
  const tooLate = load.attempts.filter(
    ({ beganAt, status }) => status === 200 && beganAt > acknowledgedAt + promisedMs,
  );
  assert.deepEqual(tooLate, []);
  assert.ok(load.attempts.some(({ beganAt }) => beganAt > acknowledgedAt + promisedMs));
  assert.ok(load.attempts.some(({ status }) => status === 200));
}

/** Makes a change on node 0 under load on all nodes, and checks what the loads saw. */
async function revokeUnderLoad(
  cluster: Cluster,
  change: { readonly name: string; readonly status: number; readonly make: () => Promise<unknown> },
): Promise<void> {
  const sealed = await warmKey(cluster, change.name);
  const loads = cluster.nodes.map((node) => loadOn(node, sealed));
  try {
    await until('every node serves', () => loads.every(({ attempts }) => attempts.length > 10));
    await change.make();
    const acknowledgedAt = performance.now();
    await until('every node refuses', () =>
      loads.every(({ last }) => last?.status === change.status && isLate(last, acknowledgedAt)),
    );
    await Promise.all(loads.map((load) => load.stop()));
    for (const load of loads) assertRefusedInTime(load, acknowledgedAt);
  } finally {
    await Promise.all(loads.map((load) => load.stop()));
  }
}

function isLate({ beganAt }: Attempt, acknowledgedAt: number): boolean {
  return beganAt > acknowledgedAt + promisedMs;
}

/** Disables, destroys and deletes, each under load. */
async function revokeInEveryWay(cluster: Cluster): Promise<void> {
  const { client } = cluster.node(0);
  await revokeUnderLoad(cluster, {
    name: 'to-disable',
    status: 403,
    make: () => client.disableKey('to-disable'),
  });
  await revokeUnderLoad(cluster, {
    name: 'to-destroy',
    status: 403,
    make: () => client.destroyKey('to-destroy', 0),
  });
  await revokeUnderLoad(cluster, {
    name: 'to-delete',
    status: 404,
    make: () => client.deleteKey('to-delete'),
  });
}

test('a shared directory: what one node takes back, all refuse within a second', async (t) => {
  await revokeInEveryWay(await startCluster(t, await sharedDirectory(t)));
});

test('a remote product: what one node takes back, all refuse within a second', async (t) => {
  const { openStore } = await remoteProduct(t);
  await revokeInEveryWay(await startCluster(t, openStore));
});

test('nodes that know each other do not wait for that second', async (t) => {
  // The clocks of the other nodes stand still: they would never ask the store again by themselves.
  const frozen = (index: number) => (index === 0 ? undefined : () => 0);
  const cluster = await startCluster(t, await sharedDirectory(t), { now: frozen });
  const { name, ciphertext } = await warmKey(cluster, 'k');
  await cluster.node(0).client.disableKey(name);
  for (const { client } of cluster.nodes.slice(1)) await client.decrypt(name, { ciphertext });
  await cluster.node(0).client.enableKey(name);
  await cluster.introduce();
  for (const { client } of cluster.nodes) await client.decrypt(name, { ciphertext });
  await cluster.node(0).client.disableKey(name);
  for (const { client, events } of cluster.nodes.slice(1)) {
    await until('the notice arrives', () =>
      events.some(
        ({ path: asked, status }) => asked === `/v1/peer/changed/${name}` && status === 200,
      ),
    );
    const { status } = await attempt(() => client.decrypt(name, { ciphertext }));
    assert.equal(status, 403);
  }
});

for (const cut of ['reset', 'silent'] as const) {
  test(`a node cut from the store (${cut}) refuses within a second, and heals`, async (t) => {
    const { links, openStore } = await remoteProduct(t);
    const cluster = await startCluster(t, openStore);
    const sealed = await warmKey(cluster, 'k');
    const loads = cluster.nodes.map((node) => loadOn(node, sealed));
    try {
      await until('every node serves', () => loads.every(({ attempts }) => attempts.length > 10));
      links[2]?.set(cut);
      const cutAt = performance.now();
      await cluster.node(0).client.disableKey('k');
      const acknowledgedAt = performance.now();
      await until('the cut node refuses', () => {
        const last = loads[2]?.last;
        return last !== undefined && last.status >= 500 && isLate(last, cutAt);
      });
      await until('the others refuse', () =>
        loads.slice(0, 2).every(({ last }) => last?.status === 403 && isLate(last, acknowledgedAt)),
      );
      links[2]?.set('up');
      await until('all nodes say what the store says', () =>
        loads.every(({ last }) => last?.status === 403),
      );
      const enablingAt = performance.now();
      await cluster.node(1).client.enableKey('k');
      await until('all nodes serve', () => loads.every(({ last }) => last?.status === 200));
      await Promise.all(loads.map((load) => load.stop()));
      for (const [index, { attempts }] of loads.entries()) {
        const since = (index === 2 ? cutAt : acknowledgedAt) + promisedMs;
        const wrong = attempts.filter(
          ({ beganAt, endedAt, status }) =>
            status === 200 && beganAt > since && endedAt < enablingAt,
        );
        assert.deepEqual(wrong, []);
      }
    } finally {
      await Promise.all(loads.map((load) => load.stop()));
    }
  });
}

for (const cut of ['reset', 'silent'] as const) {
  test(`with an offline time a cut node (${cut}) serves until exactly then, and says so`, async (t) => {
    const offlineMs = 300_000;
    let clock = 0;
    const { links, openStore } = await remoteProduct(t);
    const cluster = await startCluster(t, openStore, {
      cache: { offlineMs, anyMs: 0, unusedMs: 0 },
      now: (index) => (index === 2 ? () => clock : undefined),
    });
    const { name, ciphertext } = await warmKey(cluster, 'k');
    const { client } = cluster.node(2);
    const decrypt = () => attempt(() => client.decrypt(name, { ciphertext }));
    assert.equal((await client.status())['offline_until'], undefined);
    links[2]?.set(cut);
    await cluster.node(0).client.disableKey(name);
    clock = offlineMs / 2;
    assert.equal((await decrypt()).status, 200);
    clock = offlineMs - 1;
    assert.equal((await decrypt()).status, 200);
    const offlineUntil = Date.parse(String((await client.status())['offline_until']));
    assert.ok(Math.abs(offlineUntil - Date.now()) < 60_000);
    clock = offlineMs;
    assert.ok((await decrypt()).status >= 500);
    links[2]?.set('up');
    await until('the node says what the store says', async () => (await decrypt()).status === 403);
    assert.equal((await client.status())['offline_until'], undefined);
    await cluster.node(1).client.enableKey(name);
    clock += 1_000;
    assert.equal((await decrypt()).status, 200);
  });
}
