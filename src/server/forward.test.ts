import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';

import { clientAddressHeader, clientAddressOf, sealClientAddress } from './client-address.ts';
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
  const forward = createForwarder({
    host: '127.0.0.1',
    port: target.port,
    isTls: false,
    forwardKey: 'key',
  });
  using edge = await listen(forward);
  const ask = async (head: string, body = ''): Promise<{ headers: string[]; body: string }> => {
    const socket = connect(edge.port, '127.0.0.1');
    socket.write(`${head}\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n${body}`);
    let text = '';
    for await (const part of socket.setEncoding('utf8') as AsyncIterable<string>) text += part;
    const answer = JSON.parse(/\{.*\}/.exec(text)?.[0] ?? '{}') as {
      headers: string[];
      body: string;
    };
    // The address of the client, sealed: another test is about that.
    const at = answer.headers.findIndex((name) => name.toLowerCase() === clientAddressHeader);
    if (at !== -1) answer.headers.splice(at, 2);
    return answer;
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

void test('the successors learn the address of the client, whatever it claims itself', async () => {
  const forwardKey = 'key';
  using target = await listen((req, res) => {
    res.end(JSON.stringify([clientAddressOf(forwardKey, req), req.headers[clientAddressHeader]]));
  });
  using edge = await listen(
    createForwarder({ host: '127.0.0.1', port: target.port, isTls: false, forwardKey }),
  );
  const ask = async (claim: string) => {
    const headers = claim === '' ? {} : { [clientAddressHeader]: claim };
    const answer = await fetch(`http://127.0.0.1:${edge.port}/`, { headers });
    return (await answer.json()) as [string, string];
  };
  const [address, sealed] = await ask('');
  assert.match(address, /127\.0\.0\.1$/);
  assert.match(sealed, /^\S+ [0-9a-f]{64}$/);
  assert.equal((await ask(`10.0.0.1 ${'0'.repeat(64)}`))[0], address);
  // What another worker has passed on before keeps its address.
  assert.equal((await ask(sealClientAddress(forwardKey, '10.0.0.1')))[0], '10.0.0.1');
});
