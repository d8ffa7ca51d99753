import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';

import { createForwarder } from './forward.ts';

async function listen(listener: RequestListener) {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on TCP has an address object.
  const { port } = server.address() as AddressInfo;
  const dispose = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { port, [Symbol.dispose]: dispose };
}

void test('what is forwarded has the headers and the body it came with, and no length of its own', async () => {
  using target = await listen((req, res) => {
    let body = '';
    req.setEncoding('utf8').on('data', (text: string) => (body += text));
    req.on('end', () => res.end(JSON.stringify({ headers: req.rawHeaders, body })));
  });
  const forward = createForwarder({ host: '127.0.0.1', port: target.port, isTls: false });
  using edge = await listen(forward);
  const ask = async (head: string, body = ''): Promise<{ headers: string[]; body: string }> => {
    const socket = connect(edge.port, '127.0.0.1');
    socket.write(`${head}\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n${body}`);
    let text = '';
    for await (const part of socket.setEncoding('utf8') as AsyncIterable<string>) text += part;
    return JSON.parse(/\{.*\}/.exec(text)?.[0] ?? '{}');
  };
  const own = ['Host', 'h', 'X-A', '1', 'X-A', '2', 'Connection', 'close'];
  for (const method of ['PUT', 'POST', 'GET', 'DELETE']) {
    const got = await ask(`${method} /b/k HTTP/1.1`);
    assert.equal(got.body, '');
    assert.deepEqual(
      got.headers.map(String).join().toLowerCase(),
      own.join().toLowerCase(),
      method,
    );
  }
  const sized = await ask('PUT /b/k HTTP/1.1\r\nContent-Length: 2', 'hi');
  assert.equal(sized.body, 'hi');
  assert.ok(sized.headers.includes('Content-Length'));
  const chunked = await ask(
    'PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked',
    '2\r\nhi\r\n0\r\n\r\n',
  );
  assert.equal(chunked.body, 'hi');
});
