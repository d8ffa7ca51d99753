import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ClientHttp2Session } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import {
  callHttp2,
  createKesFixture,
  createTestServerFiles,
} from '../../../test/support/kes-server.ts';
import { silentLog } from '../../base/log.ts';
import { silentAudit } from '../../kes/audit/audit.ts';
import { LineHub } from '../../kes/handlers/logs.ts';
import { KesMetrics } from '../../kes/metrics.ts';
import { createAuditLog, createKesLog, LineWriter } from './log.ts';
import { startKesServer } from './service.ts';

const kes = await createKesFixture();
const { admin, app, stranger, config, serverFiles, start, open, filesOf, callHttp1 } = kes;
after(() => kes.closeAll());

/** A PUT that has only begun, and its status once there is one. */
function begin(session: ClientHttp2Session, path: string) {
  const stream = session.request({ ':method': 'PUT', ':path': path });
  const status = once(stream, 'response').then(([headers]) => Number(headers[':status']));
  stream.on('error', () => {});
  stream.resume();
  return { stream, status };
}

function connectTls(port: number, files: { cert: string; key: string; ca?: string }) {
  const ALPNProtocols = ['http/1.1'];
  const socket = tlsConnect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols,
    ...files,
  });
  return socket.on('error', () => {});
}

void describe('log streams', () => {
  void test('deliver audit events and error lines as they happen', async () => {
    const hubs = { error: new LineHub(), audit: new LineHub() };
    const writer = new LineWriter({ write: () => true });
    const metrics = new KesMetrics({ nowMs: Date.now });
    const deps = { writer, metrics, nowMs: Date.now };
    const server = await start(
      {},
      {
        hubs,
        metrics,
        log: createKesLog(() => 0, { ...deps, hub: hubs.error }),
        audit: createAuditLog(() => 0, { ...deps, hub: hubs.audit }),
      },
    );
    const session = open(server, admin);
    const firstLine = (path: string) => {
      const stream = session.request({ ':path': path });
      const opened = new Promise<void>((resolve) => stream.once('response', () => resolve()));
      const line = new Promise<string>((resolve) => {
        stream.once('data', (chunk: Buffer) => {
          stream.close();
          resolve(chunk.toString('utf8').split('\n')[0] ?? '');
        });
      });
      return { opened, line };
    };
    const errors = firstLine('/v1/log/error');
    await errors.opened;
    const audit = firstLine('/v1/log/audit');
    await audit.opened;
    await callHttp2(session, { method: 'GET', path: '/v1/key/describe/app-key' });
    const isDescribe = JSON.parse(await audit.line) as Record<string, unknown>;
    assert.partialDeepStrictEqual(isDescribe, {
      request: { ip: '127.0.0.1', identity: admin.identity },
      response: { code: 200 },
    });
    await callHttp1(server, undefined, { method: 'GET', path: '/version' }).catch(() => {});
    assert.match(
      await errors.line,
      /^\{"message":"time=.* level=INFO msg=\\"TLS handshake refused/,
    );
    session.close();
    await server.close();
  });
});

void describe('reloading', () => {
  void test('takes the new policies and keeps keys and connections; a bad one changes nothing', async () => {
    const server = await start();
    const session = open(server, stranger);
    const generate = { method: 'PUT', path: '/v1/key/generate/app-key' };
    assert.equal((await callHttp2(session, generate)).status, 403);
    const policy = { name: 'new', allow: ['/v1/key/*'], deny: [], identities: [stranger.identity] };
    await server.reload({ ...config, policies: [policy] });
    assert.equal((await callHttp2(session, generate)).status, 200);
    const denyAll = { ...policy, deny: ['/v1/*/x'] };
    await assert.rejects(server.reload({ ...config, policies: [denyAll] }), /protect nothing/);
    assert.equal((await callHttp2(session, generate)).status, 200);
    session.close();
    await server.close();
  });

  void test('a request whose body comes in during a reload goes by the new policies', async () => {
    const server = await start();
    const session = open(server, app);
    const generated = await callHttp2(session, { method: 'PUT', path: '/v1/key/generate/app-key' });
    const { stream, status } = begin(session, '/v1/key/decrypt/app-key');
    stream.write(generated.body.slice(0, 10));
    await callHttp2(session, { method: 'GET', path: '/v1/status' });
    await server.reload({ ...config, policies: [] });
    stream.end(generated.body.slice(10));
    assert.equal(await status, 403);
  });

  void test('a request that is still allowed is finished with the new key store', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const server = await start();
    const session = open(server, app);
    const { stream, status } = begin(session, '/v1/key/generate/app-key');
    stream.write('{');
    await callHttp2(session, { method: 'GET', path: '/v1/status' });
    await server.reload({ ...config, keyStore: { type: 'fs', path } });
    stream.end('}');
    assert.equal(await status, 200);
    await server.close();
    await rm(path, { recursive: true });
  });

  void test('log streams end when their reader may no longer read, the others go on', async () => {
    const reader = { name: 'log', allow: ['/v1/log/*'], deny: [], identities: [app.identity] };
    const server = await start({ policies: [reader] });
    const streams = [open(server, app), open(server, admin)].map((session) =>
      session.request({ ':path': '/v1/log/audit' }),
    );
    await Promise.all(streams.map((stream) => once(stream, 'response')));
    const [mine, admins] = streams;
    assert.ok(mine && admins);
    await server.reload({ ...config, policies: [{ ...reader, deny: ['/v1/log/error'] }] });
    mine.resume();
    admins.resume();
    const ended = once(mine, 'end');
    await server.reload({ ...config, policies: [] });
    await ended;
    assert.equal(admins.readableEnded, false);
  });

  void test('a rule for connections closes those there are, after what is in progress', async () => {
    const server = await start();
    const [busy, idle] = [open(server, app), open(server, app)];
    await callHttp2(idle, { method: 'GET', path: '/v1/status' });
    const { stream, status } = begin(busy, '/v1/key/generate/app-key');
    stream.write('{');
    await callHttp2(busy, { method: 'GET', path: '/v1/status' });
    const logs = open(server, admin).request({ ':path': '/v1/log/audit' });
    await once(logs, 'response');
    const over = [busy, idle].map((session) => once(session, 'close'));
    await server.reload({ ...config, tls: { ...config.tls, auth: 'on' } });
    await once(logs.resume(), 'end');
    await over[1];
    stream.end('}');
    assert.equal(await status, 200);
    await over[0];
    const late = open(server, app);
    await assert.rejects(callHttp2(late, { method: 'GET', path: '/v1/status' }));
  });

  void test('a kept-alive HTTP/1.1 connection is closed when the rule changes', async () => {
    const server = await start();
    const socket = connectTls(server.address.port, filesOf(app));
    socket.write('GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    const ended = once(socket.resume(), 'end');
    await server.reload({ ...config, tls: { ...config.tls, auth: 'on' } });
    await ended;
    socket.destroy();
  });

  void test('what is bad about a new configuration changes nothing', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    await writeFile(join(path, 'file'), '');
    await writeFile(join(path, 'key'), serverFiles.key);
    await writeFile(join(path, 'cert'), serverFiles.cert);
    const tls = { ...config.tls, key: join(path, 'key'), cert: join(path, 'cert') };
    const warnings: string[] = [];
    const log = { ...silentLog, warn: (text: string) => void warnings.push(text) };
    const server = await startKesServer({ ...config, tls }, { log, audit: silentAudit });
    try {
      const session = open(server, app);
      const generate = { method: 'PUT', path: '/v1/key/generate/app-key' };
      const first = await callHttp2(session, generate);
      const broken = { ...tls, cert: join(path, 'file') };
      await assert.rejects(server.reload({ ...config, tls: broken }), /is not a PEM file/);
      const noStore = { type: 'fs', path: join(path, 'file') } as const;
      await assert.rejects(server.reload({ ...config, tls, keyStore: noStore }), /cannot open/);
      assert.deepEqual(warnings, []);
      await server.reload({ ...config, tls, address: '127.0.0.1:1' });
      assert.match(warnings.join(), /address changes only at a restart/);
      const decrypt = { method: 'PUT', path: '/v1/key/decrypt/app-key', body: first.body };
      assert.equal((await callHttp2(session, decrypt)).status, 200);
      session.close();
    } finally {
      await server.close();
      await rm(path, { recursive: true });
    }
  });

  void test('an expired certificate is told of, and its replacement taken up by itself', async () => {
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const day = 24 * 3_600_000;
    const old = await createTestServerFiles({ now: Date.now() - 10 * day, validMs: 9 * day });
    await writeFile(join(path, 'key'), old.key);
    await writeFile(join(path, 'cert'), old.cert);
    const tls = { ...config.tls, key: join(path, 'key'), cert: join(path, 'cert') };
    const warnings: string[] = [];
    const errors: string[] = [];
    const log = {
      ...silentLog,
      warn: (text: string) => void warnings.push(text),
      error: (text: string) => void errors.push(text),
    };
    const deps = { log, audit: silentAudit, tlsReloadMs: 20 };
    const server = await startKesServer({ ...config, tls }, deps);
    try {
      assert.match(warnings.join(), /the TLS certificate \S+cert expired at /);
      const session = open(server, app);
      const status = { method: 'GET', path: '/v1/status' };
      assert.equal((await callHttp2(session, status)).status, 200);
      // The key is there before its certificate: the pair does not fit for a moment, which is survived.
      await writeFile(join(path, 'key'), serverFiles.key);
      while (errors.length === 0) await sleep(5);
      assert.match(errors.join(), /Failed to reload TLS configuration: .* does not belong to/);
      await writeFile(join(path, 'cert'), serverFiles.cert);
      for (;;) {
        const socket = connectTls(server.address.port, { ...filesOf(app), ca: serverFiles.cert });
        await once(socket, 'secureConnect');
        const isFresh = socket.authorized;
        socket.destroy();
        if (isFresh) break;
      }
      assert.equal((await callHttp2(session, status)).status, 200);
      session.close();
    } finally {
      await server.close();
      await rm(path, { recursive: true });
    }
  });

  void test('starting fails clearly, and leaves nothing open', async () => {
    const server = await start();
    const address = `127.0.0.1:${server.address.port}`;
    await assert.rejects(start({ address }), { code: 'EADDRINUSE' });
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    await writeFile(join(path, 'file'), '');
    const keyStore = { type: 'fs', path: join(path, 'file') } as const;
    await assert.rejects(start({ keyStore }), /cannot open key directory/);
    await rm(path, { recursive: true });
    await server.close();
  });
});
