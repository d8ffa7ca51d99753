// Who a TLS client is: the SHA-256 of the public key in its certificate, taken as the very bytes inside the
// certificate (docs/formats/kes-protocol.md, "Identity"). Subject, dates and issuer do not matter.

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { certificateIdentity } from '../wire/kes-identity.ts';

/** A peer as one connection shows it; `problem` is why it has no identity. */
export type Peer =
  | { readonly identity: string; readonly ip: string; readonly certificate: X509Certificate }
  | { readonly problem: string; readonly ip: string };

export const noCertificate = 'tls: client certificate is required';
export const manyCertificates = 'tls: received more than one client certificate';

/**
 * The peer of a finished handshake. Only the certificate whose key the client proved to hold counts; one
 * that says it is a CA is no client certificate.
 */
export function readPeer(socket: TLSSocket): Peer {
  const ip = plainIp(socket.remoteAddress ?? '');
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined || leaf.ca) return { problem: noCertificate, ip };
  const seen = new Set([leaf.fingerprint256]);
  for (let next = leaf.issuerCertificate; next !== undefined; next = next.issuerCertificate) {
    if (seen.has(next.fingerprint256)) break;
    seen.add(next.fingerprint256);
    if (!next.ca) return { problem: manyCertificates, ip };
  }
  return { identity: certificateIdentity(leaf.raw), ip, certificate: leaf };
}

/** An address without zone, and IPv4 as IPv4. */
export function plainIp(address: string): string {
  return address.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '');
}
