// Writes and reads the few bytes of X.509 that the key service needs: a self-signed Ed25519 certificate
// (RFC 5280, RFC 8410) and the public key inside any certificate. Written here, and not with a library,
// because the library in reach needs a global polyfill and 100 ms to load. Rule kept here: a reader
// never looks outside the bytes it was given.

import type { KeyObject } from 'node:crypto';
import { createPublicKey, randomBytes, sign } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';

/** What goes into a certificate besides the key. */
export type CertificateFields = {
  /** Common name of subject and issuer. */
  readonly commonName: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly isClient?: boolean;
  readonly isServer?: boolean;
};

const oids = {
  ed25519: '06032b6570',
  commonName: '0603550403',
  subjectAltName: '0603551d11',
  basicConstraints: '0603551d13',
  keyUsage: '0603551d0f',
  extKeyUsage: '0603551d25',
  serverAuth: '06082b06010505070301',
  clientAuth: '06082b06010505070302',
} as const;

const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  version: 0xa0,
  extensions: 0xa3,
  dnsName: 0x82,
  ipAddress: 0x87,
} as const;

/**
 * A self-signed certificate for an Ed25519 key, PEM: random 128-bit serial, digital signature only, not a
 * CA. Asserts that the key is Ed25519; throws RangeError for an IP address that is none.
 */
export function createSelfSigned(privateKey: KeyObject, fields: CertificateFields): string {
  const algorithm = der(tags.sequence, hex(oids.ed25519));
  const name = der(
    tags.sequence,
    der(
      tags.set,
      der(tags.sequence, hex(oids.commonName), der(tags.utf8String, text(fields.commonName))),
    ),
  );
  const tbs = der(
    tags.sequence,
    der(tags.version, der(tags.integer, Buffer.of(2))),
    der(tags.integer, randomSerial()),
    algorithm,
    name,
    der(tags.sequence, time(fields.notBefore), time(fields.notAfter)),
    name,
    createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    der(tags.extensions, der(tags.sequence, ...extensions(fields))),
  );
  const signature = sign(null, tbs, privateKey);
  return toPem(der(tags.sequence, tbs, algorithm, bitString(signature)));
}

/**
 * The raw SubjectPublicKeyInfo of a DER certificate; undefined when the bytes are cut short or shaped
 * differently. The path to it:
 *
 *     Certificate { tbs { [0] version?, serial, algorithm, issuer, validity, subject, SPKI, … }, … }
 */
export function findSubjectPublicKeyInfo(certificate: Buffer): Buffer | undefined {
  const outer = readDer(certificate, 0);
  const tbs = outer && readDer(certificate, outer.content);
  if (!tbs) return undefined;
  let value = readDer(certificate, tbs.content);
  let skip = value?.tag === tags.version ? 6 : 5;
  while (value && skip > 0) {
    value = readDer(certificate, value.end);
    skip -= 1;
  }
  return value && certificate.subarray(value.start, value.end);
}

function extensions(fields: CertificateFields): Buffer[] {
  const usages: Buffer[] = [];
  if (fields.isServer) usages.push(hex(oids.serverAuth));
  if (fields.isClient) usages.push(hex(oids.clientAuth));
  const names = [
    ...(fields.dnsNames ?? []).map((name) => der(tags.dnsName, text(name))),
    ...(fields.ipAddresses ?? []).map((address) => der(tags.ipAddress, addressBytes(address))),
  ];
  const digitalSignature = Buffer.of(tags.bitString, 2, 7, 0x80);
  const list = [
    extension(oids.keyUsage, { isCritical: true, value: digitalSignature }),
    extension(oids.extKeyUsage, { isCritical: false, value: der(tags.sequence, ...usages) }),
    extension(oids.basicConstraints, { isCritical: true, value: der(tags.sequence) }),
  ];
  if (names.length > 0) {
    const value = der(tags.sequence, ...names);
    list.push(extension(oids.subjectAltName, { isCritical: false, value }));
  }
  return list;
}

function extension(oid: string, body: { isCritical: boolean; value: Buffer }): Buffer {
  const critical = body.isCritical ? [der(tags.boolean, Buffer.of(0xff))] : [];
  return der(tags.sequence, hex(oid), ...critical, der(tags.octetString, body.value));
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const size = content.length;
  const head =
    size < 0x80
      ? Buffer.of(tag, size)
      : size < 0x100
        ? Buffer.of(tag, 0x81, size)
        : Buffer.of(tag, 0x82, size >> 8, size & 0xff);
  return Buffer.concat([head, content]);
}

/** Positive and without a leading zero byte, so that its DER has one form and one length. */
function randomSerial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}

/** RFC 5280: UTCTime up to 2049, GeneralizedTime after; whole seconds, UTC. */
function time(date: Date): Buffer {
  const digits = date
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '');
  if (date.getUTCFullYear() < 2050) return der(tags.utcTime, text(digits.slice(2)));
  return der(tags.generalizedTime, text(digits));
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  if (!isIPv6(address) || address.includes('%') || address.includes('.')) {
    throw new RangeError(`not an IP address: ${address}`);
  }
  const [head = '', tail] = address.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return hex([...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join(''));
}

function bitString(bytes: Buffer): Buffer {
  return der(tags.bitString, Buffer.of(0), bytes);
}

function hex(digits: string): Buffer {
  return Buffer.from(digits, 'hex');
}

function text(value: string): Buffer {
  return Buffer.from(value, 'utf8');
}

function toPem(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

/** Where a DER value starts, where its content starts, where it ends. */
type DerValue = {
  readonly tag: number;
  readonly start: number;
  readonly content: number;
  readonly end: number;
};

function readDer(bytes: Buffer, start: number): DerValue | undefined {
  const tag = bytes[start];
  const first = bytes[start + 1];
  if (tag === undefined || first === undefined) return undefined;
  const count = first < 0x80 ? 0 : first & 0x7f;
  const content = start + 2 + count;
  if ((first >= 0x80 && count === 0) || count > 4 || content > bytes.length) return undefined;
  const end = content + (count === 0 ? first : bytes.readUIntBE(start + 2, count));
  return end > bytes.length ? undefined : { tag, start, content, end };
}
