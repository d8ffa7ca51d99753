// A network cable between a client and a server: a TCP proxy that can be cut, either so that everybody
// notices (connections end, new ones are refused) or so that nobody does (bytes stay in the middle).

import { connect, createServer, type Server, type Socket } from 'node:net';

export type LinkState = 'up' | 'reset' | 'silent';

export type NetworkLink = {
  /** Where it listens, on loopback. */
  readonly port: number;
  /** `up` heals: what waited in the middle of a silent cut arrives. */
  set(state: LinkState): void;
  close(): Promise<void>;
};

/** Starts a link to a port on loopback; the caller closes it. */
export async function startNetworkLink(targetPort: number): Promise<NetworkLink> {
  let state: LinkState = 'up';
  const sockets = new Set<Socket>();
  const own = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  };
  const server: Server = createServer((client) => {
    own(client);
    if (state === 'reset') {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(targetPort, '127.0.0.1');
    own(upstream);
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.on('data', (chunk) => upstream.write(chunk));
    upstream.on('data', (chunk) => client.write(chunk));
    if (state === 'silent') for (const socket of [client, upstream]) socket.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    set(next) {
      state = next;
      for (const socket of sockets) {
        if (next === 'reset') socket.resetAndDestroy();
        else if (next === 'silent') socket.pause();
        else socket.resume();
      }
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
