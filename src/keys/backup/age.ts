// Files of age (age-encryption.org/v1) for X25519 recipients: what backups of keys are sealed in, so that
// they open with any implementation of age, and theirs with ours. A header that wraps a random file key for
// each recipient and is authenticated by it, then the payload in chunks of 64 KiB, the last one marked, so
// that nothing can be changed, reordered or cut. Nothing leaves before its chunk was checked.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { formatBech32, parseBech32 } from './bech32.ts';

/**
 * `invalid-key`: a text that is no recipient or identity. `invalid-file`: no age file, or one cut or
 * changed. `no-identity`: none of the identities opens it.
 */
export type AgeErrorCode = 'invalid-key' | 'invalid-file' | 'no-identity';

export class AgeError extends Error {
  readonly code: AgeErrorCode;
  constructor(code: AgeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AgeError';
    this.code = code;
  }
}

/** An X25519 key: who has the identity opens what was sealed to its recipient. */
export type AgeIdentity = { readonly privateKey: KeyObject; readonly recipient: AgeRecipient };
/** The 32 bytes of an X25519 public key. */
export type AgeRecipient = { readonly publicBytes: Buffer };

type Stanza = { readonly type: string; readonly args: readonly string[]; readonly body: Buffer };

const intro = 'age-encryption.org/v1';
const x25519Info = 'age-encryption.org/v1/X25519';
const armorBegin = '-----BEGIN AGE ENCRYPTED FILE-----';
const armorEnd = '-----END AGE ENCRYPTED FILE-----';
const recipientPrefix = 'age';
const identityPrefix = 'age-secret-key-';
/** White space before an armored file, at most. */
const armorSpaceMax = 1024;
const keyBytes = 32;
const fileKeyBytes = 16;
const tagBytes = 16;
const nonceBytes = 16;
const chunkBytes = 65_536;
const headerBytesMax = 1_048_576;
const bodyColumns = 64;
/** DER before the 32 bytes of an X25519 key. */
const pkcs8Prefix = Buffer.from('302e020100300506032b656e04220420', 'hex');
const spkiPrefix = Buffer.from('302a300506032b656e032100', 'hex');

// ---- keys -----------------------------------------------------------------------------------------

export function generateAgeIdentity(): AgeIdentity {
  return identityFrom(generateKeyPairSync('x25519').privateKey);
}

/** The identity of 32 secret bytes; the caller wipes them. */
export function ageIdentityOf(secret: Uint8Array): AgeIdentity {
  if (secret.length !== keyBytes) throw new AgeError('invalid-key', 'an identity has 32 bytes');
  const der = Buffer.concat([pkcs8Prefix, secret]);
  try {
    return identityFrom(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  } finally {
    der.fill(0);
  }
}

function identityFrom(privateKey: KeyObject): AgeIdentity {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return { privateKey, recipient: { publicBytes: spki.subarray(-keyBytes) } };
}

/** The 32 secret bytes; the caller wipes them. */
export function exportAgeIdentity(identity: AgeIdentity): Buffer {
  return identity.privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(-keyBytes);
}

/** `AGE-SECRET-KEY-1…`: secret. */
export function formatAgeIdentity(identity: AgeIdentity): string {
  const secret = exportAgeIdentity(identity);
  const text = formatBech32(identityPrefix, secret).toUpperCase();
  secret.fill(0);
  return text;
}

/** Throws `invalid-key`; the text never appears in it. */
export function parseAgeIdentity(text: string): AgeIdentity {
  const parsed = parseBech32(text);
  if (parsed?.prefix !== identityPrefix || parsed.bytes.length !== keyBytes) {
    throw new AgeError('invalid-key', 'not an age identity: expected AGE-SECRET-KEY-1…');
  }
  try {
    return ageIdentityOf(parsed.bytes);
  } finally {
    parsed.bytes.fill(0);
  }
}

/** The identities of a key file: one per line, `#` begins a comment. Throws `invalid-key`. */
export function parseAgeIdentities(text: string): AgeIdentity[] {
  const lines = text.split('\n').map((line) => line.trim());
  const found = lines.filter((line) => line !== '' && !line.startsWith('#')).map(parseAgeIdentity);
  if (found.length === 0) throw new AgeError('invalid-key', 'the file holds no age identity');
  return found;
}

/** `age1…` */
export function formatAgeRecipient(recipient: AgeRecipient): string {
  return formatBech32(recipientPrefix, recipient.publicBytes);
}

/** Throws `invalid-key`. */
export function parseAgeRecipient(text: string): AgeRecipient {
  const parsed = parseBech32(text);
  if (parsed?.prefix !== recipientPrefix || parsed.bytes.length !== keyBytes) {
    throw new AgeError('invalid-key', `'${text.slice(0, 80)}' is no age recipient: expected age1…`);
  }
  return { publicBytes: parsed.bytes };
}

// ---- sealing --------------------------------------------------------------------------------------

/** The age file of `source` for the recipients. Throws `invalid-key` without any. */
export async function* sealAge(
  recipients: readonly AgeRecipient[],
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  if (recipients.length === 0) throw new AgeError('invalid-key', 'there is no recipient');
  const fileKey = randomBytes(fileKeyBytes);
  const nonce = randomBytes(nonceBytes);
  const stanzas = recipients.map((recipient) => formatStanza(wrapFileKey(fileKey, recipient)));
  const header = `${intro}\n${stanzas.join('')}---`;
  const payloadKey = derive(fileKey, { salt: nonce, info: 'payload' });
  const mac = headerMac(fileKey, header);
  fileKey.fill(0);
  yield Buffer.from(`${header} ${base64Of(mac)}\n`);
  yield nonce;
  try {
    let counter = 0;
    for await (const { chunk, isLast } of chunksOf(source, chunkBytes)) {
      yield sealChunk(payloadKey, chunk, chunkNonce(counter, isLast));
      counter += 1;
    }
  } finally {
    payloadKey.fill(0);
  }
}

function wrapFileKey(fileKey: Buffer, recipient: AgeRecipient): Stanza {
  const ephemeral = generateAgeIdentity();
  const share = ephemeral.recipient.publicBytes;
  const wrapKey = sharedKey(ephemeral.privateKey, recipient, [share, recipient.publicBytes]);
  const body = sealChunk(wrapKey, fileKey, Buffer.alloc(12));
  wrapKey.fill(0);
  return { type: 'X25519', args: [base64Of(share)], body };
}

/** Throws `invalid-key` for a public key of low order. */
function sharedKey(
  privateKey: KeyObject,
  recipient: AgeRecipient,
  salt: readonly Buffer[],
): Buffer {
  const der = Buffer.concat([spkiPrefix, recipient.publicBytes]);
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' });
  let secret: Buffer;
  try {
    secret = diffieHellman({ privateKey, publicKey });
  } catch (error) {
    throw new AgeError('invalid-key', 'the recipient is no valid key', { cause: error });
  }
  const key = derive(secret, { salt: Buffer.concat(salt), info: x25519Info });
  secret.fill(0);
  return key;
}

function formatStanza({ type, args, body }: Stanza): string {
  const text = base64Of(body);
  const lines: string[] = [];
  for (let at = 0; at <= text.length; at += bodyColumns) {
    lines.push(`${text.slice(at, at + bodyColumns)}\n`);
  }
  return `-> ${[type, ...args].join(' ')}\n${lines.join('')}`;
}

// ---- opening --------------------------------------------------------------------------------------

/**
 * What an age file holds, armored or not; at the first identity that fits. Throws `no-identity` before
 * anything, and `invalid-file` at the first chunk that is not authentic: what came before it was.
 */
export async function* openAge(
  identities: readonly AgeIdentity[],
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  const reader = new ByteReader(await unarmored(source));
  const { stanzas, signed, mac } = parseHeader(await readHeader(reader));
  const fileKey = unwrapFileKey(stanzas, identities);
  const isAuthentic = timingSafeEqual(headerMac(fileKey, signed), mac);
  const nonce = await reader.take(nonceBytes);
  const payloadKey = derive(fileKey, { salt: nonce, info: 'payload' });
  fileKey.fill(0);
  try {
    if (!isAuthentic) throw invalid('its header was changed');
    if (nonce.length !== nonceBytes) throw invalid('it is cut off');
    let counter = 0;
    for await (const { chunk, isLast } of chunksOf(reader.rest(), chunkBytes + tagBytes)) {
      const plain = openChunk(payloadKey, chunk, chunkNonce(counter, isLast));
      if (plain === undefined) throw invalid('it was changed or cut off');
      if (plain.length === 0 && counter > 0) throw invalid('it ends in an empty chunk');
      counter += 1;
      yield plain;
    }
  } finally {
    payloadKey.fill(0);
  }
}

function unwrapFileKey(stanzas: readonly Stanza[], identities: readonly AgeIdentity[]): Buffer {
  for (const stanza of stanzas.filter(({ type }) => type === 'X25519')) {
    const share = decodeBase64(stanza.args[0] ?? '');
    const isValid = stanza.args.length === 1 && share?.length === keyBytes;
    if (!isValid || stanza.body.length !== fileKeyBytes + tagBytes) {
      throw invalid('an X25519 stanza is malformed');
    }
    for (const { privateKey, recipient } of identities) {
      const salt = [share, recipient.publicBytes];
      const wrapKey = sharedKey(privateKey, { publicBytes: share }, salt);
      const fileKey = openChunk(wrapKey, stanza.body, Buffer.alloc(12));
      wrapKey.fill(0);
      if (fileKey !== undefined) return fileKey;
    }
  }
  throw new AgeError('no-identity', 'none of the identities opens this file');
}

async function readHeader(reader: ByteReader): Promise<string[]> {
  const lines: string[] = [];
  for (let bytes = 0; bytes < headerBytesMax; ) {
    const line = await reader.line(headerBytesMax);
    if (line === undefined) throw invalid('its header is cut off');
    lines.push(line);
    if (lines[0] !== intro) throw invalid(`it does not begin with ${intro}`);
    if (line.startsWith('---')) return lines;
    bytes += line.length;
  }
  throw invalid('its header is too long');
}

function parseHeader(lines: readonly string[]): {
  readonly stanzas: readonly Stanza[];
  readonly signed: string;
  readonly mac: Buffer;
} {
  const mac = decodeBase64(/^--- (\S+)$/.exec(lines.at(-1) ?? '')?.[1] ?? '');
  if (mac?.length !== 32) throw invalid('its header has no authentication code');
  const stanzas: Stanza[] = [];
  let at = 1;
  while (at < lines.length - 1) {
    const { stanza, next } = parseStanza(lines, at);
    stanzas.push(stanza);
    at = next;
  }
  if (stanzas.length === 0) throw invalid('it has no recipient');
  return { stanzas, signed: `${lines.slice(0, -1).join('\n')}\n---`, mac };
}

function parseStanza(
  lines: readonly string[],
  start: number,
): { readonly stanza: Stanza; readonly next: number } {
  const [arrow, type = '', ...args] = (lines[start] ?? '').split(' ');
  const isWord = (text: string) => /^[\x21-\x7e]+$/.test(text);
  if (arrow !== '->' || ![type, ...args].every(isWord)) throw invalid('a stanza is malformed');
  let text = '';
  for (let at = start + 1; at < lines.length - 1; at += 1) {
    const line = lines[at] ?? '';
    if (line.length > bodyColumns) break;
    text += line;
    if (line.length === bodyColumns) continue;
    const body = decodeBase64(text);
    if (body === undefined) break;
    return { stanza: { type, args, body }, next: at + 1 };
  }
  throw invalid('the body of a stanza is malformed');
}

// ---- pieces ---------------------------------------------------------------------------------------

function derive(
  secret: Uint8Array,
  from: { readonly salt: Uint8Array; readonly info: string },
): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, from.salt, from.info, keyBytes));
}

function headerMac(fileKey: Buffer, signed: string): Buffer {
  const key = derive(fileKey, { salt: Buffer.alloc(0), info: 'header' });
  const mac = createHmac('sha256', key).update(signed).digest();
  key.fill(0);
  return mac;
}

/** Eleven bytes of counter, one that marks the last chunk. */
function chunkNonce(counter: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(counter, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function sealChunk(key: Buffer, chunk: Uint8Array, nonce: Buffer): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: tagBytes });
  return Buffer.concat([cipher.update(chunk), cipher.final(), cipher.getAuthTag()]);
}

function openChunk(key: Buffer, sealed: Buffer, nonce: Buffer): Buffer | undefined {
  if (sealed.length < tagBytes) return undefined;
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: tagBytes });
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  const plain = decipher.update(sealed.subarray(0, -tagBytes));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    return undefined;
  }
}

/** Pieces of exactly `size` bytes, the last one shorter or equal; one empty piece of nothing. */
async function* chunksOf(
  source: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<{ readonly chunk: Buffer; readonly isLast: boolean }> {
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of source) {
    held = Buffer.concat([held, piece]);
    let at = 0;
    for (; held.length - at > size; at += size) {
      yield { chunk: held.subarray(at, at + size), isLast: false };
    }
    held = held.subarray(at);
  }
  yield { chunk: held, isLast: true };
}

function base64Of(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '');
}

/** Unpadded and canonical; undefined when it is not. */
function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return base64Of(bytes) === text ? bytes : undefined;
}

function invalid(what: string): AgeError {
  return new AgeError('invalid-file', `not a whole age file: ${what}`);
}

/** Reads lines first, then the rest as it comes. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Without its line break; undefined when there is none within `bytesMax`. */
  async line(bytesMax: number): Promise<string | undefined> {
    let end = this.#held.indexOf(10);
    while (end < 0) {
      if (this.#held.length > bytesMax || !(await this.#more())) return undefined;
      end = this.#held.indexOf(10);
    }
    const line = this.#held.toString('latin1', 0, end);
    this.#held = this.#held.subarray(end + 1);
    return line;
  }

  /** Fewer when there are no more. */
  async take(bytes: number): Promise<Buffer> {
    while (this.#held.length < bytes && (await this.#more()));
    const taken = this.#held.subarray(0, bytes);
    this.#held = this.#held.subarray(bytes);
    return taken;
  }

  async *rest(): AsyncGenerator<Uint8Array> {
    yield this.#held;
    for (
      let next = await this.#source.next();
      next.done !== true;
      next = await this.#source.next()
    ) {
      yield next.value;
    }
  }

  async #more(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done === true) return false;
    this.#held = Buffer.concat([this.#held, next.value]);
    return true;
  }
}

/** The bytes of an armored file, or the source as it is. Armored files are read whole. */
async function unarmored(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const reader = new ByteReader(source);
  const begin = await reader.take(armorSpaceMax + armorBegin.length);
  const isArmored = begin.toString('latin1').trimStart().startsWith(armorBegin);
  if (!isArmored) return joined(begin, reader.rest());
  const pieces: Uint8Array[] = [begin];
  for await (const piece of reader.rest()) pieces.push(piece);
  return joined(parseArmor(Buffer.concat(pieces).toString('latin1').trim()), undefined);
}

/** Full lines of 64 characters, then one of up to as many. */
function parseArmor(text: string): Buffer {
  const lines = text.split(/\r?\n/);
  const body = lines.slice(1, -1);
  const isWhole = lines.length > 2 && lines[0] === armorBegin && lines.at(-1) === armorEnd;
  const areFull = body.slice(0, -1).every((line) => line.length === bodyColumns);
  const lastLength = body.at(-1)?.length ?? 0;
  const bytes = Buffer.from(body.join(''), 'base64');
  const isCanonical = bytes.toString('base64') === body.join('');
  if (isWhole && areFull && lastLength > 0 && lastLength <= bodyColumns && isCanonical)
    return bytes;
  throw invalid('its armor is damaged');
}

async function* joined(
  first: Uint8Array,
  rest: AsyncIterable<Uint8Array> | undefined,
): AsyncGenerator<Uint8Array> {
  yield first;
  if (rest !== undefined) yield* rest;
}
