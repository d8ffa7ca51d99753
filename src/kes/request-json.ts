// Request bodies as lenient as clients need: unknown members are ignored, member names may be in any case,
// a missing or null byte string is empty, and what follows the first JSON value is not looked at. Byte
// strings are strict: padded standard base64.

import { KesHttpError } from './errors.ts';

export type JsonMembers = Readonly<Record<string, unknown>>;

/** The members of the first JSON value in a body. Throws `KesHttpError` 400 with the given text. */
export function parseMembers(body: Buffer, problem: string): JsonMembers {
  const value = parseFirstValue(body.toString('utf8'), problem);
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new KesHttpError(400, problem);
  return value as JsonMembers;
}

/** The objects of a body that is an array of them. Throws `KesHttpError` 400 with the given text. */
export function parseArray(body: Buffer, problem: string): JsonMembers[] {
  const value = parseFirstValue(body.toString('utf8'), problem);
  if (!Array.isArray(value)) throw new KesHttpError(400, problem);
  return value.map((item: unknown) => {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) {
      throw new KesHttpError(400, problem);
    }
    return item as JsonMembers;
  });
}

function parseFirstValue(text: string, problem: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const end = endOfFirstValue(text);
    if (end === undefined) throw new KesHttpError(400, problem);
    try {
      return JSON.parse(text.slice(0, end));
    } catch {
      throw new KesHttpError(400, problem);
    }
  }
}

/** Where the object or array that a text begins with ends; undefined when it does not end. */
function endOfFirstValue(text: string): number | undefined {
  let depth = 0;
  let inString = false;
  for (let index = text.search(/\S/); index >= 0 && index < text.length; index += 1) {
    const char = text[index];
    if (inString) {
      if (char === '\\') index += 1;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '{' || char === '[') depth += 1;
    else if (char === '}' || char === ']') depth -= 1;
    if (depth === 0 && !inString) return char === '}' || char === ']' ? index + 1 : undefined;
  }
  return undefined;
}

/** A member by name, any case; the exact name wins. */
export function member(members: JsonMembers, name: string): unknown {
  const exact = members[name];
  if (exact !== undefined) return exact;
  for (const other in members) {
    if (other.length === name.length && other.toLowerCase() === name) return members[other];
  }
  return undefined;
}

const base64Shape = /^[0-9A-Za-z+/]*={0,2}$/;
const none = Buffer.alloc(0);

/** A byte-string member. Throws `KesHttpError` 400 with the given text. */
export function bytesMember(members: JsonMembers, name: string, problem: string): Buffer {
  const value = member(members, name);
  if (value === undefined || value === null || value === '') return none;
  if (typeof value !== 'string') throw new KesHttpError(400, problem);
  const text = /[\r\n]/.test(value) ? value.replace(/[\r\n]/g, '') : value;
  if (text.length % 4 !== 0 || !base64Shape.test(text)) throw new KesHttpError(400, problem);
  return Buffer.from(text, 'base64');
}

/** A text member; missing and null are empty. Throws `KesHttpError` 400 with the given text. */
export function textMember(members: JsonMembers, name: string, problem: string): string {
  const value = member(members, name) ?? '';
  if (typeof value !== 'string') throw new KesHttpError(400, problem);
  return value;
}
