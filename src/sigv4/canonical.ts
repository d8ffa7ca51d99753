// The canonical form of a request, which is what Signature V4 signs:
//
//   METHOD LF path LF query LF name:value LF … LF LF signed names LF payload hash
//
// S3's rules: the path is the one received, each byte percent-encoded at most once, with no dot segments
// removed and no slashes merged; the query is sorted by encoded name, then value, and `+` in it is a blank;
// header values are trimmed and their inner blanks collapsed.
//
// All text here is a byte string: one character per byte, as `node:http` gives targets and header values
// and as it sends them. `toByteString` makes one from Unicode text.

import { hash } from 'node:crypto';

import { type SplitTarget, splitTarget } from '../base/request-target.ts';
import { AuthError } from './errors.ts';

/** Headers by lower-case name, as `node:http` gives them. */
export type HeaderFields = { readonly [name: string]: string | readonly string[] | undefined };

/** UTF-8 bytes of the text, one character each. ASCII text comes back unchanged. */
export function toByteString(text: string): string {
  return isAscii(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
}

/** The path and query of a target that is signed. Throws `AuthError` `InvalidURI` for a form that has none. */
export function splitSignedTarget(target: string): SplitTarget {
  const split = splitTarget(target);
  if (split === undefined) throw new AuthError('InvalidURI', "Couldn't parse the specified URI.");
  return split;
}

const plainPath = /^[A-Za-z0-9\-_.~/]*$/;
const plainQuery = /^[A-Za-z0-9\-_.~]*$/;

/** The path with every byte but `A-Za-z0-9-_.~/` percent-encoded once; escapes already there are kept. */
export function canonicalPath(path: string): string {
  return plainPath.test(path) ? path : encodeOnce(path, 'path');
}

/** One parameter of a query, both sides in canonical encoding. */
export type CanonicalParameter = { readonly name: string; readonly value: string };

/** The parameters of a query in their order, empty ones left out. Never throws: a lone `%` counts as itself. */
export function parseCanonicalQuery(query: string): CanonicalParameter[] {
  const parameters: CanonicalParameter[] = [];
  if (query === '') return parameters;
  for (const item of query.split('&')) {
    if (item === '') continue;
    const equals = item.indexOf('=');
    const name = equals < 0 ? item : item.slice(0, equals);
    const value = equals < 0 ? '' : item.slice(equals + 1);
    parameters.push({ name: encodeQueryPart(name), value: encodeQueryPart(value) });
  }
  return parameters;
}

/** The canonical query: sorted, `name=value` joined by `&`; parameters of the name `without` are left out. */
export function canonicalQuery(
  parameters: readonly CanonicalParameter[],
  without?: string,
): string {
  if (parameters.length === 0) return '';
  const kept = parameters.filter((parameter) => parameter.name !== without);
  kept.sort(compareParameters);
  return kept.map((parameter) => `${parameter.name}=${parameter.value}`).join('&');
}

/** Percent-encodes one name or value of a query that holds plain text (a byte string), once. */
export function encodeQueryText(text: string): string {
  let out = '';
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    out += isUnreserved(code) ? text.charAt(at) : percent(code);
  }
  return out;
}

/** Decodes percent-encoding of a canonical name or value to a byte string. */
export function decodeQueryText(encoded: string): string {
  if (!encoded.includes('%')) return encoded;
  return encoded.replace(/%([0-9A-Fa-f]{2})/g, (_match, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** A header value as it is signed: trimmed, inner runs of blanks made one, several values joined by a comma. */
export function canonicalValue(value: string | readonly string[]): string {
  if (typeof value !== 'string') return value.map(canonicalValue).join(',');
  if (!value.includes('  ') && !value.includes('\t') && !value.startsWith(' ')) {
    return value.endsWith(' ') ? value.slice(0, -1) : value;
  }
  return value.replace(/[ \t]+/g, ' ').replace(/^ | $/g, '');
}

/** What goes into a canonical request. Everything is canonical already, `headerLines` ends in LF. */
export type CanonicalParts = {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headerLines: string;
  /** Joined by `;`. */
  readonly signedHeaders: string;
  readonly payloadHash: string;
};

/** The canonical request as text. */
export function canonicalRequest(parts: CanonicalParts): string {
  return `${parts.method}\n${parts.path}\n${parts.query}\n${parts.headerLines}\n${parts.signedHeaders}\n${parts.payloadHash}`;
}

/** Hex SHA-256 of a byte string or of bytes. */
export function sha256Hex(data: string | Uint8Array): string {
  if (typeof data === 'string' && !isAscii(data)) {
    return hash('sha256', Buffer.from(data, 'latin1'), 'hex');
  }
  return hash('sha256', data, 'hex');
}

/** Hex SHA-256 of nothing. */
export const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

function compareParameters(left: CanonicalParameter, right: CanonicalParameter): number {
  if (left.name !== right.name) return left.name < right.name ? -1 : 1;
  if (left.value === right.value) return 0;
  return left.value < right.value ? -1 : 1;
}

function encodeQueryPart(text: string): string {
  return plainQuery.test(text) ? text : encodeOnce(text, 'query');
}

function encodeOnce(text: string, place: 'path' | 'query'): string {
  let out = '';
  for (let at = 0; at < text.length; at++) {
    let code = text.charCodeAt(at);
    if (
      code === 0x25 &&
      isHexDigit(text.charCodeAt(at + 1)) &&
      isHexDigit(text.charCodeAt(at + 2))
    ) {
      code = Number.parseInt(text.slice(at + 1, at + 3), 16);
      at += 2;
      // An escaped slash is not a separator: it stays escaped.
      out += isUnreserved(code) ? String.fromCharCode(code) : percent(code);
    } else if (isUnreserved(code) || (code === 0x2f && place === 'path')) {
      out += text.charAt(at);
    } else {
      out += code === 0x2b && place === 'query' ? '%20' : percent(code);
    }
  }
  return out;
}

function percent(code: number): string {
  return code < 16 ? `%0${code.toString(16).toUpperCase()}` : `%${code.toString(16).toUpperCase()}`;
}

function isUnreserved(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x2e ||
    code === 0x5f ||
    code === 0x7e
  );
}

function isHexDigit(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x46) ||
    (code >= 0x61 && code <= 0x66)
  );
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text, 'utf8') === text.length;
}
