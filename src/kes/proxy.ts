// A TLS proxy in front of the service forwards the client's certificate in a header. A listed proxy is
// trusted for every identity, the admin's included; everybody else's headers are ignored.

import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { certificateIdentity } from '../wire/kes-identity.ts';
import type { KesTlsConfig } from './config/config.ts';
import { KesHttpError } from './errors.ts';
import type { KesRequest } from './exchange.ts';
import { type Peer, plainIp } from './identity.ts';

const clientAuthUsage = '1.3.6.1.5.5.7.3.2';

/** Finds out who really asks. `roots` are used when client certificates are verified. */
export function createPeerResolver(
  config: KesTlsConfig,
  deps: { readonly roots: readonly string[]; readonly nowMs: () => number },
): (peer: Peer, request: KesRequest) => Peer {
  const proxies = new Set(config.proxy.identities);
  if (proxies.size === 0) return (peer) => peer;
  const roots = deps.roots.map((pem) => new X509Certificate(pem));
  const header = config.proxy.certHeader.toLowerCase();
  return (peer, request) => {
    if (!('identity' in peer) || !proxies.has(peer.identity)) return peer;
    const certificate = forwardedCertificate(header === '' ? [] : request.headers(header));
    if (config.auth === 'on' && !isTrusted(certificate, { roots, nowMs: deps.nowMs() })) {
      throw new KesHttpError(403, '');
    }
    const ip = forwardedIp(request.headers('x-forwarded-for')) ?? peer.ip;
    return { identity: certificateIdentity(certificate.raw), certificate, ip };
  };
}

/**
 * The certificate in the header values: exactly one, query-escaped PEM, and not that of a CA, which is no
 * client certificate over TLS either. Throws `KesHttpError`.
 */
export function forwardedCertificate(values: readonly string[]): X509Certificate {
  const [value] = values;
  if (value === undefined) throw new KesHttpError(400, 'no client certificate is present');
  if (values.length > 1) throw new KesHttpError(400, 'too many client certificates are present');
  const certificate = readForwarded(value);
  if (certificate === undefined || certificate.ca) {
    throw new KesHttpError(400, 'invalid client certificate');
  }
  return certificate;
}

function readForwarded(value: string): X509Certificate | undefined {
  try {
    const pem = decodeURIComponent(value.replace(/\+/g, ' '));
    return /^\s*-----BEGIN CERTIFICATE-----/.test(pem) ? new X509Certificate(pem) : undefined;
  } catch {
    return undefined;
  }
}

function forwardedIp(values: readonly string[]): string | undefined {
  const first = values[0]?.split(',')[0]?.trim() ?? '';
  if (isIP(first) !== 0) return plainIp(first);
  const host = /^\[(.*)\]:\d+$|^([^:]*):\d+$/.exec(first);
  const address = host?.[1] ?? host?.[2] ?? '';
  return isIP(address) === 0 ? undefined : plainIp(address);
}

function isTrusted(
  certificate: X509Certificate,
  deps: { readonly roots: readonly X509Certificate[]; readonly nowMs: number },
): boolean {
  const { nowMs } = deps;
  const isValid = (each: X509Certificate) =>
    each.validFromDate.getTime() <= nowMs && nowMs <= each.validToDate.getTime();
  // The certificate's extended key usages, by number; absent when it has none.
  const usages: readonly string[] | undefined = certificate.keyUsage;
  if (usages !== undefined && !usages.includes(clientAuthUsage)) return false;
  return (
    isValid(certificate) &&
    deps.roots.some(
      (root) =>
        isValid(root) && certificate.checkIssued(root) && certificate.verify(root.publicKey),
    )
  );
}
