import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, constants } from 'node:http2';
import { connect as tcpConnect } from 'node:net';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import {
  type Answer,
  type Call,
  callHttp2,
  createKesFixture,
} from '../../../test/support/kes-server.ts';
import type { KesApiKey } from '../../wire/kes-identity.ts';
import type { KesServer } from './service.ts';

const kes = await createKesFixture();
const { admin, app, stranger, start, open, filesOf, callHttp1 } = kes;
after(() => kes.closeAll());

/** Short times: what takes seconds in service takes a moment here. */
const limits = {
  headerTimeoutMs: 150,
  idleTimeoutMs: 300,
  discardMs: 100,
  renewMs: 300,
  checkMs: 25,
};
const status: Call = { method: 'GET', path: '/v1/status' };
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** A finished handshake, and what it takes until the other end hangs up. */
async function handshake(server: KesServer, protocol: string, apiKey: KesApiKey = admin) {
  const socket = tlsConnect({
    port: server.address.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
    ...filesOf(apiKey),
  });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
  return { socket: socket.resume(), closed };
}

/** One HTTP/2 frame: length, type, flags, stream, payload. */
function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const settingsFrame = frame(4, 0, 0);

/** HEADERS of a whole GET request without a body. */
function getFrame(stream: number, path: string): Buffer {
  // :method GET and :scheme https by index, :authority and :path with a text.
  const text = Buffer.from(path);
  const block = Buffer.concat([Buffer.of(0x82, 0x87, 0x01, 1, 120, 0x04, text.length), text]);
  return frame(1, 0x05, stream, block);
}

/** Sends a little again and again until the other end hangs up. */
async function drip(socket: TLSSocket, closed: Promise<void>, bytes: () => Buffer | string) {
  const timer = setInterval(() => socket.writable && socket.write(bytes()), 20);
  await closed;
  clearInterval(timer);
}

async function stillServes(server: KesServer): Promise<void> {
  const session = open(server, app);
  assert.equal((await callHttp2(session, status)).status, 200);
  assert.equal((await callHttp1(server, app, status)).status, 200);
  session.close();
}

void describe('slow and silent clients', () => {
  const slow: [
    what: string,
    protocol: string,
    bytes: () => Buffer | string,
    start: Buffer | string,
  ][] = [
    ['says nothing over HTTP/1.1', 'http/1.1', () => '', ''],
    ['drips its header over HTTP/1.1', 'http/1.1', () => 'x: y\r\n', 'GET /version HTTP/1.1\r\n'],
    ['says nothing over HTTP/2', 'h2', () => '', ''],
    ['drips the preface of HTTP/2', 'h2', () => '', preface.slice(0, 10)],
    ['sends no settings over HTTP/2', 'h2', () => '', preface],
    [
      'only pings over HTTP/2',
      'h2',
      () => frame(6, 0, 0, Buffer.alloc(8)),
      Buffer.concat([Buffer.from(preface), settingsFrame]),
    ],
    [
      'never finishes a header over HTTP/2',
      'h2',
      () => '',
      // HEADERS without END_HEADERS: the CONTINUATION never comes.
      Buffer.concat([Buffer.from(preface), settingsFrame, frame(1, 0, 1, Buffer.of(0x82))]),
    ],
  ];
  for (const [what, protocol, bytes, first] of slow) {
    void test(`one that ${what} is cut off, and nobody else notices`, async () => {
      // Whoever has said hello is idle; the others have a shorter time.
      const isIdle = Buffer.from(first).includes(settingsFrame);
      const own = isIdle ? limits : { ...limits, idleTimeoutMs: 60_000 };
      const server = await start({}, { limits: own });
      const { socket, closed } = await handshake(server, protocol);
      if (first.length > 0) socket.write(first);
      await stillServes(server);
      await drip(socket, closed, bytes);
      await stillServes(server);
    });
  }

  void test('a handshake that does not end is cut off, with and without a first byte', async () => {
    const server = await start({}, { limits });
    for (const first of ['', '\x16\x03\x01\x02\x00\x01', 'GET / HTTP/1.1\r\n\r\n']) {
      const socket = tcpConnect(server.address.port, '127.0.0.1');
      socket.on('error', () => {});
      const closed = new Promise((resolve) => socket.resume().once('close', resolve));
      if (first !== '') socket.write(first, 'latin1');
      await stillServes(server);
      await closed;
    }
  });

  void test('many open handshakes do not keep others out', async () => {
    const server = await start({}, { limits: { ...limits, headerTimeoutMs: 2_000 } });
    const sockets = Array.from({ length: 300 }, () => tcpConnect(server.address.port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    await stillServes(server);
    for (const socket of sockets) socket.destroy();
  });

  void test('an idle connection is closed, one with a request or a log stream is not', async () => {
    const server = await start({}, { limits });
    const [idle, listening] = [open(server, app), open(server, admin)];
    const logs = listening.request({ ':path': '/v1/log/audit' });
    await once(logs, 'response');
    await callHttp2(idle, status);
    const { socket, closed } = await handshake(server, 'http/1.1');
    socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
    await Promise.all([once(idle, 'close'), closed]);
    assert.equal(listening.closed || logs.closed, false);
    assert.equal((await callHttp2(listening, status)).status, 200);
  });

  void test('a body that drips is dropped at the deadline of its route', async () => {
    const api = new Map([['/v1/key/decrypt/', { timeoutMs: 150, skipAuth: false }]]);
    const server = await start({ api }, { limits });
    const { socket, closed } = await handshake(server, 'http/1.1');
    socket.write(
      'PUT /v1/key/decrypt/app-key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{',
    );
    await drip(socket, closed, () => ' ');
    const stream = open(server, admin).request({
      ':method': 'PUT',
      ':path': '/v1/key/decrypt/app-key',
    });
    stream.on('error', () => {});
    stream.write('{');
    await once(stream, 'close');
    assert.equal(stream.rstCode, constants.NGHTTP2_CANCEL);
    await stillServes(server);
  });

  void test('a refused body that drips does not keep its connection', async () => {
    const server = await start({}, { limits });
    const { socket, closed } = await handshake(server, 'http/1.1', stranger);
    socket.write(
      'PUT /v1/key/decrypt/app-key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{',
    );
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 403 /);
    await drip(socket, closed, () => ' ');
  });

  void test('an answer that nobody takes is dropped at the deadline of its route', async () => {
    const api = new Map([['/v1/metrics', { timeoutMs: 150, skipAuth: false }]]);
    const server = await start({ api }, { limits });
    const { socket, closed } = await handshake(server, 'h2');
    // INITIAL_WINDOW_SIZE 0: nothing of a body may be sent, ever.
    const noWindow = frame(4, 0, 0, Buffer.of(0, 4, 0, 0, 0, 0));
    const received: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.write(Buffer.concat([Buffer.from(preface), noWindow, getFrame(1, '/v1/metrics')]));
    const reset = frame(3, 0, 1, Buffer.of(0, 0, 0, constants.NGHTTP2_CANCEL));
    while (!Buffer.concat(received).includes(reset)) await once(socket, 'data');
    socket.destroy();
    await closed;
  });
});

void describe('greedy clients', () => {
  void test('bodies share a limit of memory, beyond which they are refused for now', async () => {
    const server = await start(
      {},
      { limits: { ...limits, connectionBodyBytesMax: 300_000, bodyBytesMax: 500_000 } },
    );
    const half = (session: ClientHttp2Session): Promise<Answer> => {
      const body = `{"plaintext":"${'A'.repeat(199_900)}"}`;
      return callHttp2(session, { method: 'PUT', path: '/v1/key/encrypt/app-key', body });
    };
    const hold = (session: ClientHttp2Session) => {
      const stream = session.request({ ':method': 'PUT', ':path': '/v1/key/encrypt/app-key' });
      stream.on('error', () => {});
      stream.write(`{"plaintext":"${'A'.repeat(199_000)}`);
      return stream;
    };
    const [one, two, three] = [open(server, admin), open(server, admin), open(server, admin)];
    assert.equal((await half(one)).status, 200);
    const held = hold(one);
    // What is held must have arrived before the next one can fail for it.
    while ((await half(one)).status === 200) await sleep(5);
    assert.equal((await half(two)).status, 200);
    const other = hold(two);
    while ((await half(three)).status === 200) await sleep(5);
    assert.match((await half(three)).body, /too many requests with a body at once/);
    assert.equal((await callHttp2(three, status)).status, 200);
    held.close();
    other.close();
    while ((await half(three)).status !== 200) await sleep(5);
    assert.equal((await half(one)).status, 200);
  });

  void test('many requests at a time on one connection are all answered', async () => {
    const server = await start();
    const session = open(server, app);
    const generate = { method: 'PUT', path: '/v1/key/generate/app-key' };
    const answers = await Promise.all(
      Array.from({ length: 900 }, () => callHttp2(session, generate)),
    );
    assert.ok(answers.every((answer) => answer.status === 200));
    session.close();
  });

  void test('headers beyond the limit are refused', async () => {
    const server = await start({}, { limits });
    const session = open(server, app);
    const big = { 'x-big': 'x'.repeat(100_000) };
    await assert.rejects(callHttp2(session, { ...status, headers: big }));
    const answer = await callHttp1(server, app, { ...status, headers: big }).catch(() => undefined);
    assert.ok(answer === undefined || answer.status >= 400);
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`x-${at}`, 'y']));
    const next = open(server, app);
    await callHttp2(next, { ...status, headers: many }).catch(() => undefined);
    await stillServes(server);
  });

  void test('a flood of header pieces ends the connection', async () => {
    const server = await start({}, { limits });
    const { socket, closed } = await handshake(server, 'h2');
    socket.write(preface);
    socket.write(settingsFrame);
    socket.write(frame(1, 0, 1, Buffer.of(0x82, 0x87)));
    // A header that is never indexed, again and again in CONTINUATION frames.
    const literal = Buffer.concat([
      Buffer.of(0x10, 1, 0x78, 0x7f, 0x81, 0x3e),
      Buffer.alloc(8_192, 120),
    ]);
    for (let count = 0; count < 200 && socket.writable; count += 1) {
      socket.write(frame(9, 0, 1, literal));
      if (count % 20 === 0) await sleep(1);
    }
    await closed;
    await stillServes(server);
  });

  void test('requests that are reset at once end the connection, and nobody else notices', async () => {
    const events: string[] = [];
    const server = await start(
      {},
      { limits, audit: { record: (event) => void events.push(event.path) } },
    );
    const { socket, closed } = await handshake(server, 'h2', app);
    socket.write(Buffer.concat([Buffer.from(preface), settingsFrame]));
    let stream = 1;
    for (let round = 0; round < 100 && socket.writable; round += 1) {
      const frames: Buffer[] = [];
      for (let count = 0; count < 100; count += 1, stream += 2) {
        frames.push(getFrame(stream, '/v1/status'), frame(3, 0, stream, Buffer.of(0, 0, 0, 8)));
      }
      socket.write(Buffer.concat(frames));
      await sleep(1);
    }
    await closed;
    assert.ok(events.length < 5_000, `${events.length} requests were served`);
    await stillServes(server);
  });

  void test('pings and settings without end do no harm', async () => {
    const server = await start({}, { limits });
    for (const flood of [frame(6, 0, 0, Buffer.alloc(8)), settingsFrame]) {
      const { socket } = await handshake(server, 'h2');
      socket.pause();
      socket.write(Buffer.concat([Buffer.from(preface), settingsFrame]));
      for (let count = 0; count < 50 && socket.writable; count += 1) {
        socket.write(Buffer.concat(Array.from({ length: 200 }, () => flood)));
        await sleep(0);
      }
      await stillServes(server);
      socket.destroy();
    }
  });

  void test('connections that vanish in the middle of anything leave nothing behind', async () => {
    const server = await start({}, { limits });
    for (let round = 0; round < 20; round += 1) {
      for (const protocol of ['h2', 'http/1.1']) {
        const { socket, closed } = await handshake(server, protocol);
        socket.write(protocol === 'h2' ? preface : 'PUT /v1/key/decrypt/app-key HTTP/1.1\r\n');
        socket.destroy();
        await closed;
      }
      const session = open(server, admin);
      const stream = session.request({ ':method': 'PUT', ':path': '/v1/key/decrypt/app-key' });
      stream.on('error', () => {});
      stream.write('{');
      await once(session, 'connect');
      session.destroy();
    }
    await stillServes(server);
  });
});
