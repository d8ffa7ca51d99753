// Every way to alter a signed request, generated from the request itself: its method, path, each parameter, each
// header, its date, scope and signature, its body.

import type { RawRequest } from './raw-request.ts';

export type Alteration = { readonly what: string; readonly request: RawRequest };
type Pairs = readonly (readonly [string, string])[];

const methods = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'];

/** What would change the meaning of a request if it were taken without a signature. */
export const injectedHeaders: Pairs = [
  ['x-amz-acl', 'public-read'],
  ['x-amz-copy-source', '/signed/secret'],
  ['x-amz-meta-injected', '1'],
  ['x-amz-tagging', 'injected=1'],
  ['x-amz-server-side-encryption', 'AES256'],
  ['x-amz-server-side-encryption-customer-algorithm', 'AES256'],
  ['x-amz-storage-class', 'REDUCED_REDUNDANCY'],
  ['x-amz-website-redirect-location', '/elsewhere'],
  ['x-amz-metadata-directive', 'REPLACE'],
  ['x-amz-bypass-governance-retention', 'true'],
  ['x-amz-security-token', 'token'],
  ['X-AMZ-Grant-Read', 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'],
  ['x-minio-force-delete', 'true'],
  ['x-minio-extract', 'true'],
  ['x-minio-source-mtime', '2020-01-01T00:00:00Z'],
  ['X-Minio-Internal-Server-Side-Encryption-Iv', 'AAAA'],
];

/** Query parameters that select other operations, versions or pages. */
export const injectedParameters: Pairs = [
  ['acl', ''],
  ['attributes', ''],
  ['delete', ''],
  ['encryption', ''],
  ['legal-hold', ''],
  ['list-type', '2'],
  ['object-lock', ''],
  ['partNumber', '1'],
  ['policy', ''],
  ['prefix', 'x'],
  ['publicAccessBlock', ''],
  ['response-content-type', 'text/html'],
  ['retention', ''],
  ['tagging', ''],
  ['uploadId', 'x'],
  ['uploads', ''],
  ['versionId', 'null'],
  ['versioning', ''],
  ['x-amz-acl', 'public-read'],
  ['x-amz-copy-source', '/signed/secret'],
  ['x-amz-meta-injected', '1'],
  ['X-Amz-Tagging', 'injected=1'],
  ['x-id', 'GetObject'],
  ['unknown', '1'],
];

/** Other methods, paths and parameters. */
export function alteredLines(request: RawRequest): Alteration[] {
  const [path = '', query = ''] = request.target.split('?', 2);
  const items = query === '' ? [] : query.split('&');
  const withTarget = (what: string, target: string): Alteration => ({
    what,
    request: { ...request, target },
  });
  const withQuery = (what: string, changed: readonly string[]): Alteration =>
    withTarget(what, changed.length === 0 ? path : `${path}?${changed.join('&')}`);
  return [
    ...methods
      .filter((method) => method !== request.method)
      .map((method) => ({ what: `method ${method}`, request: { ...request, method } })),
    ...alteredPaths(path).map((other) =>
      withTarget(`path ${other}`, query === '' ? other : `${other}?${query}`),
    ),
    ...items.flatMap((item, index) => {
      const [name = '', value = ''] = item.split('=', 2);
      return [
        withQuery(`without ${name}`, items.toSpliced(index, 1)),
        withQuery(`${name} doubled`, [...items, item]),
        withQuery(`${name} doubled with another value`, [...items, `${name}=${other(value)}`]),
        withQuery(`${name} preceded`, [`${name}=${other(value)}`, ...items]),
        withQuery(`${name} changed`, items.with(index, `${name}=${other(value)}`)),
        withQuery(`${name} in capitals`, items.with(index, `${swapCase(name)}=${value}`)),
      ];
    }),
    ...injectedParameters.flatMap(([name, value]) => [
      withQuery(`with ${name}`, [...items, `${name}=${encodeURIComponent(value)}`]),
      withQuery(`with ${name} first`, [`${name}=${encodeURIComponent(value)}`, ...items]),
    ]),
    withTarget('a second question mark', `${request.target}?acl`),
  ];
}

function alteredPaths(path: string): string[] {
  const slash = path.indexOf('/', 1);
  const key = slash === -1 ? '' : path.slice(slash + 1);
  const bucket = slash === -1 ? path.slice(1) : path.slice(1, slash);
  const found = [`/other${path.slice(bucket.length + 1)}`, `/${path}`, `${path}/`, `/./${path}`];
  if (key === '') return [...found, `${path}/secret`];
  return [
    ...found,
    `/${bucket}/secret`,
    `/${bucket}/${key}x`,
    `/${bucket}/${key.slice(0, -1)}`,
    `/${bucket}//${key}`,
    `/${bucket}/${key}/../secret`,
    `/${bucket}/%2e%2e/${key}`,
    `/${bucket}%2f${key}`,
    `/${bucket}`,
    '/',
  ];
}

/** Each header changed, removed, doubled; unsigned ones added. `signed` are the names under the signature. */
export function alteredHeaders(
  request: RawRequest,
  signed: readonly string[],
  injected: Pairs = injectedHeaders,
): Alteration[] {
  const { headers } = request;
  const change = (what: string, changed: Pairs): Alteration => ({
    what,
    request: { ...request, headers: changed },
  });
  return [
    ...headers.flatMap(([name, value], index) => {
      if (!signed.includes(name)) return [];
      return [
        change(`header ${name} changed`, headers.with(index, [name, other(value)])),
        change(`header ${name} emptied`, headers.with(index, [name, ''])),
        ...(name === 'host' ? [] : [change(`without header ${name}`, headers.toSpliced(index, 1))]),
        change(`header ${name} preceded`, headers.toSpliced(index, 0, [name, other(value)])),
        ...(keptOnce.has(name)
          ? []
          : [change(`header ${name} doubled`, [...headers, [name, other(value)]])]),
      ];
    }),
    ...injected
      .filter(([name]) => !headers.some(([known]) => known === name.toLowerCase()))
      .flatMap(([name, value]) => [
        change(`with header ${name}`, [...headers, [name, value]]),
        change(`with header ${name} first`, [[name, value], ...headers]),
      ]),
  ];
}

/** Of these, HTTP takes the first and ignores the others, for the signature and the meaning alike. */
const keptOnce: ReadonlySet<string> = new Set(['content-type', 'range']);

/** The claim of an Authorization header, changed field by field. */
export function alteredAuthorization(request: RawRequest): Alteration[] {
  const index = request.headers.findIndex(([name]) => name === 'authorization');
  const value = request.headers[index]?.[1] ?? '';
  const [, accessKey = '', date = '', region = '', names = '', signature = ''] =
    /Credential=([^/]+)\/(\d+)\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=(.+)/.exec(
      value,
    ) ?? [];
  const list = names.split(';');
  const claim = (what: string, text: string): Alteration => ({
    what: `claim: ${what}`,
    request: { ...request, headers: request.headers.with(index, ['authorization', text]) },
  });
  return [
    ...alteredSignatures(signature).map((changed) =>
      claim(`signature ${changed}`, value.replace(signature, changed)),
    ),
    ...list.map((name) =>
      claim(
        `${name} unsigned`,
        value.replace(names, list.filter((item) => item !== name).join(';')),
      ),
    ),
    claim('one header more', value.replace(names, `${names};x-amz-meta-z`)),
    claim('no headers', value.replace(names, '')),
    claim('only the host', value.replace(names, 'host')),
    claim('only an empty name', value.replace(names, ';')),
    claim('headers in another order', value.replace(names, list.toReversed().join(';'))),
    claim('names in capitals', value.replace(names, names.toUpperCase())),
    claim('the other user', value.replace(accessKey, 'other-user')),
    claim('nobody', value.replace(accessKey, 'nobody')),
    claim('an empty access key', value.replace(`${accessKey}/`, '/')),
    claim('another day', value.replace(`/${date}/`, `/${Number(date) - 1}/`)),
    claim('another region', value.replace(`/${region}/`, '/eu-west-1/')),
    claim('another service', value.replace('/s3/', '/sts/')),
    claim('another end', value.replace('aws4_request', 'aws4_reques')),
    claim('another algorithm', value.replace('HMAC-SHA256', 'HMAC-SHA1')),
    claim('ECDSA', value.replace('AWS4-HMAC-SHA256', 'AWS4-ECDSA-P256-SHA256')),
    claim('Signature V2', `AWS ${accessKey}:${signature}`),
    claim('Basic', `Basic ${Buffer.from(`${accessKey}:x`).toString('base64')}`),
    claim('Bearer', `Bearer ${signature}`),
    claim('nothing', ''),
    claim('a field twice', `${value}, Signature=${signature}`),
    {
      what: 'no authorization',
      request: { ...request, headers: request.headers.toSpliced(index, 1) },
    },
    {
      what: 'two authorizations',
      request: { ...request, headers: [...request.headers, ['authorization', `${value}0`]] },
    },
  ];
}

/** Signatures that are nearly right. */
export function alteredSignatures(signature: string): string[] {
  const last = signature.at(-1) === '0' ? '1' : '0';
  const first = signature.startsWith('0') ? '1' : '0';
  return [
    `${first}${signature.slice(1)}`,
    `${signature.slice(0, -1)}${last}`,
    signature.slice(0, -1),
    `${signature}0`,
    '0'.repeat(signature.length),
    `${signature.slice(0, 32)}${'0'.repeat(Math.max(0, signature.length - 32))}`,
  ];
}

/** A body of which some bytes are others, and one that is shorter or longer. */
export function alteredBodies(request: RawRequest): Alteration[] {
  const body = Buffer.from(request.body);
  const flipped = Buffer.from(body);
  flipped[body.length >> 1] = (flipped[body.length >> 1] ?? 0) ^ 1;
  const bodies: readonly (readonly [string, Buffer])[] = [
    ['a flipped bit', flipped],
    ['a byte more', Buffer.concat([body, Buffer.from('x')])],
    ['a byte less', body.subarray(0, -1)],
    ['no body', Buffer.alloc(0)],
  ];
  return bodies.map(([what, changed]) => ({
    what: `body: ${what}`,
    request: { ...request, body: changed },
  }));
}

/** Another value of the same kind. */
function other(value: string): string {
  if (value === '') return '1';
  const last = value.at(-1) ?? '';
  return value.slice(0, -1) + (last === '1' ? '2' : '1');
}

function swapCase(name: string): string {
  return name === name.toLowerCase() ? name.toUpperCase() : name.toLowerCase();
}
