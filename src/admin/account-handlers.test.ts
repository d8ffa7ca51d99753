// The calls about users and policies: who may make them, what they answer, and how bodies are sealed.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, request } from 'node:http';
import { test } from 'node:test';

import { openAdminPayload, sealAdminPayload } from '../aead/admin-payload.ts';
import { silentLog } from '../base/log.ts';
import { Accounts } from '../iam/accounts/accounts.ts';
import { isDenied, mayAdminister } from '../iam/admin-access.ts';
import { AccountCredentials } from '../iam/accounts/credentials.ts';
import { openMemoryKv } from '../kv/memory.ts';
import type { ObjectStore } from '../store/types.ts';
import { createAdminHandler } from './admin-handler.ts';
import type { AdminParts } from './call.ts';

const root = { accessKey: 'root', secretKey: 'root-secret' };

type Answer = { readonly status: number; readonly body: Buffer; readonly code: string };

async function start() {
  const kv = openMemoryKv();
  const accounts = new Accounts({ kv, rootAccessKey: () => root.accessKey, now: () => 5000 });
  const credentials = new AccountCredentials({ kv, accounts, root: () => root });
  const store = {
    listBuckets: async () => ({
      buckets: ['closed', 'open'].map((name) => ({ name, createdMs: 0 })),
      isTruncated: false,
    }),
    totals: async () => ({ byBucket: new Map([['open', { objects: 2, bytes: 3 }]]) }),
  } as unknown as ObjectStore; // The handlers under test use nothing else of it.
  const handler = createAdminHandler({
    parts: (conditions) =>
      ({
        log: silentLog,
        store,
        accounts,
        isAllowed: (identity, action, resource) =>
          mayAdminister({ identity, action, resource, conditions }),
        isDenied: (identity, action) => isDenied({ identity, action, conditions }),
        isRoot: (accessKey) => accessKey === root.accessKey,
        now: () => 61_000,
        // The handlers under test use nothing else of it.
      }) as AdminParts,
    authenticate: async (req) => {
      const found = await credentials.find(String(req.headers['x-test-user']));
      if (!found) throw new Error('an unknown test user');
      const { identity, secretKey } = found;
      return { identity, secretKey, bodySha256: String(req.headers['x-amz-content-sha256']) };
    },
  });
  const server = createServer((req, res) => void handler(req, res));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  const { port } = address;
  const call = (as: string, method: string, path: string, body: Uint8Array | string = '') =>
    send({ port, as, method, path: `/minio/admin/v3${path}`, body });
  const sealed = async (as: string, method: string, path: string, body: unknown) => {
    const secret = as === 'root' ? root.secretKey : `${as}-secret`;
    return call(
      as,
      method,
      path,
      await sealAdminPayload(secret, Buffer.from(JSON.stringify(body))),
    );
  };
  const addUser = async (name: string, ...policies: string[]) => {
    const user = { accessKey: name, secretKey: `${name}-secret`, status: 'enabled' } as const;
    await accounts.putUser(user);
    if (policies.length > 0) await accounts.setPolicies(name, policies);
  };
  return {
    accounts,
    addUser,
    call,
    sealed,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

function send(sent: {
  port: number;
  as: string;
  method: string;
  path: string;
  body: Uint8Array | string;
}): Promise<Answer> {
  const { port, as, method, path, body } = sent;
  const headers = {
    'x-test-user': as,
    'x-amz-content-sha256': createHash('sha256').update(body).digest('hex'),
    'content-length': String(Buffer.byteLength(body)),
  };
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, method, path, headers, agent: false });
    req.on('error', reject);
    req.on('response', (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const status = res.statusCode ?? 0;
        const code =
          status === 200 ? '' : ((JSON.parse(bytes.toString()) as { Code?: string }).Code ?? '');
        resolve({ status, body: bytes, code });
      });
    });
    req.end(body);
  });
}

const json = ({ body }: Answer): unknown => JSON.parse(body.toString());
const opened = async ({ body }: Answer, secret = root.secretKey): Promise<unknown> =>
  JSON.parse((await openAdminPayload(secret, body)).toString());
const readAll =
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*"],"Resource":["*"]}]}';

void test('users are added, shown, disabled and removed', async () => {
  await using at = await start();
  const body = { secretKey: 'alice-secret', status: 'enabled' };
  assert.equal((await at.sealed('root', 'PUT', '/add-user?accessKey=alice', body)).status, 200);
  const shown = json(await at.call('root', 'GET', '/user-info?accessKey=alice'));
  const { ownerId } = await at.accounts.getUser('alice');
  const updatedAt = new Date(5000).toISOString();
  assert.deepEqual(shown, { status: 'enabled', updatedAt, ownerId, displayName: 'alice' });
  await at.call('root', 'PUT', '/set-user-status?accessKey=alice&status=disabled');
  assert.deepEqual(await opened(await at.call('root', 'GET', '/list-users')), {
    alice: { status: 'disabled', updatedAt },
  });
  assert.equal((await at.call('root', 'DELETE', '/remove-user?accessKey=alice')).status, 200);
  const gone = await at.call('root', 'DELETE', '/remove-user?accessKey=alice');
  assert.deepEqual([gone.status, gone.code], [404, 'XMinioAdminNoSuchUser']);
});

void test('bodies that are not sealed for the caller, or not what they should be, look alike', async () => {
  await using at = await start();
  const target = '/add-user?accessKey=alice';
  const body = { secretKey: 'alice-secret' };
  const good = await sealAdminPayload(root.secretKey, Buffer.from(JSON.stringify(body)));
  const other = await sealAdminPayload('other-secret', Buffer.from(JSON.stringify(body)));
  const altered = Buffer.from(good);
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
  const answers = [
    await at.call('root', 'PUT', target, JSON.stringify(body)),
    await at.call('root', 'PUT', target, other),
    await at.call('root', 'PUT', target, altered),
    await at.sealed('root', 'PUT', target, ['alice']),
    await at.sealed('root', 'PUT', target, { secretKey: 12_345_678 }),
  ];
  for (const answer of answers.slice(0, 3)) {
    assert.deepEqual([answer.status, answer.code], [400, 'XMinioAdminConfigBadJSON']);
  }
  assert.deepEqual(
    answers.slice(3).map(({ code }) => code),
    ['XMinioAdminInvalidSecretKey', 'XMinioAdminConfigBadJSON'],
  );
  assert.equal(await at.accounts.findUser('alice'), undefined);
  const large = await at.call('root', 'PUT', target, Buffer.alloc(300_000));
  assert.deepEqual([large.status, large.code], [400, 'EntityTooLarge']);
});

void test('root can be neither made, disabled nor given policies', async () => {
  await using at = await start();
  const body = { secretKey: 'another-secret', status: 'enabled' };
  const answers = [
    await at.sealed('root', 'PUT', '/add-user?accessKey=root', body),
    await at.call('root', 'PUT', '/set-user-status?accessKey=root&status=disabled'),
    await at.call('root', 'DELETE', '/remove-user?accessKey=root'),
    await at.sealed('root', 'POST', '/idp/builtin/policy/attach', {
      policies: ['readonly'],
      user: 'root',
    }),
    await at.call('root', 'PUT', '/set-user-or-group-policy?policyName=readonly&userOrGroup=root'),
  ];
  assert.deepEqual(
    answers.map(({ status, code }) => `${status} ${code}`),
    [
      '403 XMinioInvalidIAMCredentials',
      '400 XMinioAdminInvalidArgument',
      '404 XMinioAdminNoSuchUser',
      '403 XMinioIAMActionNotAllowed',
      '403 XMinioIAMActionNotAllowed',
    ],
  );
});

void test('policies are created, shown in both forms, attached, and kept while in use', async () => {
  await using at = await start();
  await at.addUser('alice');
  const put = await at.call('root', 'PUT', '/add-canned-policy?name=mine', readAll);
  assert.equal(put.status, 200);
  const plain = await at.call('root', 'GET', '/info-canned-policy?name=mine');
  assert.deepEqual(json(plain), JSON.parse(readAll));
  const date = new Date(5000).toISOString();
  assert.deepEqual(json(await at.call('root', 'GET', '/info-canned-policy?name=mine&v=2')), {
    PolicyName: 'mine',
    Policy: JSON.parse(readAll) as unknown,
    CreateDate: date,
    UpdateDate: date,
  });
  const all = json(await at.call('root', 'GET', '/list-canned-policies')) as object;
  assert.equal(Object.keys(all).length, 6);
  const attach = { policies: ['mine', 'readonly'], user: 'alice' };
  const attached = await at.sealed('root', 'POST', '/idp/builtin/policy/attach', attach);
  const updatedAt = new Date(61_000).toISOString();
  assert.deepEqual(await opened(attached), { policiesAttached: ['mine', 'readonly'], updatedAt });
  const again = await at.sealed('root', 'POST', '/idp/builtin/policy/attach', attach);
  assert.deepEqual([again.status, again.code], [400, 'XMinioAdminPolicyChangeAlreadyApplied']);
  const entities = await opened(
    await at.call('root', 'GET', '/idp/builtin/policy-entities?user=alice&policy=mine'),
  );
  assert.deepEqual(entities, {
    timestamp: updatedAt,
    userMappings: [{ user: 'alice', policies: ['mine', 'readonly'] }],
    policyMappings: [{ policy: 'mine', users: ['alice'], groups: null }],
  });
  const used = await at.call('root', 'DELETE', '/remove-canned-policy?name=mine');
  assert.deepEqual([used.status, used.code], [400, 'XMinioIAMPolicyInUse']);
  const detached = await at.sealed('root', 'POST', '/idp/builtin/policy/detach', attach);
  assert.deepEqual(await opened(detached), { policiesDetached: ['mine', 'readonly'], updatedAt });
  assert.equal((await at.call('root', 'DELETE', '/remove-canned-policy?name=mine')).status, 200);
});

void test('documents and lists that make no sense are refused by code', async () => {
  await using at = await start();
  await at.addUser('alice');
  const policy = '/add-canned-policy?name=p';
  const attach = '/idp/builtin/policy/attach';
  const cases: [Promise<Answer>, string][] = [
    [at.call('root', 'PUT', policy, ''), 'MissingContentLength'],
    [at.call('root', 'PUT', policy, 'hello'), 'XMinioMalformedIAMPolicy'],
    [at.call('root', 'PUT', policy, readAll.replace('Allow', 'Maybe')), 'XMinioMalformedIAMPolicy'],
    [at.call('root', 'PUT', policy, readAll.replace('2012-10-17', '')), 'MalformedPolicy'],
    [at.call('root', 'PUT', policy, readAll.padEnd(21_000)), 'EntityTooLarge'],
    [at.call('root', 'PUT', '/add-canned-policy?name=a,b', readAll), 'PolicyInvalidName'],
    [at.call('root', 'GET', '/info-canned-policy?name=nosuch'), 'XMinioAdminNoSuchPolicy'],
    [at.call('root', 'DELETE', '/remove-canned-policy?name=readonly'), 'InternalError'],
    [
      at.sealed('root', 'POST', attach, { policies: [], user: 'alice' }),
      'XMinioAdminInvalidArgument',
    ],
    [at.sealed('root', 'POST', attach, { policies: ['readonly'] }), 'XMinioAdminInvalidArgument'],
    [
      at.sealed('root', 'POST', attach, { policies: ['readonly'], group: 'g' }),
      'XMinioAdminNoSuchGroup',
    ],
    [
      at.sealed('root', 'POST', attach, { policies: ['nosuch'], user: 'alice' }),
      'XMinioAdminNoSuchPolicy',
    ],
    [at.call('root', 'GET', '/groups'), 'NotImplemented'],
    [at.call('root', 'PUT', '/add-service-account'), 'NotImplemented'],
    [at.call('root', 'GET', '/list-access-keys-bulk?listType=all'), 'NotImplemented'],
  ];
  for (const [answer, code] of cases) assert.equal((await answer).code, code);
});

void test('callers administer as far as their policies go', async () => {
  await using at = await start();
  await at.addUser('plain', 'readwrite');
  await at.addUser('admin', 'consoleAdmin');
  await at.accounts.putPolicy(
    'lists',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["admin:ListUsers","admin:AttachUserOrGroupPolicy"]}]}',
  );
  await at.addUser('lister', 'lists');
  const attach = (as: string) =>
    at.sealed(as, 'POST', '/idp/builtin/policy/attach', { policies: ['readonly'], user: 'plain' });
  const calls: [string, string][] = [
    ['GET', '/list-users'],
    ['DELETE', '/remove-user?accessKey=nosuch'],
    ['PUT', '/set-user-status?accessKey=plain&status=enabled'],
    ['GET', '/list-canned-policies'],
    ['GET', '/info-canned-policy?name=readonly'],
    ['DELETE', '/remove-canned-policy?name=nosuch'],
    ['GET', '/idp/builtin/policy-entities'],
    ['PUT', '/set-user-or-group-policy?policyName=readwrite&userOrGroup=plain'],
    ['GET', '/groups'],
  ];
  const allowed = async (as: string) => {
    const answers = await Promise.all(calls.map(([method, path]) => at.call(as, method, path)));
    return calls
      .filter((_, index) => answers[index]?.code !== 'AccessDenied')
      .map(([, path]) => path);
  };
  assert.deepEqual(await allowed('plain'), []);
  assert.deepEqual(await allowed('lister'), [
    '/list-users',
    '/set-user-or-group-policy?policyName=readwrite&userOrGroup=plain',
  ]);
  assert.deepEqual(
    await allowed('admin'),
    calls.map(([, path]) => path),
  );
  assert.equal((await attach('plain')).code, 'AccessDenied');
  assert.equal((await attach('lister')).status, 200);
});

void test('everybody may see and re-key themselves, no more, unless a policy denies it', async () => {
  await using at = await start();
  await at.addUser('alice', 'readonly');
  await at.addUser('bob');
  const rekey = (as: string, name: string, more: object = {}) =>
    at.sealed(as, 'PUT', `/add-user?accessKey=${name}`, { secretKey: `${name}-secret`, ...more });
  assert.equal((await at.call('alice', 'GET', '/user-info?accessKey=alice')).status, 200);
  assert.equal((await rekey('alice', 'alice', { status: 'enabled' })).status, 200);
  const refused = [
    await at.call('alice', 'GET', '/user-info?accessKey=bob'),
    await rekey('alice', 'bob'),
    await rekey('alice', 'alice', { status: 'disabled' }),
    await rekey('alice', 'alice', { policy: 'consoleAdmin' }),
    await rekey('alice', 'alice', { ownerId: 'ab'.repeat(32) }),
    await rekey('alice', 'alice', { displayName: 'root' }),
  ];
  assert.deepEqual([...new Set(refused.map(({ code }) => code))], ['AccessDenied']);
  assert.deepEqual((await at.accounts.getUser('alice')).policies, ['readonly']);
  await at.accounts.putPolicy(
    'fixed',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["admin:CreateUser","admin:GetUser"]}]}',
  );
  await at.accounts.attach('alice', ['fixed']);
  assert.equal((await rekey('alice', 'alice')).code, 'AccessDenied');
  assert.equal((await at.call('alice', 'GET', '/user-info?accessKey=alice')).code, 'AccessDenied');
});

void test('conditions on the caller and its address hold for admin calls', async () => {
  await using at = await start();
  const policy = (address: string) =>
    `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["admin:ListUsers"],"Condition":{"IpAddress":{"aws:SourceIp":"${address}"},"StringEquals":{"aws:username":"alice"}}}]}`;
  await at.accounts.putPolicy('near', policy('127.0.0.1/32'));
  await at.accounts.putPolicy('far', policy('10.0.0.0/8'));
  await at.addUser('alice', 'near');
  await at.addUser('bob', 'near');
  assert.equal((await at.call('alice', 'GET', '/list-users')).status, 200);
  assert.equal((await at.call('bob', 'GET', '/list-users')).code, 'AccessDenied');
  await at.accounts.setPolicies('alice', ['far']);
  assert.equal((await at.call('alice', 'GET', '/list-users')).code, 'AccessDenied');
});

void test('an account learns what it may do with which bucket', async () => {
  await using at = await start();
  await at.accounts.putPolicy(
    'open',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::open"]}]}',
  );
  await at.addUser('alice', 'open');
  const account = json(await at.call('alice', 'GET', '/accountinfo')) as Record<string, unknown>;
  assert.equal(account['AccountName'], 'alice');
  const created = new Date(0).toISOString();
  assert.deepEqual(account['Buckets'], [
    { name: 'open', size: 3, objects: 2, created, access: { read: true, write: false } },
  ]);
  assert.deepEqual(account['Policy'], JSON.parse((await at.accounts.getPolicy('open')).text));
  const ofRoot = json(await at.call('root', 'GET', '/accountinfo')) as { Buckets: object[] };
  assert.equal(ofRoot.Buckets.length, 2);
});
