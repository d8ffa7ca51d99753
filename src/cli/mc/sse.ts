// The flags `--enc-s3`, `--enc-kms` and `--enc-c`: which encryption an upload asks for, by the prefix of
// `alias/bucket/key`. Rules: the longest prefix wins; prefixes of one alias must not overlap, across all
// three flags; every prefix must have to do with an argument. Unlike the reference, the source's prefix
// never decides over the destination's headers on a copy.

import { createHash } from 'node:crypto';

import type { McContext } from './context.ts';
import { McError } from './error.ts';
import { Failure } from './failure.ts';

type Rule =
  | { readonly kind: 's3'; readonly prefix: string }
  | { readonly kind: 'kms'; readonly prefix: string; readonly keyId: string }
  | { readonly kind: 'c'; readonly prefix: string; readonly key: Buffer };

type Headers = Readonly<Record<string, string>>;

/** Headers by the object's `alias/bucket/key`. */
export type SseRules = {
  /** Upload, initiate and complete multipart, copy destination. */
  forWrite(text: string): Headers;
  /** Upload part: only SSE-C. */
  forPart(text: string): Headers;
  /** GET and HEAD: only SSE-C. */
  forRead(text: string): Headers;
  /** Source of a server-side copy: only SSE-C. */
  forCopySource(text: string): Headers;
};

/** Reads the flags of a command. Throws a `Failure` "SSE Error." before anything is sent. */
export async function parseSse(context: McContext, targets: readonly string[]): Promise<SseRules> {
  const { flags } = context;
  try {
    for (const name of ['encrypt', 'encrypt-key'] as const) {
      if (flags.find(name) === undefined) continue;
      const instead = name === 'encrypt' ? '--enc-s3 or --enc-kms' : '--enc-c';
      throw new Failure(
        'a deprecated Flag',
        new McError('sse', `'--${name}' has been deprecated, please use ${instead} instead.`),
      );
    }
    const rules = [
      ...flags.list('enc-c').map(parseCustomerKey),
      ...flags.list('enc-kms').map(parseKmsKey),
      ...flags.list('enc-s3').map(parseS3),
    ];
    await checkPrefixes(context, rules, targets);
    return makeRules(rules);
  } catch (error) {
    if (error instanceof McError && error.code === 'sse') throw new Failure('SSE Error.', error);
    throw error;
  }
}

/** Rules of a command without such flags. */
export const noSse: SseRules = makeRules([]);

function makeRules(rules: readonly Rule[]): SseRules {
  const sorted = [...rules].sort((left, right) => right.prefix.length - left.prefix.length);
  const find = (text: string) => sorted.find((rule) => text.startsWith(rule.prefix));
  const customer = (text: string, start: string): Headers => {
    const rule = find(text);
    return rule?.kind === 'c' ? customerHeaders(rule.key, start) : {};
  };
  return {
    forWrite(text) {
      const rule = find(text);
      switch (rule?.kind) {
        case undefined:
          return {};
        case 's3':
          return { 'x-amz-server-side-encryption': 'AES256' };
        case 'kms':
          return {
            'x-amz-server-side-encryption': 'aws:kms',
            'x-amz-server-side-encryption-aws-kms-key-id': rule.keyId,
          };
        case 'c':
          return customerHeaders(rule.key, 'x-amz-');
      }
    },
    forPart: (text) => customer(text, 'x-amz-'),
    forRead: (text) => customer(text, 'x-amz-'),
    forCopySource: (text) => customer(text, 'x-amz-copy-source-'),
  };
}

function customerHeaders(key: Buffer, start: string): Headers {
  return {
    [`${start}server-side-encryption-customer-algorithm`]: 'AES256',
    [`${start}server-side-encryption-customer-key`]: key.toString('base64'),
    [`${start}server-side-encryption-customer-key-md5`]: createHash('md5')
      .update(key)
      .digest('base64'),
  };
}

function parseS3(value: string): Rule {
  const equals = value.lastIndexOf('=');
  return { kind: 's3', prefix: equals < 0 ? value : value.slice(0, equals) };
}

function splitKey(value: string): { prefix: string; key: string } {
  const equals = value.lastIndexOf('=');
  const key = equals < 0 ? '' : value.slice(equals + 1);
  if (key === '') throw new McError('sse', 'SSE key is missing');
  return { prefix: value.slice(0, equals), key };
}

function parseKmsKey(value: string): Rule {
  const { prefix, key } = splitKey(value);
  if (!/^[0-9A-Za-z_-]+$/.test(key) || /^-|-$|^_$/.test(key)) {
    throw new McError('sse', `SSE key format error. Key (${key}) is badly formatted.`);
  }
  return { kind: 'kms', prefix, keyId: key };
}

function parseCustomerKey(value: string): Rule {
  const { prefix, key } = splitKey(value);
  const decoded = /^[0-9a-fA-F]{64}$/.test(key)
    ? Buffer.from(key, 'hex')
    : /^[A-Za-z0-9+/]+$/.test(key)
      ? Buffer.from(key, 'base64')
      : Buffer.alloc(0);
  if (decoded.length !== 32) {
    throw new McError(
      'sse',
      `Encryption key should be either raw base64 encoded or hex encoded. The given key decodes to ${decoded.length} bytes, but should be 32 bytes.`,
    );
  }
  return { kind: 'c', prefix, key: decoded };
}

async function checkPrefixes(
  context: McContext,
  rules: readonly Rule[],
  targets: readonly string[],
): Promise<void> {
  for (const { prefix } of rules) {
    const isRelated = targets.some((text) => text.startsWith(prefix) || prefix.startsWith(text));
    if (!isRelated) throw new McError('sse', 'SSE prefixes do not match any object paths.');
    const alias = prefix.split('/')[0] ?? '';
    if ((await context.aliases.find(alias)) === undefined) {
      throw new McError('sse', `SSE prefix ${prefix} has an invalid alias.`);
    }
  }
  const sorted = rules.map((rule) => rule.prefix).sort();
  for (const [index, prefix] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next?.startsWith(prefix) === true && prefix.split('/')[0] === next.split('/')[0]) {
      throw new McError('sse', `SSE prefix ${prefix} overlaps with ${next}.`);
    }
  }
}
