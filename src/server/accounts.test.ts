// Users on a whole server with several workers: what they may do, and that a change of one is in force on
// every worker with the next request, also while workers are being replaced.

import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { test } from 'node:test';

import { openAdminPayload, sealAdminPayload } from '../aead/admin-payload.ts';
import {
  callServer,
  findTestPort,
  makeTestDirectory,
  startTestServer,
  type TestAnswer,
  type TestCall,
  testPassword,
} from './test-support.ts';

const workers = 3;
const secretKey = 'alice-secret-key';

/** Whatever `mc admin user|policy` would send. */
function adminOf(port: number) {
  const call = async (
    method: string,
    path: string,
    more: { body?: unknown; as?: { accessKey: string; secretKey: string } } = {},
  ): Promise<TestAnswer> => {
    const secret = more.as?.secretKey ?? testPassword;
    const body =
      more.body === undefined
        ? undefined
        : await sealAdminPayload(secret, Buffer.from(JSON.stringify(more.body)));
    return callServer({
      port,
      method,
      target: `/minio/admin/v3${path}`,
      region: '',
      ...(body === undefined ? {} : { body }),
      ...more.as,
    });
  };
  return {
    call,
    addUser: (accessKey: string, secret: string) =>
      call('PUT', `/add-user?accessKey=${accessKey}`, {
        body: { secretKey: secret, status: 'enabled' },
      }),
    attach: (user: string, ...policies: string[]) =>
      call('POST', '/idp/builtin/policy/attach', { body: { policies, user } }),
    setStatus: (accessKey: string, status: string) =>
      call('PUT', `/set-user-status?accessKey=${accessKey}&status=${status}`),
  };
}

/** Requests of alice over kept connections, more than there are workers, and as many over new ones. */
function clientsOf(port: number) {
  const agents = Array.from(
    { length: workers * 2 },
    () => new Agent({ keepAlive: true, maxSockets: 1 }),
  );
  const ask = (call: Omit<TestCall, 'port'>) =>
    Promise.all(
      [...agents, ...agents.map(() => false as const)].map((agent) =>
        callServer({
          port,
          accessKey: 'alice',
          secretKey,
          ...(agent === false ? {} : { agent }),
          ...call,
        }),
      ),
    );
  return {
    /** What all of them are answered, once each. */
    async outcomes(call: Omit<TestCall, 'port'>): Promise<string[]> {
      const answers = await ask(call);
      return [...new Set(answers.map(outcomeOf))];
    },
    [Symbol.dispose]: () => {
      for (const agent of agents) agent.destroy();
    },
  };
}

function outcomeOf({ status, body }: TestAnswer): string {
  const code = /<Code>(\w+)<\/Code>/.exec(body.toString())?.[1];
  return code === undefined ? String(status) : `${status} ${code}`;
}

void test('a change of a user is in force on every worker with the next request', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  await using server = startTestServer({
    directory: directory.path,
    port,
    env: { COFFER_WORKERS: String(workers) },
  });
  await server.printed(/serves/);
  const admin = adminOf(port);
  using clients = clientsOf(port);
  const body = Buffer.from('bytes');
  assert.equal((await callServer({ port, method: 'PUT', target: '/photos' })).status, 200);
  await callServer({ port, method: 'PUT', target: '/photos/a', body });
  const read = () => clients.outcomes({ target: '/photos/a' });
  const write = () => clients.outcomes({ method: 'PUT', target: '/photos/b', body });

  assert.deepEqual(await read(), ['403 InvalidAccessKeyId']);
  assert.equal((await admin.addUser('alice', secretKey)).status, 200);
  assert.deepEqual(await read(), ['403 AccessDenied']);
  assert.equal((await admin.attach('alice', 'readonly')).status, 200);
  assert.deepEqual([await read(), await write()], [['200'], ['403 AccessDenied']]);
  await admin.attach('alice', 'readwrite');
  assert.deepEqual(await write(), ['200']);
  for (let round = 0; round < 3; round++) {
    assert.equal((await admin.setStatus('alice', 'disabled')).status, 200);
    assert.deepEqual(await read(), ['403 InvalidAccessKeyId']);
    assert.equal((await admin.setStatus('alice', 'enabled')).status, 200);
    assert.deepEqual(await read(), ['200']);
  }
  await admin.addUser('alice', 'another-secret');
  assert.deepEqual(await read(), ['403 SignatureDoesNotMatch']);
  await admin.addUser('alice', secretKey);

  // Workers that are just starting, and those that are on their way out, know it as well.
  const restarting = admin.call('POST', '/service?action=restart&type=2');
  const restart = { isOver: false };
  void restarting.then(() => (restart.isOver = true));
  assert.equal((await admin.setStatus('alice', 'disabled')).status, 200);
  while (!restart.isOver) assert.deepEqual(await read(), ['403 InvalidAccessKeyId']);
  assert.equal((await restarting).status, 200);
  assert.deepEqual(await read(), ['403 InvalidAccessKeyId']);

  await admin.setStatus('alice', 'enabled');
  assert.deepEqual(await read(), ['200']);
  assert.equal((await admin.call('DELETE', '/remove-user?accessKey=alice')).status, 200);
  assert.deepEqual(await read(), ['403 InvalidAccessKeyId']);
});

void test('users outlive the server, own what they make, and administer as their policies say', async () => {
  using directory = makeTestDirectory();
  const port = await findTestPort();
  const rootId = '12'.repeat(32);
  const env = { COFFER_WORKERS: '2', COFFER_ROOT_OWNER_ID: rootId };
  const options = { directory: directory.path, port, env };
  const as = { accessKey: 'alice', secretKey };
  {
    await using server = startTestServer(options);
    await server.printed(/serves/);
    const admin = adminOf(port);
    await admin.call('PUT', '/add-user?accessKey=alice', {
      body: { secretKey, ownerId: 'ab'.repeat(32), displayName: 'Alice A.' },
    });
    await admin.attach('alice', 'readwrite');
    await server.end('SIGTERM');
  }
  await using server = startTestServer(options);
  await server.printed(/serves/);
  const admin = adminOf(port);
  const own = (call: Omit<TestCall, 'port'>) => callServer({ port, ...as, ...call });
  assert.equal((await own({ method: 'PUT', target: '/hers' })).status, 200);
  assert.equal(
    (await own({ method: 'PUT', target: '/hers/a', body: Buffer.from('x') })).status,
    200,
  );
  const owner = `<Owner><ID>${'ab'.repeat(32)}</ID><DisplayName>Alice A.</DisplayName></Owner>`;
  const list = await callServer({ port, target: '/hers?fetch-owner=true&list-type=2' });
  assert.ok(list.body.toString().includes(owner), list.body.toString());
  assert.ok((await own({ target: '/' })).body.toString().includes(owner));
  assert.ok((await own({ target: '/hers?acl' })).body.toString().includes(owner));
  const started = await own({ method: 'POST', target: '/hers/big?uploads' });
  assert.equal(started.status, 200);
  const uploads = (await callServer({ port, target: '/hers?uploads' })).body.toString();
  assert.ok(uploads.includes(owner.replaceAll('Owner>', 'Initiator>')) && uploads.includes(owner));
  const expecting = (id: string) =>
    callServer({ port, target: '/hers', headers: { 'x-amz-expected-bucket-owner': id } });
  assert.equal((await expecting('ab'.repeat(32))).status, 200);
  assert.equal((await expecting(rootId)).status, 403);
  const all = (await callServer({ port, target: '/' })).body.toString();
  assert.ok(all.includes(`<ID>${rootId}</ID><DisplayName>coffer</DisplayName>`), all);

  assert.equal((await admin.call('GET', '/list-users', { as })).status, 403);
  assert.equal((await admin.call('GET', '/user-info?accessKey=alice', { as })).status, 200);
  await admin.attach('alice', 'consoleAdmin');
  const users = await admin.call('GET', '/list-users', { as });
  const opened = JSON.parse((await openAdminPayload(secretKey, users.body)).toString()) as object;
  assert.deepEqual(Object.keys(opened), ['alice']);
  const account = await admin.call('GET', '/accountinfo', { as });
  const { Buckets } = JSON.parse(account.body.toString()) as { Buckets: { name: string }[] };
  assert.deepEqual(
    Buckets.map(({ name }) => name),
    ['hers'],
  );
});
