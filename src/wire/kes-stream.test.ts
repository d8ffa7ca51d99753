import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { KesClient } from './kes-client.ts';
import type { KesClientErrorCode } from './kes-error.ts';
import { KesClientError } from './kes-error.ts';
import { createClientCertificate, generateApiKey } from './kes-identity.ts';
import { kesLinesOf, parseLog } from './kes-stream.ts';

type Answer = (response: ServerResponse, server: { cut(): void }) => void;

/** A client of a server that answers every request in one way. */
async function clientOf(t: TestContext, allowHttp2: boolean, answer: Answer): Promise<KesClient> {
  const files = await createClientCertificate(generateApiKey(), {
    ipAddresses: ['127.0.0.1'],
    isServer: true,
  });
  const sockets = new Set<TLSSocket>();
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const serve = (_: unknown, response: unknown) => answer(response as ServerResponse, { cut });
  const server = allowHttp2 ? createSecureServer(files, serve) : createServer(files, serve);
  server.on('secureConnection', (socket: TLSSocket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.on('sessionError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  const client = new KesClient({
    endpoints: [`https://127.0.0.1:${port}`],
    tls: { ca: [files.cert] },
    retriesMax: 0,
    timeoutMs: 5000,
  });
  t.after(() => {
    client.close();
    cut();
    server.close();
  });
  return client;
}

function isError(code: KesClientErrorCode) {
  return (error: unknown) => error instanceof KesClientError && error.code === code;
}

for (const allowHttp2 of [true, false]) {
  const protocol = allowHttp2 ? 'HTTP/2' : 'HTTP/1.1';

  void test(`a log is read line by line until the server ends it, over ${protocol}`, async (t) => {
    const client = await clientOf(t, allowHttp2, (response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write('{"n":1}\n\n{"n":');
      setImmediate(() => response.end('2}\n{"text":"ä"}'));
    });
    const events = await Array.fromAsync(await client.openLog('audit'));
    assert.deepEqual(events, [{ n: 1 }, { n: 2 }, { text: 'ä' }]);
  });

  void test(`a log that is cut off is an error, over ${protocol}`, async (t) => {
    const client = await clientOf(t, allowHttp2, (response, { cut }) => {
      response.writeHead(200);
      response.write('{"n":1}\n');
      setTimeout(cut, 50);
    });
    const events = await client.openLog('error');
    assert.deepEqual((await events.next()).value, { n: 1 });
    await assert.rejects(events.next(), isError('connection'));
  });

  void test(`leaving the loop closes the stream, and a signal ends the wait, over ${protocol}`, async (t) => {
    const closed: Promise<unknown>[] = [];
    const client = await clientOf(t, allowHttp2, (response) => {
      closed.push(new Promise((resolve) => response.on('close', () => resolve(undefined))));
      response.writeHead(200);
      response.write('{"n":1}\n');
    });
    for await (const event of await client.openLog('audit')) {
      assert.deepEqual(event, { n: 1 });
      break;
    }
    await closed[0];
    const controller = new AbortController();
    const events = await client.openLog('audit', { signal: controller.signal });
    await events.next();
    const waiting = events.next();
    controller.abort();
    await assert.rejects(waiting, isError('aborted'));
    await closed[1];
  });

  void test(`a refused log has the error of the server, over ${protocol}`, async (t) => {
    const client = await clientOf(t, allowHttp2, (response) => {
      response.writeHead(403, { 'content-type': 'application/json' });
      response.end('{"message":"not authorized: insufficient permissions"}');
    });
    await assert.rejects(client.openLog('audit'), isError('not-allowed'));
  });

  void test(`a log that does not begin is given up, over ${protocol}`, async (t) => {
    const client = await clientOf(t, allowHttp2, () => {});
    const signal = AbortSignal.timeout(50);
    await assert.rejects(client.openLog('audit', { signal }), isError('aborted'));
  });
}

void test('a line without an end is not collected for ever', async () => {
  const endless = Readable.from(
    (function* chunks() {
      for (;;) yield Buffer.alloc(100_000, 'x');
    })(),
  );
  await assert.rejects(Array.fromAsync(kesLinesOf(endless)), isError('protocol'));
});

void test('a line that is no object is an error that does not quote it', async () => {
  for (const line of ['[]', 'secret', '1']) {
    const reading = Array.fromAsync(parseLog(Readable.from([Buffer.from(`${line}\n`)])));
    await assert.rejects(reading, (error: unknown) => {
      assert.ok(isError('protocol')(error) && error instanceof Error);
      return !error.message.includes('secret');
    });
  }
});
