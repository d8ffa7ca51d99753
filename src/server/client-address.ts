// Where a request came from, when a worker that was replaced passed it on: the connection is then one of our
// own, and the address travels in a header that only our own workers can seal. What anybody else sends there
// is not believed.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Lower case, as `node:http` names it. */
export const clientAddressHeader = 'x-coffer-client-address';

/** The value of the header: the address and its seal. `key` is known to the workers of one supervisor. */
export function sealClientAddress(key: string, address: string): string {
  return `${address} ${sealOf(key, address)}`;
}

/** The address of the client: the sealed one, or else the peer's. */
export function clientAddressOf(key: string, request: IncomingMessage): string | undefined {
  const header = request.headers[clientAddressHeader];
  if (typeof header === 'string') {
    const [address = '', seal = ''] = header.split(' ', 2);
    const given = Buffer.from(seal, 'hex');
    const expected = Buffer.from(sealOf(key, address), 'hex');
    if (given.length === expected.length && timingSafeEqual(given, expected)) return address;
  }
  return request.socket.remoteAddress;
}

function sealOf(key: string, address: string): string {
  return createHmac('sha256', key).update(`client address ${address}`).digest('hex');
}
