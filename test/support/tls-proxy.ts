// A proxy reached over TLS whose certificate no authority has signed, for tests of who is trusted on the way.

import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createClientCertificate, generateApiKey } from '../../src/wire/kes-identity.ts';

export type TlsProxy = {
  readonly origin: string;
  readonly certificate: string;
  /** What it was asked to connect to; it refuses. */
  readonly asked: string[];
  close(): Promise<void>;
};

/** Listens on a free loopback port. */
export async function startTlsProxy(): Promise<TlsProxy> {
  const names = { dnsNames: ['localhost'], isServer: true };
  const tls = await createClientCertificate(generateApiKey(), names);
  const asked: string[] = [];
  const server = createServer(tls);
  server.on('connect', (request, socket) => {
    asked.push(request.url ?? '');
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo; // it listens on a port
  return {
    origin: `https://localhost:${port}`,
    certificate: tls.cert,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Runs `work` with this proxy in the environment, and with `NODE_TLS_REJECT_UNAUTHORIZED=0`. */
export async function withTlsProxy(work: (proxy: TlsProxy) => Promise<void>): Promise<void> {
  const proxy = await startTlsProxy();
  const saved = { ...process.env };
  const names = ['HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy'];
  for (const name of names) delete process.env[name];
  process.env['HTTPS_PROXY'] = proxy.origin;
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  try {
    await work(proxy);
  } finally {
    for (const name of [...names, 'NODE_TLS_REJECT_UNAUTHORIZED']) {
      if (saved[name] === undefined) delete process.env[name];
      else process.env[name] = saved[name];
    }
    await proxy.close();
  }
}
