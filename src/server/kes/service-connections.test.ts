import 'reflect-metadata';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, constants } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { BasicConstraintsExtension, X509CertificateGenerator } from '@peculiar/x509';
import { callHttp2, createKesFixture, kesErrorBody } from '../../../test/support/kes-server.ts';
import { silentLog } from '../../base/log.ts';
import { type AuditEvent, silentAudit } from '../../kes/audit/audit.ts';
import { secureContextOptions } from '../../kes/transport/tls.ts';
import type { KesApiKey } from '../../wire/kes-identity.ts';
import { startKesServer } from './service.ts';

const kes = await createKesFixture();
const { admin, app, stranger, proxy, config, serverFiles, start, open, filesOf, callHttp1 } = kes;
after(() => kes.closeAll());

const json = (value: unknown) => JSON.stringify(value);

void describe('client certificates', () => {
  void test('without one the connection is refused', async () => {
    const server = await start();
    await assert.rejects(callHttp1(server, undefined, { method: 'GET', path: '/version' }));
    const session = open(server);
    await assert.rejects(callHttp2(session, { method: 'GET', path: '/version' }));
    session.destroy();
    await server.close();
  });

  void test('with skip_auth on any route they are optional, and protected routes still want one', async () => {
    const api = new Map([['/v1/ready', { timeoutMs: 0, skipAuth: true }]]);
    const server = await start({ api });
    const get = (path: string) => callHttp1(server, undefined, { method: 'GET', path });
    assert.equal((await get('/v1/ready')).status, 200);
    assert.equal((await get('/version')).status, 200);
    const refused = await get('/v1/status');
    assert.equal(refused.status, 400);
    assert.equal(refused.body, kesErrorBody('tls: client certificate is required'));
    const batch = json({ calls: [{ op: 'generate', name: 'app-key' }] });
    const answer = await callHttp1(server, undefined, {
      method: 'PUT',
      path: '/v1/batch/key',
      body: batch,
    });
    assert.equal(answer.body, kesErrorBody('not authorized: insufficient permissions'));
    await server.close();
  });

  void test('with verification only trusted ones get in', async () => {
    const trusted = filesOf(app);
    const tls = { ...config.tls, auth: 'on' } as const;
    const server = await start({ tls }, { tls: { ...serverFiles, roots: [trusted.cert] } });
    const agent = { rejectUnauthorized: false };
    const url = `https://127.0.0.1:${server.address.port}`;
    const good = connect(url, { ...trusted, ...agent });
    assert.equal((await callHttp2(good, { method: 'GET', path: '/v1/status' })).status, 200);
    const bad = open(server, stranger);
    await assert.rejects(callHttp2(bad, { method: 'GET', path: '/version' }));
    good.close();
    bad.destroy();
    await server.close();
  });

  void test('with verification and no roots at all nobody gets in', async () => {
    const tls = { ...config.tls, auth: 'on' } as const;
    assert.deepEqual(secureContextOptions({ ...serverFiles, roots: [] }, 'on').ca, []);
    const server = await start({ tls });
    await assert.rejects(callHttp1(server, admin, { method: 'GET', path: '/version' }));
    const session = open(server, admin);
    await assert.rejects(callHttp2(session, { method: 'GET', path: '/version' }));
    session.destroy();
  });

  void test('a TLS session from before a change of the roots is not resumed', async () => {
    const tls = { ...config.tls, auth: 'on', ca: '' } as const;
    const path = await mkdtemp(join(tmpdir(), 'coffer-kes-'));
    const files = { key: join(path, 'key'), cert: join(path, 'cert'), ca: join(path, 'ca') };
    await writeFile(files.key, serverFiles.key);
    await writeFile(files.cert, serverFiles.cert);
    await writeFile(files.ca, filesOf(app).cert);
    const own = { ...config, tls: { ...tls, ...files } };
    const server = await startKesServer(own, { log: silentLog, audit: silentAudit });
    try {
      const first = await askHttp1(server.address.port, filesOf(app));
      assert.match(first.answer, /^HTTP\/1\.1 200 /);
      assert.ok(first.ticket);
      await writeFile(files.ca, filesOf(stranger).cert);
      await server.reloadTls();
      const second = await askHttp1(server.address.port, filesOf(app), first.ticket);
      assert.equal(second.answer, '');
    } finally {
      await server.close();
      await rm(path, { recursive: true });
    }
  });

  void test('skip_auth and timeouts are those of the one route they are set for', async () => {
    const api = new Map([
      ['/v1/status', { timeoutMs: 0, skipAuth: true }],
      ['/v1/key/generate/', { timeoutMs: 0, skipAuth: true }],
      ['/v1/metrics', { timeoutMs: 17_000, skipAuth: false }],
    ]);
    const server = await start({ api });
    const ask = (apiKey: KesApiKey | undefined, method: string, path: string) =>
      callHttp1(server, apiKey, { method, path });
    assert.equal((await ask(undefined, 'GET', '/v1/status')).status, 200);
    assert.equal((await ask(stranger, 'GET', '/v1/status')).status, 200);
    assert.equal((await ask(undefined, 'PUT', '/v1/key/generate/app-key')).status, 200);
    assert.equal((await ask(undefined, 'PUT', '/v1/key/decrypt/app-key')).status, 400);
    assert.equal((await ask(stranger, 'PUT', '/v1/key/decrypt/app-key')).status, 403);
    const routes = JSON.parse((await ask(admin, 'GET', '/v1/api')).body) as {
      path: string;
      timeout: number;
    }[];
    const timeoutOf = (path: string) => routes.find((route) => route.path === path)?.timeout;
    assert.deepEqual([timeoutOf('/v1/metrics'), timeoutOf('/v1/status')], [17, 15]);
  });

  void test('no CA names are advertised while certificates are not verified', async () => {
    const server = await start();
    const socket = tlsConnect({
      port: server.address.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...filesOf(app),
    });
    await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()));
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    socket.destroy();
    await server.close();
  });

  void test('a listed proxy speaks for the client it forwards, others cannot', async () => {
    const tls = {
      ...config.tls,
      proxy: { identities: [proxy.identity], certHeader: 'X-Tls-Client-Cert' },
    };
    const events: AuditEvent[] = [];
    const server = await start({ tls }, { audit: { record: (event) => void events.push(event) } });
    const forwarded = encodeURIComponent(filesOf(app).cert);
    const ask = (apiKey: KesApiKey, headers: Record<string, string>) => {
      const session = open(server, apiKey);
      return new Promise<number>((resolve, reject) => {
        const stream = session.request({ ':path': '/v1/status', ...headers });
        stream.on('response', (received) => resolve(Number(received[':status'])));
        stream.on('error', reject);
        stream.on('close', () => session.close());
        stream.resume();
      });
    };
    const header = { 'x-tls-client-cert': forwarded, 'x-forwarded-for': '10.1.2.3:55, 10.0.0.1' };
    assert.equal(await ask(proxy, header), 200);
    assert.deepEqual([events[0]?.identity, events[0]?.ip], [app.identity, '10.1.2.3']);
    assert.equal(await ask(proxy, {}), 400);
    assert.equal(await ask(proxy, { 'x-tls-client-cert': 'AAAA' }), 400);
    assert.equal(await ask(stranger, header), 403);
    const authority = encodeURIComponent(await authorityCertificate());
    assert.equal(await ask(proxy, { ...header, 'x-tls-client-cert': authority }), 400);
    const noAddress = { ...header, 'x-forwarded-for': 'unknown, 10.0.0.1' };
    assert.equal(await ask(proxy, noAddress), 200);
    assert.equal(events.at(-1)?.ip, '127.0.0.1');
    await server.close();
  });
});

/** The certificate of a certificate authority, self-signed. */
async function authorityCertificate(): Promise<string> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=authority',
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new BasicConstraintsExtension(true)],
  });
  return certificate.toString('pem');
}

/** One request on a connection of its own; the answer is empty when there is none. */
async function askHttp1(
  port: number,
  files: { readonly cert: string; readonly key: string },
  session?: Buffer,
): Promise<{ readonly answer: string; readonly ticket: Buffer | undefined }> {
  const socket = tlsConnect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...files,
    ...(session === undefined ? {} : { session }),
  });
  let answer = '';
  let ticket: Buffer | undefined;
  socket.on('session', (received: Buffer) => {
    ticket = received;
  });
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
  });
  socket.write('GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return { answer, ticket };
}

void describe('resumed TLS sessions', () => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    void test(`keep the client's identity with ${maxVersion}`, async () => {
      const events: AuditEvent[] = [];
      const server = await start({}, { audit: { record: (event) => void events.push(event) } });
      const ask = (session: Buffer | undefined) =>
        new Promise<{ session: Buffer | undefined; isReused: boolean }>((resolve, reject) => {
          const socket = tlsConnect({
            port: server.address.port,
            host: '127.0.0.1',
            rejectUnauthorized: false,
            maxVersion,
            ALPNProtocols: ['http/1.1'],
            ...(session === undefined ? {} : { session }),
            ...filesOf(app),
          });
          let ticket = maxVersion === 'TLSv1.2' ? undefined : session;
          socket.on('session', (received: Buffer) => {
            ticket = received;
          });
          socket.on('error', reject);
          socket.write('GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
          socket.resume();
          let isReused = false;
          socket.on('secureConnect', () => {
            isReused = socket.isSessionReused();
          });
          socket.on('close', () => resolve({ session: ticket, isReused }));
        });
      const first = await ask(undefined);
      const second = await ask(first.session);
      assert.equal(second.isReused, true);
      assert.deepEqual(
        events.map(({ status, identity }) => [status, identity]),
        [
          [200, app.identity],
          [200, app.identity],
        ],
      );
      await server.close();
    });
  }
});

void describe('limits', () => {
  void test('a request that outlives its route is cut off without an answer', async () => {
    const api = new Map([['/v1/key/decrypt/', { timeoutMs: 100, skipAuth: false }]]);
    const server = await start({ api });
    const session = open(server, admin);
    const stream = session.request({ ':method': 'PUT', ':path': '/v1/key/decrypt/app-key' });
    stream.write('{"ciphertext":"');
    const code = await new Promise((resolve) => {
      stream.on('error', () => {});
      stream.on('close', () => resolve(stream.rstCode));
    });
    assert.equal(code, constants.NGHTTP2_CANCEL);
    session.close();
    await server.close();
  });

  void test('a client that never finishes its header is cut off', { timeout: 20_000 }, async () => {
    const server = await start();
    const socket = tlsConnect({
      port: server.address.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      ...filesOf(admin),
    });
    socket.write('GET /version HTTP/1.1\r\nHost: x\r\n');
    socket.on('error', () => {});
    socket.resume();
    await new Promise<void>((resolve) => socket.on('close', () => resolve()));
    await server.close();
  });

  void test('garbage instead of HTTP or TLS does no harm', async () => {
    const server = await start();
    const files = filesOf(admin);
    const at = { port: server.address.port, host: '127.0.0.1', rejectUnauthorized: false };
    for (const ALPNProtocols of [['h2'], ['http/1.1']]) {
      const socket = tlsConnect({ ...at, ...files, ALPNProtocols });
      socket.on('error', () => {});
      socket.write('\0garbage\r\n\r\n'.repeat(50));
      socket.resume();
      await new Promise<void>((resolve) => socket.on('close', () => resolve()));
    }
    assert.equal((await callHttp1(server, admin, { method: 'GET', path: '/version' })).status, 200);
    await server.close();
  });
});
