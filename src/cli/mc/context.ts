// What every command gets: flags, output, aliases, and clients made on demand. Rule: a word names an alias
// when its first segment is a known alias; anything else is a local path.

import path from 'node:path';

import type { CliIo } from '../io.ts';
import { AdminClient } from './admin-client.ts';
import type { Flags } from './args.ts';
import type { Alias, AliasStore } from './config.ts';
import { McError } from './error.ts';
import type { Http } from './http.ts';
import type { Output } from './output.ts';
import { S3Client } from './s3-client.ts';
import { listLocalPath } from './local.ts';

/** An argument that names a place. `text` is what was typed. */
export type Target =
  | {
      readonly kind: 's3';
      readonly text: string;
      readonly alias: string;
      readonly bucket: string;
      readonly key: string;
    }
  | { readonly kind: 'local'; readonly text: string; readonly path: string };

export type S3Target = Extract<Target, { kind: 's3' }>;
export type LocalTarget = Extract<Target, { kind: 'local' }>;

/** The shared state of one run of the program. */
export type McContext = {
  readonly io: CliIo;
  readonly flags: Flags;
  readonly out: Output;
  readonly aliases: AliasStore;
  readonly http: Http;
  /** Clients by alias: each remembers the regions of its buckets. */
  readonly clients: Map<string, S3Client>;
};

/** Takes an argument apart. */
export async function parseTarget(context: McContext, text: string): Promise<Target> {
  const match = /^([^/\\]+)(?:[/\\](.*))?$/s.exec(text);
  const name = match?.[1] ?? '';
  if (match !== null && (await context.aliases.find(name)) !== undefined) {
    const rest = (match[2] ?? '').replace(/^\/+/, '');
    const slash = rest.indexOf('/');
    return {
      kind: 's3',
      text,
      alias: name,
      bucket: slash < 0 ? rest : rest.slice(0, slash),
      key: slash < 0 ? '' : rest.slice(slash + 1),
    };
  }
  return { kind: 'local', text, path: listLocalPath(text) };
}

/** A client of the alias. Throws `no-alias`. */
export async function openS3(context: McContext, name: string): Promise<S3Client> {
  const known = context.clients.get(name);
  if (known !== undefined) return known;
  const client = openS3For(context, await getAlias(context, name));
  context.clients.set(name, client);
  return client;
}

/** A client of an alias that need not be stored. */
export function openS3For(context: McContext, alias: Alias): S3Client {
  const region = context.io.env['MC_REGION'] ?? context.io.env['AWS_REGION'];
  return new S3Client({
    http: context.http,
    alias,
    signal: context.io.signal,
    region: region === '' ? undefined : region,
    now: Date.now,
  });
}

/** A client of the alias's admin API. The argument may have a trailing `/`. Throws `no-alias`. */
export async function openAdmin(context: McContext, target: string): Promise<AdminClient> {
  const alias = await getAlias(context, aliasOf(target));
  return new AdminClient({ http: context.http, alias, signal: context.io.signal, now: Date.now });
}

/** The alias part of `alias`, `alias/` or `alias/rest`. */
export function aliasOf(target: string): string {
  return target.split(/[/\\]/)[0] ?? '';
}

async function getAlias(context: McContext, name: string): Promise<Alias> {
  const alias = await context.aliases.find(name);
  if (alias === undefined) {
    throw new McError('no-alias', `No valid configuration found for '${name}' host alias.`);
  }
  if (/^s3v2$/i.test(alias.api)) {
    throw new McError(
      'config',
      `Alias \`${name}\` asks for signature version 2, which is not supported: set it again with --api s3v4.`,
    );
  }
  return alias;
}

/** `alias/bucket/key` of an object, as messages name it. */
export function s3Text(target: S3Target, key: string): string {
  return [target.alias, target.bucket, key].filter((part) => part !== '').join('/');
}

/** The last segment of a key or path. */
export function baseName(text: string): string {
  return path.posix.basename(text);
}
