// The client of the adapters against a server that misbehaves.

import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createClientCertificate, generateApiKey } from '../wire/kes-identity.ts';
import { failsWith } from '../../test/contract/key-store.ts';
import {
  type DoubleHandler,
  type DoubleOptions,
  type DoubleRequest,
  type DoubleServer,
  startDoubleServer,
} from '../../test/support/doubles/double-server.ts';
import { withTlsProxy } from '../../test/support/tls-proxy.ts';
import { KeyStoreError } from '../keys/key-store.ts';
import { type HttpClient, type HttpSettings, openHttpClient } from './http.ts';

type Setup = {
  readonly handle?: DoubleHandler;
  readonly options?: DoubleOptions;
  readonly settings?: (server: DoubleServer) => Partial<HttpSettings>;
};

type Running = { readonly server: DoubleServer; readonly client: HttpClient };

const ok: DoubleHandler = () => ({ status: 200, body: { ok: true } });

async function withClient(setup: Setup, work: (running: Running) => Promise<void>): Promise<void> {
  const server = await startDoubleServer(setup.handle ?? ok, setup.options);
  try {
    const client = await openHttpClient({
      product: 'test',
      endpoints: [server.origin],
      retryDelayMs: () => 1,
      ...setup.settings?.(server),
    });
    try {
      await work({ server, client });
    } finally {
      await client.close();
    }
  } finally {
    await server.close();
  }
}

const get = { method: 'GET', path: '/x?secret=1' } as const;

test('sends JSON and text, and gives back status, headers and body', async () => {
  const seen: DoubleRequest[] = [];
  const handle: DoubleHandler = (request) => {
    seen.push(request);
    return { status: 201, headers: { 'x-a': 'b' }, body: { b: [1] } };
  };
  await withClient({ handle }, async ({ client }) => {
    const answer = await client.call({ method: 'POST', path: '/a/b?c=d', json: { e: 1 } });
    assert.equal(answer.status, 201);
    assert.equal(answer.headers['x-a'], 'b');
    assert.deepEqual(answer.json(), { b: [1] });
    await client.call({ method: 'PUT', path: '/t', text: 'plain', headers: { 'X-Own': 'y' } });
    assert.deepEqual(
      seen.map(({ method, path, body }) => [method, path, body.toString()]),
      [
        ['POST', '/a/b', '{"e":1}'],
        ['PUT', '/t', 'plain'],
      ],
    );
    assert.equal(seen[0]?.headers['content-type'], 'application/json');
    assert.equal(seen[1]?.headers['x-own'], 'y');
  });
});

test('keeps the path of the base URL', async () => {
  const settings = (server: DoubleServer) => ({ endpoints: [`${server.origin}/base/`] });
  await withClient({ settings }, async ({ server, client }) => {
    await client.call(get);
    assert.deepEqual(server.requests, ['GET /base/x?secret=1']);
  });
});

test('repeats what is safe to repeat, twice at most, after errors of the server and the network', async () => {
  await withClient({}, async ({ server, client }) => {
    server.failNext(2, 503);
    assert.equal((await client.call(get)).status, 200);
    server.dropNext(2);
    assert.equal((await client.call({ ...get, method: 'PUT', isRepeatable: true })).status, 200);
    server.failNext(3, 500);
    assert.equal((await client.call(get)).status, 500);
    assert.equal(server.requests.length, 9);
    server.dropNext(3);
    await assert.rejects(client.call(get), failsWith('unreachable'));
    assert.equal(server.requests.length, 12);
  });
});

test('does not repeat a write unless it is said to be safe', async () => {
  await withClient({}, async ({ server, client }) => {
    server.failNext(1, 503);
    assert.equal((await client.call({ method: 'POST', path: '/x' })).status, 503);
    server.loseAnswerNext(1);
    await assert.rejects(client.call({ method: 'PUT', path: '/x' }), failsWith('unreachable'));
    assert.equal(server.requests.length, 2);
  });
});

test('tells a stopped server and a silent one from one that answers nonsense', async () => {
  const settings = () => ({ deadlineMs: 200 });
  await withClient({ settings }, async ({ server, client }) => {
    server.garbageNext(1);
    const answer = await client.call(get);
    assert.throws(() => answer.json(), failsWith('failed'));
    server.hangNext(1);
    await assert.rejects(client.call(get), failsWith('unreachable'));
    await server.down();
    await assert.rejects(client.call(get), failsWith('unreachable'));
    await server.up();
    assert.equal((await client.call(get)).status, 200);
  });
});

test('refuses an answer larger than allowed', async () => {
  const handle: DoubleHandler = () => ({ status: 200, body: 'x'.repeat(5000) });
  await withClient({ handle }, async ({ client }) => {
    await assert.rejects(client.call({ ...get, answerBytesMax: 4999 }), failsWith('failed'));
    assert.equal((await client.call({ ...get, answerBytesMax: 5000 })).text.length, 5000);
  });
});

test('asks for the authorization again after a 401, once', async () => {
  let valid = 'old';
  let current = 'old';
  const asked: boolean[] = [];
  const handle: DoubleHandler = ({ headers }) => ({
    status: headers['authorization'] === valid ? 200 : 401,
  });
  const settings = () => ({
    authorization: async ({ wasRefused }: { wasRefused: boolean }) => {
      asked.push(wasRefused);
      if (wasRefused && valid !== 'never') current = valid;
      return { authorization: current };
    },
  });
  await withClient({ handle, settings }, async ({ client, server }) => {
    assert.equal((await client.call(get)).status, 200);
    valid = 'new';
    assert.equal((await client.call(get)).status, 200);
    valid = 'never';
    assert.equal((await client.call(get)).status, 401);
    assert.equal((await client.call({ ...get, isAnonymous: true })).status, 401);
    assert.deepEqual(asked, [false, false, true, false, true]);
    assert.equal(server.requests.length, 6);
  });
});

test('follows a 307 to a configured node with the body and credentials, and to no other', async () => {
  const elsewhere = await startDoubleServer(ok);
  const active = await startDoubleServer((request) => ({
    status: request.headers['x-token'] === 't' && request.body.toString() === 'b' ? 200 : 400,
  }));
  let target = active.origin;
  const handle: DoubleHandler = ({ path }) => ({
    status: 307,
    headers: { location: `${target}${path}` },
  });
  const settings = (server: DoubleServer) => ({
    endpoints: [server.origin, active.origin],
    authorization: async () => ({ 'X-Token': 't' }),
  });
  try {
    await withClient({ handle, settings }, async ({ server, client }) => {
      const put = { method: 'PUT', path: '/y', text: 'b' } as const;
      assert.equal((await client.call(put)).status, 200);
      target = elsewhere.origin;
      await assert.rejects(client.call(put), failsWith('failed'));
      assert.deepEqual(elsewhere.requests, []);
      target = server.origin;
      await assert.rejects(client.call(put), failsWith('failed'));
    });
  } finally {
    await elsewhere.close();
    await active.close();
  }
});

test('goes on with the next node when one is down', async () => {
  const second = await startDoubleServer(ok);
  const settings = (server: DoubleServer) => ({ endpoints: [server.origin, second.origin] });
  try {
    await withClient({ settings }, async ({ server, client }) => {
      await server.down();
      assert.equal((await client.call(get)).status, 200);
      assert.equal((await client.call(get)).status, 200);
      assert.equal(second.requests.length, 2);
    });
  } finally {
    await second.close();
  }
});

test('goes on with the next node when one is out of order', async () => {
  const second = await startDoubleServer(ok);
  const settings = (server: DoubleServer) => ({ endpoints: [server.origin, second.origin] });
  try {
    await withClient({ settings }, async ({ server, client }) => {
      server.failNext(9, 500);
      assert.equal((await client.call(get)).status, 200);
      assert.equal(server.requests.length, 1);
      assert.equal((await client.call({ ...get, node: 1 })).status, 200);
      assert.equal((await client.call({ ...get, node: 0 })).status, 500);
      assert.equal(second.requests.length, 2);
    });
  } finally {
    await second.close();
  }
});

test('trusts only the given authority, and shows its client certificate', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-http-'));
  const own = await createClientCertificate(generateApiKey());
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  await writeFile(cert, own.cert);
  await writeFile(key, own.key);
  const handle: DoubleHandler = (request) => ({ status: request.clientCertificate ? 200 : 403 });
  const options = { isTls: true, asksCertificate: true };
  try {
    await withClient(
      { handle, options, settings: ({ caFile }) => ({ tls: { ca: caFile, cert, key } }) },
      async ({ client }) => assert.equal((await client.call(get)).status, 200),
    );
    await withClient({ handle, options }, async ({ client }) => {
      await assert.rejects(client.call(get), (error) => {
        assert.match((error as Error).message, /name its CA in tls\.ca/);
        return failsWith('unreachable')(error);
      });
    });
    const authorities = join(folder, 'ca');
    const settings = async (server: DoubleServer) => {
      await mkdir(authorities);
      await copyFile(server.caFile, join(authorities, 'one.pem'));
      await writeFile(join(authorities, 'README'), 'no certificate');
      return openHttpClient({
        product: 'test',
        endpoints: [server.origin],
        tls: { ca: authorities },
      });
    };
    await withClient({ options }, async ({ server }) => {
      const client = await settings(server);
      assert.equal((await client.call(get)).status, 200);
      await client.close();
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('bad endpoints and files are refused without quoting credentials', async () => {
  for (const [endpoint, tls] of [
    ['vault.example:8200', {}],
    ['ftp://vault.example', {}],
    ['https://user:hunter2@vault.example', {}],
    ['https://vault.example/?a=hunter2', {}],
    ['https://vault.example', { ca: '/does/not/exist' }],
    ['https://vault.example', { cert: '/does/not/exist', key: '/does/not/exist' }],
  ] as const) {
    await assert.rejects(
      openHttpClient({ product: 'test', endpoints: [endpoint], tls }),
      (error) => {
        assert.doesNotMatch(String(error), /hunter2/);
        return failsWith('failed')(error);
      },
    );
  }
});

test('errors hold no query, header or body', async () => {
  const settings = () => ({
    deadlineMs: 300,
    authorization: async () => ({ 'x-token': 'hunter2' }),
  });
  await withClient({ settings }, async ({ server, client }) => {
    server.dropNext(1);
    const call = { method: 'PUT', path: '/x?q=hunter2', json: { p: 'hunter2' } } as const;
    await assert.rejects(client.call(call), (error) => {
      assert.ok(error instanceof KeyStoreError);
      assert.match(error.message, /^test: PUT http:\/\/127\.0\.0\.1:\d+\/x: connection lost$/);
      assert.doesNotMatch(JSON.stringify(error) + String(error.cause) + error.stack, /hunter2/);
      return true;
    });
    server.garbageNext(1, { answer: { body: '{"value": "hunter2' } });
    const answer = await client.call({ method: 'GET', path: '/x' });
    assert.throws(
      () => answer.json(),
      (error) => !String((error as Error).stack).includes('hunter2'),
    );
  });
});

test('a certificate that was renewed in place is used without a restart, a broken one is not', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-http-'));
  const first = await startDoubleServer(ok, { isTls: true });
  const second = await startDoubleServer(ok, { isTls: true });
  const ca = join(folder, 'ca.pem');
  await copyFile(first.caFile, ca);
  const endpoints = [first.origin];
  const settings = {
    product: 'test',
    endpoints,
    tls: { ca },
    tlsCheckMs: 0,
    retryDelayMs: () => 1,
  };
  const client = await openHttpClient(settings);
  try {
    assert.equal((await client.call(get)).status, 200);
    await writeFile(ca, 'half a certif');
    assert.equal((await client.call(get)).status, 200);
    await copyFile(second.caFile, ca);
    await assert.rejects(client.call(get), failsWith('unreachable'));
    await copyFile(first.caFile, ca);
    assert.equal((await client.call(get)).status, 200);
  } finally {
    await client.close();
    await first.close();
    await second.close();
    await rm(folder, { recursive: true, force: true });
  }
});

test('an authority that was written in place in its folder, or links to another, is noticed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-http-'));
  const first = await startDoubleServer(ok, { isTls: true });
  const second = await startDoubleServer(ok, { isTls: true });
  const ca = join(folder, 'ca');
  await mkdir(ca);
  await copyFile(first.caFile, join(ca, 'one.pem'));
  const client = await openHttpClient({
    product: 'test',
    endpoints: [second.origin],
    tls: { ca },
    tlsCheckMs: 0,
    retryDelayMs: () => 1,
  });
  try {
    await assert.rejects(client.call(get), failsWith('unreachable'));
    await copyFile(second.caFile, join(ca, 'one.pem'));
    assert.equal((await client.call(get)).status, 200);
    await copyFile(first.caFile, join(ca, 'one.pem'));
    await assert.rejects(client.call(get), failsWith('unreachable'));
    // As a mounted secret changes: the file is a link, and stays the same one.
    await rm(join(ca, 'one.pem'));
    await symlink('../target', join(ca, 'one.pem'));
    await copyFile(first.caFile, join(folder, 'target'));
    await assert.rejects(client.call(get), failsWith('unreachable'));
    await copyFile(second.caFile, join(folder, 'target'));
    assert.equal((await client.call(get)).status, 200);
  } finally {
    await client.close();
    await first.close();
    await second.close();
    await rm(folder, { recursive: true, force: true });
  }
});

test('goes through the proxy of the environment, but not to this machine', async () => {
  const proxy = await startDoubleServer(ok);
  const before = process.env['http_proxy'];
  process.env['http_proxy'] = proxy.origin;
  try {
    await withClient({}, async ({ client, server }) => {
      await client.call(get);
      assert.equal(server.requests.length, 1);
    });
    const remote = await openHttpClient({
      product: 'test',
      endpoints: ['http://vault.invalid:8200'],
    });
    assert.equal((await remote.call({ method: 'GET', path: '/v1/x' })).status, 200);
    await remote.close();
    assert.deepEqual(proxy.requests, ['GET http://vault.invalid:8200/v1/x']);
  } finally {
    if (before === undefined) delete process.env['http_proxy'];
    else process.env['http_proxy'] = before;
    await proxy.close();
  }
});

test('a proxy is trusted by the same authorities, whatever the environment says', () =>
  withTlsProxy(async (proxy) => {
    const directory = await mkdtemp(join(tmpdir(), 'coffer-proxy-'));
    try {
      const ca = join(directory, 'ca.pem');
      await writeFile(ca, proxy.certificate);
      for (const [tls, asked] of [
        [undefined, []],
        [{ ca }, ['host.example:443']],
      ] as const) {
        const endpoints = ['https://host.example'];
        const client = await openHttpClient({ product: 'test', endpoints, tls });
        await assert.rejects(
          client.call({ ...get, isRepeatable: false }),
          failsWith('unreachable'),
        );
        assert.deepEqual(proxy.asked, asked);
        await client.close();
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  }));
