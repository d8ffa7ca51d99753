// The key routes. Names are checked first, then the body is read, then the key store is asked: the order
// decides which error a caller sees.

import type { KeyInfo } from '../../keys/key-service.ts';
import { isListPattern, isName, patternPrefix } from '../../keys/key-name.ts';
import { KeyError } from '../../keys/key-error.ts';
import { findCipher, formatKeyTime } from '../../keys/master-key.ts';
import type { KesKeyInfo, KesKeyList } from '../../wire/kes.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { KesHttpError } from '../errors.ts';
import { emptyReply, jsonReply, type KesReply } from '../exchange.ts';
import { bytesMember, type JsonMembers, parseMembers, textMember } from '../request-json.ts';

const invalidBody = 'invalid request body';
const invalidImport = 'invalid import key request body';
/** Separates the prefix from the last name in a continuation token: no name can hold it. */
const tokenMark = '~';

/** Throws unless `name` is a valid key name. */
export function checkKeyName(name: string): string {
  if (isName(name)) return name;
  const text = `key name '${name}' is empty, too long or contains invalid characters`;
  throw new KesHttpError(400, text);
}

async function membersOf(context: KesContext): Promise<JsonMembers> {
  return parseMembers(await context.readBody(), invalidBody);
}

async function create(context: KesContext): Promise<KesReply> {
  await context.state.keys.create(checkKeyName(context.resource), context.identity);
  return emptyReply;
}

async function importKey(context: KesContext): Promise<KesReply> {
  const name = checkKeyName(context.resource);
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
  return jsonReply(toWire(await context.state.keys.describe(checkKeyName(context.resource))));
}

function toWire(info: KeyInfo): KesKeyInfo {
  return {
    name: info.name,
    algorithm: info.cipher,
    created_at: formatKeyTime(info.createdAt),
    ...(info.createdBy === '' ? {} : { created_by: info.createdBy }),
    ...(info.isDisabled ? { state: 'disabled' } : {}),
  };
}

async function list(context: KesContext): Promise<KesReply> {
  const query = readPattern(context.resource);
  const { names, disabled, next } = await context.state.keys.list(query);
  const answer: KesKeyList = {
    names,
    ...(next === undefined ? {} : { continue_at: `${query.prefix}${tokenMark}${next}` }),
    ...(disabled.length === 0 ? {} : { disabled }),
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
  await context.state.keys.delete(checkKeyName(context.resource));
  return emptyReply;
}

async function generate(context: KesContext): Promise<KesReply> {
  const name = checkKeyName(context.resource);
  const members = context.request.bodyBytes === 0 ? {} : await membersOf(context);
  return reply(await generateCall(context, name, members));
}

/** The answer to one generate call; shared with the batch route. */
export async function generateCall(context: KesContext, name: string, members: JsonMembers) {
  const aad = bytesMember(members, 'context', invalidBody);
  const { plaintext, ciphertext } = await context.state.keys.generate(name, aad);
  const answer = {
    plaintext: plaintext.toString('base64'),
    ciphertext: ciphertext.toString('base64'),
  };
  plaintext.fill(0);
  return answer;
}

async function encrypt(context: KesContext): Promise<KesReply> {
  const name = checkKeyName(context.resource);
  const members = await membersOf(context);
  const plaintext = bytesMember(members, 'plaintext', invalidBody);
  const aad = bytesMember(members, 'context', invalidBody);
  const ciphertext = await context.state.keys.encrypt(name, plaintext, aad);
  plaintext.fill(0);
  return reply({ ciphertext: ciphertext.toString('base64') });
}

async function decrypt(context: KesContext): Promise<KesReply> {
  const name = checkKeyName(context.resource);
  return reply(await decryptCall(context, name, await membersOf(context)));
}

/** The answer to one decrypt call; shared with the batch route. */
export async function decryptCall(context: KesContext, name: string, members: JsonMembers) {
  const ciphertext = bytesMember(members, 'ciphertext', invalidBody);
  const aad = bytesMember(members, 'context', invalidBody);
  const plaintext = await context.state.keys.decrypt(name, ciphertext, aad);
  const answer = { plaintext: plaintext.toString('base64') };
  plaintext.fill(0);
  return answer;
}

async function hmac(context: KesContext): Promise<KesReply> {
  const name = checkKeyName(context.resource);
  const message = bytesMember(await membersOf(context), 'message', invalidBody);
  const sum = await context.state.keys.hmac(name, message);
  return reply({ hmac: sum.toString('base64') });
}

async function disable(context: KesContext): Promise<KesReply> {
  await context.state.keys.disable(checkKeyName(context.resource));
  return emptyReply;
}

async function enable(context: KesContext): Promise<KesReply> {
  await context.state.keys.enable(checkKeyName(context.resource));
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
};
