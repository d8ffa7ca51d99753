// The key routes. Names are checked first, then the body is read, then the key store is asked: the order
// decides which error a caller sees.

import type { KeyInfo, KeyVersionInfo } from '../../keys/key-service.ts';
import { versionOf } from '../../keys/ciphertext.ts';
import { isListPattern, isName, patternPrefix } from '../../keys/key-name.ts';
import { KeyError } from '../../keys/key-error.ts';
import { findCipher, formatKeyTime } from '../../keys/master-key.ts';
import type {
  KesDestroyResponse,
  KesKeyInfo,
  KesKeyList,
  KesKeyVersionInfo,
  KesRotateResponse,
} from '../../wire/kes.ts';
import { objectInContext } from '../audit/chain.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { KesHttpError } from '../errors.ts';
import { emptyReply, jsonReply, type KesReply } from '../exchange.ts';
import {
  bytesMember,
  type JsonMembers,
  member,
  parseMembers,
  textMember,
} from '../request-json.ts';

const invalidBody = 'invalid request body';
const invalidImport = 'invalid import key request body';
/** Separates the prefix from the last name in a continuation token: no name can hold it. */
const tokenMark = '~';
/** A week: time to notice that a key is still needed. */
const destroyAfterSeconds = 604_800;
/** Ten years: later is most likely a mistake. */
const destroyAfterSecondsMax = 315_360_000;

/** What a call on a key needs of its request. */
export type KeyCallContext = Pick<KesContext, 'state' | 'note'>;

/** Throws unless `name` is a valid key name. */
export function checkKeyName(name: string): string {
  if (isName(name)) return name;
  const text = `key name '${name}' is empty, too long or contains invalid characters`;
  throw new KesHttpError(400, text);
}

/** The name of the key that a request is about, for the audit log too. */
function keyNameOf(context: KesContext): string {
  const name = checkKeyName(context.resource);
  context.note({ key: name });
  return name;
}

/** Tells the audit log which key a call used, and for which object. */
function noteUse(
  context: KeyCallContext,
  use: { readonly name: string; readonly aad: Uint8Array; readonly version: number },
): void {
  const { name, aad, version } = use;
  const keyId = context.state.keys.cachedId(name);
  const object = objectInContext(aad);
  context.note({
    key: name,
    version,
    ...(keyId === undefined ? {} : { keyId }),
    ...(object === undefined ? {} : { object }),
  });
}

/** The id of a key that was not at hand before its use. */
function noteKeyId(context: KeyCallContext, name: string): void {
  const keyId = context.state.keys.cachedId(name);
  if (keyId !== undefined) context.note({ keyId });
}

async function membersOf(context: KesContext): Promise<JsonMembers> {
  return parseMembers(await context.readBody(), invalidBody);
}

async function create(context: KesContext): Promise<KesReply> {
  await context.state.keys.create(keyNameOf(context), context.identity);
  return emptyReply;
}

async function importKey(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  const members = parseMembers(await context.readBody(), invalidImport);
  const cipher = textMember(members, 'cipher', invalidImport);
  const bytes = bytesMember(members, 'key', invalidImport);
  if (findCipher(cipher) === undefined) {
    throw new KesHttpError(406, `algorithm '${cipher}' is not supported`);
  }
  try {
    await context.state.keys.import(name, { cipher, bytes, createdBy: context.identity });
  } catch (error) {
    if (error instanceof KeyError && error.code === 'invalid-key-size') {
      throw new KesHttpError(406, `invalid key size for '${cipher}'`);
    }
    throw error;
  } finally {
    bytes.fill(0);
  }
  return emptyReply;
}

async function describe(context: KesContext): Promise<KesReply> {
  return jsonReply(toWire(await context.state.keys.describe(keyNameOf(context))));
}

function toWire(info: KeyInfo): KesKeyInfo {
  const { cipher, createdBy, state, id, fingerprint, version, versions, destroyAt } = info;
  return {
    name: info.name,
    ...(cipher === undefined ? {} : { algorithm: cipher }),
    created_at: formatKeyTime(info.createdAt),
    ...(createdBy === '' ? {} : { created_by: createdBy }),
    ...(state === 'enabled' ? {} : { state }),
    ...(id === undefined ? {} : { id }),
    ...(fingerprint === '' ? {} : { fingerprint }),
    ...(version === undefined ? {} : { version }),
    ...(versions.length > 1 ? { versions: versions.map(toWireVersion) } : {}),
    ...(destroyAt === undefined ? {} : { destroy_at: formatKeyTime(destroyAt) }),
  };
}

function toWireVersion(info: KeyVersionInfo): KesKeyVersionInfo {
  return {
    version: info.version,
    fingerprint: info.fingerprint,
    created_at: formatKeyTime(info.createdAt),
    ...(info.createdBy === '' ? {} : { created_by: info.createdBy }),
  };
}

async function list(context: KesContext): Promise<KesReply> {
  const query = readPattern(context.resource);
  const { names, disabled, scheduled, destroyed, next } = await context.state.keys.list(query);
  const answer: KesKeyList = {
    names,
    ...(next === undefined ? {} : { continue_at: `${query.prefix}${tokenMark}${next}` }),
    ...(disabled.length === 0 ? {} : { disabled }),
    ...(scheduled.length === 0 ? {} : { scheduled }),
    ...(destroyed.length === 0 ? {} : { destroyed }),
  };
  return jsonReply(answer);
}

/** A pattern, or the continuation token of an earlier answer: `<prefix>~<last name>`. */
function readPattern(pattern: string): { prefix: string; after?: string } {
  const [prefix = '', after, ...more] = pattern.split(tokenMark);
  const isToken = after !== undefined && more.length === 0 && isName(after);
  if (isToken && (prefix === '' || isListPattern(`${prefix}*`))) return { prefix, after };
  if (isListPattern(pattern)) return { prefix: patternPrefix(pattern) };
  const text = `listing pattern '${pattern}' is empty, too long or is invalid`;
  throw new KesHttpError(400, text);
}

async function remove(context: KesContext): Promise<KesReply> {
  await context.state.keys.delete(keyNameOf(context));
  return emptyReply;
}

async function generate(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  const members = context.request.bodyBytes === 0 ? {} : await membersOf(context);
  return reply(await generateCall(context, name, members));
}

/** The answer to one generate call; shared with the batch route. */
export async function generateCall(context: KeyCallContext, name: string, members: JsonMembers) {
  const aad = bytesMember(members, 'context', invalidBody);
  const { plaintext, ciphertext } = await context.state.keys.generate(name, aad);
  try {
    noteUse(context, { name, aad, version: versionOf(ciphertext) });
    return {
      plaintext: plaintext.toString('base64'),
      ciphertext: ciphertext.toString('base64'),
    };
  } finally {
    plaintext.fill(0);
  }
}

async function encrypt(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  const members = await membersOf(context);
  const plaintext = bytesMember(members, 'plaintext', invalidBody);
  try {
    const aad = bytesMember(members, 'context', invalidBody);
    const ciphertext = await context.state.keys.encrypt(name, plaintext, aad);
    noteUse(context, { name, aad, version: versionOf(ciphertext) });
    return reply({ ciphertext: ciphertext.toString('base64') });
  } finally {
    plaintext.fill(0);
  }
}

async function decrypt(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  return reply(await decryptCall(context, name, await membersOf(context)));
}

/**
 * The answer to a note, which comes in batches only: a data key that the caller had opened before served one more
 * object. What could not be decrypted now is refused.
 */
export async function useCall(context: KeyCallContext, name: string, members: JsonMembers) {
  const object = objectInContext(bytesMember(members, 'context', invalidBody));
  context.note({ key: name, ...(object === undefined ? {} : { object }) });
  await context.state.keys.assertUsable(name);
  noteKeyId(context, name);
  return {};
}

/** The answer to one decrypt call; shared with the batch route. */
export async function decryptCall(context: KeyCallContext, name: string, members: JsonMembers) {
  const ciphertext = bytesMember(members, 'ciphertext', invalidBody);
  const aad = bytesMember(members, 'context', invalidBody);
  noteUse(context, { name, aad, version: versionOf(ciphertext) });
  const plaintext = await context.state.keys.decrypt(name, ciphertext, aad);
  try {
    noteKeyId(context, name);
    return { plaintext: plaintext.toString('base64') };
  } finally {
    plaintext.fill(0);
  }
}

async function hmac(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  const message = bytesMember(await membersOf(context), 'message', invalidBody);
  const sum = await context.state.keys.hmac(name, message);
  return reply({ hmac: sum.toString('base64') });
}

async function disable(context: KesContext): Promise<KesReply> {
  await context.state.keys.disable(keyNameOf(context));
  return emptyReply;
}

async function enable(context: KesContext): Promise<KesReply> {
  await context.state.keys.enable(keyNameOf(context));
  return emptyReply;
}

async function rotate(context: KesContext): Promise<KesReply> {
  const version = await context.state.keys.rotate(keyNameOf(context), context.identity);
  context.note({ version });
  return jsonReply({ version } satisfies KesRotateResponse);
}

async function rewrap(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  const members = await membersOf(context);
  const ciphertext = bytesMember(members, 'ciphertext', invalidBody);
  const aad = bytesMember(members, 'context', invalidBody);
  const wrapped = await context.state.keys.rewrap(name, ciphertext, aad);
  noteUse(context, { name, aad, version: wrapped.version });
  return jsonReply({
    ciphertext: wrapped.ciphertext.toString('base64'),
    version: wrapped.version,
  });
}

async function destroy(context: KesContext): Promise<KesReply> {
  const name = keyNameOf(context);
  const members = context.request.bodyBytes === 0 ? {} : await membersOf(context);
  const after = member(members, 'after') ?? destroyAfterSeconds;
  if (typeof after !== 'number' || !(after >= 0 && after <= destroyAfterSecondsMax)) {
    throw new KesHttpError(400, `'after' is no number of seconds up to ${destroyAfterSecondsMax}`);
  }
  const by = context.identity;
  const done = await context.state.keys.scheduleDestruction(name, { afterMs: after * 1000, by });
  const answer: KesDestroyResponse = {
    state: done.state,
    destroy_at: formatKeyTime(done.destroyAt),
    ...(done.note === undefined ? {} : { note: done.note }),
  };
  return jsonReply(answer);
}

async function cancel(context: KesContext): Promise<KesReply> {
  await context.state.keys.cancelDestruction(keyNameOf(context));
  return emptyReply;
}

async function accept(context: KesContext): Promise<KesReply> {
  await context.state.keys.accept(keyNameOf(context));
  return emptyReply;
}

/** Another node of the same key store changed a key. */
async function peerChanged(context: KesContext): Promise<KesReply> {
  context.state.keys.changedElsewhere(keyNameOf(context));
  return emptyReply;
}

/** A flat object of base64 texts, which need no escaping. */
function reply(texts: Readonly<Record<string, string>>): KesReply {
  let body = '{';
  for (const name in texts) body += `${body === '{' ? '' : ','}"${name}":"${texts[name]}"`;
  return { status: 200, contentType: 'application/json', body: `${body}}\n` };
}

export const keyHandlers: KesHandlers = {
  'key-create': create,
  'key-import': importKey,
  'key-describe': describe,
  'key-list': list,
  'key-delete': remove,
  'key-generate': generate,
  'key-encrypt': encrypt,
  'key-decrypt': decrypt,
  'key-hmac': hmac,
  'key-disable': disable,
  'key-enable': enable,
  'key-rotate': rotate,
  'key-rewrap': rewrap,
  'key-destroy': destroy,
  'key-cancel': cancel,
  'key-accept': accept,
  'peer-changed': peerChanged,
};
