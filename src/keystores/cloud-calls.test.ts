// What the cloud adapters share, and that none of them loads its SDK before it is opened.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { failsWith } from '../../test/contract/key-store.ts';
import { withTlsProxy } from '../../test/support/tls-proxy.ts';
import {
  cloudLimits,
  isSecretName,
  networkErrorCode,
  openConnections,
  parseEndpoint,
  pause,
  probeEndpoint,
  userAgent,
  withinMs,
} from './cloud-calls.ts';

test('an adapter loads nothing from its SDK before it is opened', () => {
  const files = ['aws', 'gcp', 'azure'].map(
    (name) => new URL(`${name}/secrets.ts`, import.meta.url).href,
  );
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
    for (const file of ${JSON.stringify(files)}) await import(file);
    console.log(loaded.filter((url) => url.includes('/node_modules/')).join('\\n'));`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.equal(run.status, 0, run.stderr);
  assert.equal(run.stdout.trim(), '');
});

test('an endpoint may lack its scheme', () => {
  assert.equal(parseEndpoint('x', 'host.example').href, 'https://host.example/');
  assert.equal(parseEndpoint('x', 'host.example:8443').href, 'https://host.example:8443/');
  assert.equal(parseEndpoint('x', 'http://127.0.0.1:5000').href, 'http://127.0.0.1:5000/');
  for (const bad of ['', 'ftp://host', 'https://u:p@host', 'https://host?x', 'a b']) {
    assert.throws(() => parseEndpoint('x', bad), failsWith('failed'));
  }
});

test('names of a secret store are told from others', () => {
  for (const name of ['a', 'A_b-9', 'a--destroyed-', 'n'.repeat(127)]) {
    assert.ok(isSecretName(name), name);
  }
  for (const name of ['', 'a/b', 'a.b', 'ä', 'n'.repeat(128)]) assert.ok(!isSecretName(name), name);
});

test('work that does not end is given up and told so', async () => {
  let isTold = false;
  const endless = withinMs(20, 'product: get a', (signal) => {
    signal.addEventListener('abort', () => {
      isTold = true;
    });
    return new Promise<never>(() => {});
  });
  await assert.rejects(endless, (error) => {
    failsWith('unreachable')(error);
    assert.match(String(error), /product: get a: no answer within 20 ms/);
    return true;
  });
  assert.ok(isTold);
  assert.equal(await withinMs(1_000, 'x', async () => 'done'), 'done');
});

test('a pause ends early when its work is given up', async () => {
  const controller = new AbortController();
  const paused = pause(60_000, controller.signal);
  controller.abort();
  await paused;
  await pause(60_000, controller.signal);
});

test('the code of a network error is found through its causes, and no other', () => {
  const refused = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
  assert.equal(networkErrorCode(new TypeError('fetch failed', { cause: refused })), 'ECONNREFUSED');
  assert.equal(networkErrorCode(new AggregateError([refused])), 'ECONNREFUSED');
  assert.equal(networkErrorCode(Object.assign(new Error('x'), { code: 'unreachable' })), undefined);
  assert.equal(networkErrorCode(new Error('x')), undefined);
  assert.equal(networkErrorCode('x'), undefined);
});

test('any answer counts as available, none as unreachable', async () => {
  const server = createServer((_request, response) => response.writeHead(500).end('x'));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const { connections, close } = await openConnections(url, cloudLimits);
  assert.equal((await probeEndpoint(url, connections, cloudLimits)).state, 'available');
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  assert.equal((await probeEndpoint(url, connections, cloudLimits)).state, 'unreachable');
  await close();
});

test('the user agent is the name and version of the program', () => {
  assert.match(userAgent(), /^coffer\/\d+\.\d+\.\d+$/);
});

test('a proxy whose certificate is not trusted is not used, whatever the environment says', () =>
  withTlsProxy(async (proxy) => {
    const url = parseEndpoint('x', 'host.example');
    const { connections, close } = await openConnections(url, cloudLimits);
    const status = await probeEndpoint(url, connections, cloudLimits);
    assert.equal(status.state, 'unreachable');
    assert.deepEqual(proxy.asked, []);
    await close();
  }));
