// The address of a client survives being passed on, and nobody else can claim one.

import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { clientAddressHeader, clientAddressOf, sealClientAddress } from './client-address.ts';

const key = 'k'.repeat(64);

function request(header?: string): IncomingMessage {
  const headers = header === undefined ? {} : { [clientAddressHeader]: header };
  return { headers, socket: { remoteAddress: '127.0.0.1' } } as unknown as IncomingMessage;
}

void test('a sealed address is believed, any other header is not', () => {
  for (const address of ['192.0.2.7', '2001:db8::1', '::ffff:192.0.2.7']) {
    const sealed = sealClientAddress(key, address);
    assert.equal(clientAddressOf(key, request(sealed)), address);
    for (const forged of [
      address,
      `${address} `,
      `${address} ${'0'.repeat(64)}`,
      sealed.replace(address, '192.0.2.8'),
      sealed.slice(0, -1),
      sealClientAddress('other', address),
    ]) {
      assert.equal(clientAddressOf(key, request(forged)), '127.0.0.1', forged);
    }
  }
  assert.equal(clientAddressOf(key, request()), '127.0.0.1');
});
