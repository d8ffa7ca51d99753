// Users and policies in the `Kv`: what changes are refused, that they are atomic, and that credentials
// follow them at once, on every process that shares the `Kv`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openMemoryKv } from '../../kv/memory.ts';
import type { Kv, KvCommit } from '../../store/kv.ts';
import { generationKey, userKey } from './account.ts';
import { Accounts, type UserInput } from './accounts.ts';
import { builtInPolicies } from './built-in-policies.ts';
import { AccountCredentials } from './credentials.ts';
import { IamError, type IamErrorCode } from '../iam-error.ts';
import { rootOwner } from '../identity.ts';
import { evaluatePolicies } from '../policy/policy.ts';

const root = { accessKey: 'rootadmin', secretKey: 'rootsecret12' };
const alice: UserInput = { accessKey: 'alice', secretKey: 'alicesecret', status: 'enabled' };
const bobOnly =
  '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}';

function openAccounts(kv: Kv = openMemoryKv()) {
  let nowMs = 1000;
  const accounts = new Accounts({ kv, rootAccessKey: () => root.accessKey, now: () => nowMs });
  const worker = () => new AccountCredentials({ kv, accounts, root: () => root });
  return { kv, accounts, worker, tick: () => (nowMs += 1000) };
}

async function refused(work: Promise<unknown>, code: IamErrorCode): Promise<void> {
  await assert.rejects(work, (error) => error instanceof IamError && error.code === code);
}

void test('a user has an owner id of its own, which stays when its secret key changes', async () => {
  const { accounts, tick } = openAccounts();
  await accounts.putUser(alice);
  const before = await accounts.getUser('alice');
  assert.match(before.ownerId, /^[0-9a-f]{64}$/);
  assert.notEqual(before.ownerId, rootOwner.ownerId);
  assert.equal(before.displayName, 'alice');
  await accounts.attach('alice', ['readonly']);
  tick();
  await accounts.putUser({ ...alice, secretKey: 'another-secret', status: 'disabled' });
  assert.deepEqual(await accounts.getUser('alice'), {
    ...before,
    secretKey: 'another-secret',
    status: 'disabled',
    policies: ['readonly'],
    updatedMs: 2000,
  });
});

void test('an owner id and a display name can be set, and no two accounts have the same id', async () => {
  const { accounts, worker } = openAccounts();
  const ownerId = 'ab'.repeat(32);
  await accounts.putUser({ ...alice, ownerId, displayName: 'Alice A.' });
  assert.deepEqual(await worker().describeOwner(ownerId), { ownerId, displayName: 'Alice A.' });
  const bob = { ...alice, accessKey: 'bob', ownerId };
  await refused(accounts.putUser(bob), 'invalid-owner');
  await refused(accounts.putUser({ ...bob, ownerId: rootOwner.ownerId }), 'invalid-owner');
  await refused(accounts.putUser({ ...bob, ownerId: 'AB'.repeat(32) }), 'invalid-owner');
  // Given up, it is free for another.
  await accounts.putUser({ ...alice, ownerId: 'cd'.repeat(32) });
  await accounts.putUser(bob);
  assert.equal((await worker().describeOwner(ownerId)).displayName, 'bob');
  await accounts.removeUser('bob');
  assert.deepEqual(await worker().describeOwner(ownerId), { ownerId, displayName: '' });
  assert.deepEqual(await worker().describeOwner(rootOwner.ownerId), rootOwner);
});

void test('access keys, secret keys and names that no protocol could carry are refused', async () => {
  const { accounts } = openAccounts();
  for (const accessKey of ['', 'al', 'a,b', 'a=b', 'a\nb', 'a'.repeat(129), '\ud800aa']) {
    await refused(accounts.putUser({ ...alice, accessKey }), 'invalid-access-key');
    assert.equal(await accounts.findUser(accessKey), undefined);
  }
  for (const secretKey of ['', '1234567', 'x'.repeat(129), 'with\0zero']) {
    await refused(accounts.putUser({ ...alice, secretKey }), 'invalid-secret-key');
  }
  await refused(accounts.putUser({ ...alice, accessKey: 'rootadmin' }), 'root-access-key');
  for (const name of ['', 'a,b', 'a\tb', 'p'.repeat(129)]) {
    await refused(accounts.putPolicy(name, bobOnly), 'invalid-policy-name');
  }
  await refused(accounts.putPolicy('bad', '{"Statement":[]}'), 'malformed-policy');
  assert.deepEqual(await accounts.listUsers(), []);
  await accounts.putUser({ ...alice, accessKey: 'with/slash and blank' });
  assert.equal((await accounts.listUsers())[0]?.accessKey, 'with/slash and blank');
});

void test('what is not there is said so', async () => {
  const { accounts } = openAccounts();
  await refused(accounts.removeUser('alice'), 'no-such-user');
  await refused(accounts.setStatus('alice', 'disabled'), 'no-such-user');
  await refused(accounts.attach('alice', ['readonly']), 'no-such-user');
  await refused(accounts.detach('alice', ['readonly']), 'no-such-user');
  await accounts.putUser(alice);
  await refused(accounts.attach('alice', ['readonly', 'nosuch']), 'no-such-policy');
  await refused(accounts.setPolicies('alice', ['nosuch']), 'no-such-policy');
  await refused(accounts.getPolicy('nosuch'), 'no-such-policy');
  await accounts.removePolicy('nosuch');
  assert.deepEqual((await accounts.getUser('alice')).policies, []);
});

void test('attaching and detaching answer what changed, and refuse what changes nothing', async () => {
  const { accounts } = openAccounts();
  await accounts.putUser(alice);
  assert.deepEqual(await accounts.attach('alice', ['writeonly', 'readonly', 'readonly']), [
    'writeonly',
    'readonly',
  ]);
  assert.deepEqual(await accounts.attach('alice', ['readonly', 'readwrite']), ['readwrite']);
  await refused(accounts.attach('alice', ['readonly']), 'no-change');
  assert.deepEqual((await accounts.getUser('alice')).policies, [
    'readonly',
    'readwrite',
    'writeonly',
  ]);
  assert.deepEqual(await accounts.detach('alice', ['readonly', 'consoleAdmin']), ['readonly']);
  await refused(accounts.detach('alice', ['readonly']), 'no-change');
  await accounts.setPolicies('alice', ['diagnostics']);
  assert.deepEqual((await accounts.getUser('alice')).policies, ['diagnostics']);
});

void test('a policy that a user has cannot be removed, nor a built-in one', async () => {
  const { accounts } = openAccounts();
  await accounts.putUser(alice);
  await accounts.putPolicy('mine', bobOnly);
  await accounts.attach('alice', ['mine']);
  await refused(accounts.removePolicy('mine'), 'policy-in-use');
  await accounts.detach('alice', ['mine']);
  await accounts.removePolicy('mine');
  assert.equal(await accounts.findPolicy('mine'), undefined);
  await refused(accounts.removePolicy('readonly'), 'built-in-policy');
});

void test('a stored policy stands in front of a built-in one until it is removed', async () => {
  const { accounts, tick } = openAccounts();
  await accounts.putPolicy('readonly', bobOnly);
  tick();
  await accounts.putPolicy('readonly', bobOnly);
  assert.deepEqual(await accounts.getPolicy('readonly'), {
    name: 'readonly',
    text: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["*"]}]}',
    times: { createdMs: 1000, updatedMs: 2000 },
  });
  const names = (await accounts.listPolicies()).map(({ name }) => name);
  assert.deepEqual(names, [...builtInPolicies.keys()].sort());
  await accounts.removePolicy('readonly');
  assert.equal((await accounts.getPolicy('readonly')).text, builtInPolicies.get('readonly'));
});

void test('of a removal and an attachment at the same time one is refused', async () => {
  const { accounts } = openAccounts();
  await accounts.putUser(alice);
  await accounts.putPolicy('mine', bobOnly);
  const outcomes = await Promise.allSettled([
    accounts.removePolicy('mine'),
    accounts.attach('alice', ['mine']),
  ]);
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
  const { policies } = await accounts.getUser('alice');
  assert.equal(policies.length === 1, (await accounts.findPolicy('mine')) !== undefined);
});

void test('changes at the same time are all made, each on what the others left', async () => {
  const { accounts } = openAccounts();
  await accounts.putUser(alice);
  const names = [...builtInPolicies.keys()];
  await Promise.all(names.map((name) => accounts.attach('alice', [name])));
  assert.deepEqual((await accounts.getUser('alice')).policies, names.sort());
});

void test('a store that is changed without end is busy', async () => {
  const kv = openMemoryKv();
  const restless: Kv = {
    ...wrap(kv),
    commit: async (commit: KvCommit) => {
      await kv.commit({ puts: [{ entryKey: generationKey, value: Buffer.from('x') }] });
      return kv.commit(commit);
    },
  };
  await refused(openAccounts(restless).accounts.putUser(alice), 'busy');
});

void test('more users than a page of the store are all listed', async () => {
  const { accounts } = openAccounts();
  for (let count = 0; count < 1005; count++) {
    await accounts.putUser({ ...alice, accessKey: `user-${String(count).padStart(5, '0')}` });
  }
  const users = await accounts.listUsers();
  assert.equal(users.length, 1005);
  assert.equal(users.at(-1)?.accessKey, 'user-01004');
});

void test('every change is in force at the next request of every worker', async () => {
  const { accounts, worker } = openAccounts();
  const workers = [worker(), worker(), worker()];
  const findAll = () => Promise.all(workers.map(async (each) => each.find('alice')));
  const may = (identity: NonNullable<Awaited<ReturnType<typeof findAll>>[number]>['identity']) =>
    identity.kind === 'user' &&
    evaluatePolicies(identity.policies, {
      action: 's3:GetObject',
      bucket: 'b',
      key: 'k',
      conditions: {},
    }) === 'allow';
  assert.deepEqual(await findAll(), [undefined, undefined, undefined]);
  await accounts.putUser(alice);
  for (const found of await findAll()) assert.equal(found?.secretKey, 'alicesecret');
  await accounts.putPolicy('mine', bobOnly);
  await accounts.attach('alice', ['mine']);
  for (const found of await findAll()) assert.ok(found && may(found.identity));
  await accounts.putPolicy('mine', bobOnly.replace('Allow', 'Deny'));
  for (const found of await findAll()) assert.ok(found && !may(found.identity));
  await accounts.putUser({ ...alice, secretKey: 'second-secret' });
  for (const found of await findAll()) assert.equal(found?.secretKey, 'second-secret');
  await accounts.setStatus('alice', 'disabled');
  assert.deepEqual(await findAll(), [undefined, undefined, undefined]);
  await accounts.setStatus('alice', 'enabled');
  for (const found of await findAll()) assert.equal(found?.secretKey, 'second-secret');
  await accounts.removeUser('alice');
  assert.deepEqual(await findAll(), [undefined, undefined, undefined]);
});

void test('an answer that was under way when a user was disabled is not remembered', async () => {
  const kv = openMemoryKv();
  const held = Promise.withResolvers<void>();
  let isHolding = false;
  const slow: Kv = {
    ...wrap(kv),
    get: async (entryKey) => {
      const entry = await kv.get(entryKey);
      if (isHolding && Buffer.from(entryKey).equals(userKey('alice'))) await held.promise;
      return entry;
    },
  };
  const { accounts } = openAccounts(kv);
  const read = new Accounts({ kv: slow, rootAccessKey: () => root.accessKey, now: () => 0 });
  const credentials = new AccountCredentials({ kv: slow, accounts: read, root: () => root });
  await accounts.putUser(alice);
  isHolding = true;
  const late = credentials.find('alice');
  await new Promise((resolve) => setImmediate(resolve));
  await accounts.setStatus('alice', 'disabled');
  isHolding = false;
  assert.equal(await credentials.find('alice'), undefined);
  held.resolve();
  await late;
  assert.equal(await credentials.find('alice'), undefined);
});

void test('root needs no reading, and wins over a user of the same name', async () => {
  const { accounts, kv } = openAccounts();
  await accounts.putUser({ ...alice, accessKey: 'later-root' });
  const later = { accessKey: 'later-root', secretKey: 'root-secret-key' };
  const credentials = new AccountCredentials({ kv, accounts, root: () => later });
  const found = credentials.find('later-root');
  assert.ok(!(found instanceof Promise));
  assert.equal(found?.identity.kind, 'root');
  assert.equal(found?.secretKey, 'root-secret-key');
});

void test('damaged users and policies are errors that quote nothing', async () => {
  const { kv, accounts, worker } = openAccounts();
  await accounts.putUser(alice);
  for (const text of ['alicesecret', '{}', '{"version":2,"secretKey":"alicesecret"}', 'null']) {
    await kv.commit({ puts: [{ entryKey: userKey('alice'), value: Buffer.from(text) }] });
    await assert.rejects(
      async () => worker().find('alice'),
      (error) =>
        error instanceof IamError &&
        error.code === 'corrupt' &&
        !error.message.includes('alicesecret') &&
        error.cause === undefined,
    );
  }
});

void test('a user whose policy is gone is refused rather than let in without it', async () => {
  const { kv, accounts, worker } = openAccounts();
  await accounts.putUser(alice);
  await accounts.putPolicy('denies', bobOnly.replace('Allow', 'Deny'));
  await accounts.attach('alice', ['denies']);
  await kv.commit({ deletes: [Buffer.from('apolicy/denies')] });
  await assert.rejects(
    async () => worker().find('alice'),
    (error) => error instanceof IamError && error.code === 'corrupt',
  );
});

function wrap(kv: Kv): Kv {
  return {
    get: (entryKey) => kv.get(entryKey),
    getMany: (entryKeys) => kv.getMany(entryKeys),
    list: (range) => kv.list(range),
    commit: (commit) => kv.commit(commit),
    close: () => kv.close(),
  };
}

void test('a policy keeps its id, however that is spelt, and is shown with lists', async () => {
  const { accounts } = openAccounts();
  const statement =
    '{"Resource":"*","Condition":{"StringEquals":{"aws:username":"x"}},"Action":"s3:*","Effect":"Deny","Sid":"s"}';
  await accounts.putPolicy('mine', `{"Statement":${statement},"Version":"2012-10-17","ID":"i"}`);
  assert.equal(
    (await accounts.getPolicy('mine')).text,
    '{"ID":"i","Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Deny","Action":["s3:*"],"Resource":["*"],"Condition":{"StringEquals":{"aws:username":["x"]}}}]}',
  );
});

void test('what earlier releases stored is read', async () => {
  const { kv, accounts, worker } = openAccounts();
  const ownerId = 'ab'.repeat(32);
  const stored = {
    'auser/alice': `{"version":1,"secretKey":"alicesecret","status":"enabled","policies":["mine"],"ownerId":"${ownerId}","displayName":"A","createdMs":1,"updatedMs":2}`,
    'apolicy/mine':
      '{"version":1,"text":"{\\"Version\\":\\"2012-10-17\\",\\"Statement\\":[{\\"Effect\\":\\"Allow\\",\\"Action\\":[\\"s3:*\\"],\\"Resource\\":[\\"*\\"]}]}","createdMs":1,"updatedMs":2}',
    [`aowner/${ownerId}`]: '{"version":1,"accessKey":"alice"}',
    'astate/generation': '{"version":1}',
  };
  const puts = Object.entries(stored).map(([name, text]) => ({
    entryKey: Buffer.from(name),
    value: Buffer.from(text),
  }));
  await kv.commit({ puts });
  const found = await worker().find('alice');
  assert.equal(found?.secretKey, 'alicesecret');
  assert.ok(found?.identity.kind === 'user' && found.identity.policies.length === 1);
  assert.equal((await worker().describeOwner(ownerId)).displayName, 'A');
  // And what is written now is the same, byte for byte.
  await accounts.setPolicies('alice', ['mine']);
  const entry = await kv.get(Buffer.from('auser/alice'));
  assert.equal(
    Buffer.from(entry?.value ?? []).toString(),
    stored['auser/alice']?.replace('"updatedMs":2', '"updatedMs":1000'),
  );
});
