// Makes the self-signed Ed25519 certificates of the key service (RFC 5280, RFC 8410) and finds the public
// key inside any certificate. The making is left to a library, which is loaded with the first certificate:
// it costs 100 ms that most commands need not pay. The finding is written here, because an identity is
// taken over the bytes as they stand and the library gives a re-encoding of them. Rule kept here: a reader
// never looks outside the bytes it was given.

import type { KeyObject } from 'node:crypto';
import { createPublicKey, webcrypto } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';
import type { Extension } from '@peculiar/x509';

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

/** The tag of `[0] version` in a TBSCertificate. */
const versionTag = 0xa0;

/**
 * A self-signed certificate for an Ed25519 key, PEM: random 128-bit serial, digital signature only, not a
 * CA. Rejects with RangeError for an IP address that is none or a DNS name that is not ASCII, and with the
 * error of `KeyObject.toCryptoKey` for a key that is not Ed25519.
 */
export async function createSelfSigned(
  privateKey: KeyObject,
  fields: CertificateFields,
): Promise<string> {
  const x509 = await loadLibrary();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      // Not given as text, where a comma, a backslash or a number sign has a meaning.
      name: new x509.Name([{ CN: [{ utf8String: fields.commonName }] }]),
      notBefore: fields.notBefore,
      notAfter: fields.notAfter,
      keys: {
        privateKey: privateKey.toCryptoKey('Ed25519', false, ['sign']),
        publicKey: createPublicKey(privateKey).toCryptoKey('Ed25519', true, ['verify']),
      },
      extensions: extensions(x509, fields),
    },
    webcrypto,
  );
  return `${certificate.toString('pem').trimEnd()}\n`;
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
  let skip = value?.tag === versionTag ? 6 : 5;
  while (value && skip > 0) {
    value = readDer(certificate, value.end);
    skip -= 1;
  }
  return value && certificate.subarray(value.start, value.end);
}

type Library = typeof import('@peculiar/x509');

async function loadLibrary(): Promise<Library> {
  await import('reflect-metadata'); // the library refuses to load without this polyfill
  return import('@peculiar/x509');
}

function extensions(x509: Library, fields: CertificateFields): Extension[] {
  const usages: string[] = [];
  if (fields.isServer) usages.push(x509.ExtendedKeyUsage.serverAuth);
  if (fields.isClient) usages.push(x509.ExtendedKeyUsage.clientAuth);
  const names = [
    ...(fields.dnsNames ?? []).map((name) => ({ type: 'dns', value: checkDnsName(name) }) as const),
    ...(fields.ipAddresses ?? []).map(
      (address) => ({ type: 'ip', value: checkAddress(address) }) as const,
    ),
  ];
  const list: Extension[] = [
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension(usages),
    new x509.BasicConstraintsExtension(false, undefined, true),
  ];
  if (names.length > 0) list.push(new x509.SubjectAlternativeNameExtension(names));
  return list;
}

/** The library misreads an IPv6 address with an IPv4 tail or a zone, and takes some that are none. */
function checkAddress(address: string): string {
  const isPlainIPv6 = isIPv6(address) && !address.includes('%') && !address.includes('.');
  if (!isIPv4(address) && !isPlainIPv6) throw new RangeError(`not an IP address: ${address}`);
  return address;
}

function checkDnsName(name: string): string {
  if (!/^[\x21-\x7e]+$/.test(name)) throw new RangeError(`not a DNS name: ${name}`);
  return name;
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
