// `alias set|list|remove|import|export`: the stored servers and their keys. `set` tries the keys on the
// server before it stores them, unless `--api` says which signature to use.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { askKeys } from '../ask-keys.ts';
import { isAliasName, isHostUrl } from '../config.ts';
import type { Alias, AliasConfig } from '../config.ts';
import { openS3For } from '../context.ts';
import type { McContext } from '../context.ts';
import { invalidArguments, McError, toMcError } from '../error.ts';
import type { JsonObject } from '../error.ts';
import { Failure } from '../failure.ts';
import { formatJson } from '../output.ts';
import { readBounded } from '../server-error.ts';

/** `alias set ALIAS URL [ACCESSKEY [SECRETKEY]]` */
export async function runAliasSet(context: McContext, args: readonly string[]): Promise<void> {
  const [given = '', url = ''] = args;
  const name = cleanName(given);
  const api = context.flags.find('api') ?? '';
  const path = context.flags.find('path') ?? 'auto';
  checkPlace({ name, url, api, path });
  await context.aliases.prepare();
  const keys = await askKeys(context, args.slice(2));
  checkKeys(keys);
  const alias: Alias = {
    name,
    source: '',
    url: url.replace(/\/$/, ''),
    ...keys,
    api: api === '' ? 's3v4' : api,
    path,
  };
  if (api === '') await probe(context, alias);
  const { name: _name, source: _source, ...config } = alias;
  await context.aliases.set(name, config);
  context.out.message(aliasDocument(alias), () =>
    context.out.paint(`Added \`${name}\` successfully.`, 'green'),
  );
}

/** `alias list [ALIAS]` */
export async function runAliasList(context: McContext, args: readonly string[]): Promise<void> {
  const { out } = context;
  const wanted = args[0];
  const aliases =
    wanted === undefined
      ? await context.aliases.list()
      : [await getAlias(context, cleanName(wanted))];
  const width = Math.max(...aliases.map((alias) => alias.name.length), 0);
  for (const alias of aliases) {
    out.message({ ...aliasDocument(alias), src: alias.source }, () => {
      const row = (label: string, value: string) => `  ${label.padEnd(9)} : ${value}`;
      const lines = [
        row('URL', alias.url),
        row('AccessKey', alias.accessKey),
        row('SecretKey', alias.secretKey),
        row('API', shownApi(alias)),
        row('Path', alias.path),
        row('Src', alias.source),
      ];
      return [out.paint(alias.name.padEnd(width), 'cyanBold'), ...lines].join('\n');
    });
  }
}

/** `alias remove ALIAS` */
export async function runAliasRemove(context: McContext, args: readonly string[]): Promise<void> {
  const name = cleanName(args[0] ?? '');
  checkName(name);
  await getAlias(context, name);
  if (!(await context.aliases.remove(name))) {
    throw new Failure(
      `Unable to remove \`${name}\`.`,
      new McError('config', `It is set by the environment: unset MC_HOST_${name}.`),
    );
  }
  context.out.message({ status: 'success', alias: name, URL: '' }, () =>
    context.out.paint(`Removed \`${name}\` successfully.`, 'green'),
  );
}

/** `alias import ALIAS [FILE]` */
export async function runAliasImport(context: McContext, args: readonly string[]): Promise<void> {
  const name = cleanName(args[0] ?? '');
  checkName(name);
  const file = args[1];
  let config: AliasConfig;
  try {
    const text =
      file === undefined || file === '-'
        ? Buffer.from(await readBounded(context.io.stdin as AsyncIterable<Uint8Array>, 1024 * 1024))
        : await readFile(file);
    config = parseImport(JSON.parse(text.toString('utf8')) as unknown);
  } catch (error) {
    throw new Failure('Unable to parse credentials.', toMcError(error));
  }
  checkPlace({ name, url: config.url, api: config.api, path: config.path });
  checkKeys(config);
  await context.aliases.set(name, config);
  const document = aliasDocument({ ...config, name, source: '' });
  context.out.message(document, () =>
    context.out.paint(`Imported \`${name}\` successfully.`, 'green'),
  );
}

/** `alias export ALIAS` */
export async function runAliasExport(context: McContext, args: readonly string[]): Promise<void> {
  const {
    name: _name,
    source: _source,
    sessionToken,
    ...rest
  } = await getAlias(context, cleanName(args[0] ?? ''));
  const token = sessionToken === undefined ? {} : { sessionToken };
  const { url, accessKey, secretKey, api, path } = rest;
  context.out.line(formatJson({ url, accessKey, secretKey, ...token, api, path }));
}

function cleanName(text: string): string {
  return text.replace(/[/\\]$/, '');
}

function shownApi(alias: AliasConfig): string {
  return alias.accessKey === '' && alias.secretKey === '' ? '' : alias.api;
}

function aliasDocument(alias: Alias): JsonObject {
  const optional = (name: string, value: string) => (value === '' ? {} : { [name]: value });
  return {
    status: 'success',
    alias: alias.name,
    URL: alias.url,
    ...optional('accessKey', alias.accessKey),
    ...optional('secretKey', alias.secretKey),
    ...optional('sessionToken', alias.sessionToken ?? ''),
    ...optional('api', shownApi(alias)),
    ...optional('path', alias.path),
  };
}

async function getAlias(context: McContext, name: string): Promise<Alias> {
  const alias = await context.aliases.find(name);
  if (alias !== undefined) return alias;
  throw new Failure(
    `No such alias \`${name}\` found.`,
    new McError(
      'no-alias',
      `Use \`mc alias set mycloud ${name} ...\` to add an alias. Use the alias for S3 operations.`,
    ),
  );
}

function checkName(name: string): void {
  if (isAliasName(name)) return;
  throw new Failure(
    'Invalid alias.',
    new McError(
      'argument',
      `Alias \`${name}\` should have alphanumeric characters such as [helloWorld0, hello_World0, ...] and begin with a letter.`,
    ),
  );
}

function checkPlace(place: { name: string; url: string; api: string; path: string }): void {
  checkName(place.name);
  if (!isHostUrl(place.url)) {
    throw new Failure(
      'Invalid URL.',
      new McError(
        'argument',
        `URL \`${place.url}\` for MinIO Client should be of the form scheme://host[:port]/ without resource component.`,
      ),
    );
  }
  if (place.api !== '' && !/^s3v[42]$/i.test(place.api)) {
    throw new Failure(
      'Unrecognized API signature. Valid options are `[S3v4, S3v2]`.',
      invalidArguments(),
    );
  }
  if (!/^(auto|on|off|dns|path)?$/i.test(place.path)) {
    throw new Failure(
      'Unrecognized path value. Valid options are `[auto, on, off]`.',
      invalidArguments(),
    );
  }
}

function checkKeys(keys: { accessKey: string; secretKey: string }): void {
  const { accessKey, secretKey } = keys;
  if (accessKey === '' && secretKey === '') return;
  if (accessKey.length < 3) {
    throw new Failure(`Invalid access key \`${accessKey}\`.`, invalidArguments());
  }
  if (secretKey.length < 8) {
    throw new Failure('Invalid secret key, it has less than 8 characters.', invalidArguments());
  }
}

/** Asks for a bucket that does not exist: "no such bucket" proves that the keys work. */
async function probe(context: McContext, alias: Alias): Promise<void> {
  const letters = 'abcdefghijklmnopqrstuvwxyz0123456789';
  const suffix = [...randomBytes(30)].map((byte) => letters[byte % letters.length]).join('');
  const bucket = `probe-bsign-${suffix}`;
  const client = openS3For(context, alias);
  try {
    await client.location(bucket);
    await client.call({ method: 'HEAD', bucket, statuses: [200] });
  } catch (error) {
    const reason = toMcError(error);
    if (reason.serverCode === 'NoSuchBucket' || reason.serverCode === 'AccessDenied') return;
    throw new Failure('Unable to initialize new alias from the provided credentials.', reason);
  }
}

function parseImport(value: unknown): AliasConfig {
  if (typeof value !== 'object' || value === null) {
    throw new McError('argument', 'The input is not a JSON object.');
  }
  const fields = value as Readonly<Record<string, unknown>>;
  const text = (name: string) => (typeof fields[name] === 'string' ? fields[name] : '');
  return {
    url: text('url').replace(/\/$/, ''),
    accessKey: text('accessKey'),
    secretKey: text('secretKey'),
    ...(text('sessionToken') === '' ? {} : { sessionToken: text('sessionToken') }),
    api: text('api') === '' ? 's3v4' : text('api'),
    path: text('path') === '' ? 'auto' : text('path'),
  };
}
