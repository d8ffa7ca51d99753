// `kes identity …`: API keys and the identities that belong to them. `new` and `of` work without a server.
// Rule kept here: a private key is written with mode 0600, and nothing is overwritten unless asked to.

import { createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { KesDocument } from '../../wire/kes-answers.ts';
import type { KesApiKey, KesClientCertificate } from '../../wire/kes-identity.ts';
import {
  apiKeyOf,
  certificateIdentity,
  createClientCertificate,
  formatApiKey,
  generateApiKey,
  KesIdentityError,
  parseApiKey,
} from '../../wire/kes-identity.ts';
import { sealPrivateKey } from '../../wire/kes-private-key.ts';
import type { KesCall, KesCommand } from './command.ts';
import { argOf, colorFlag, explained, insecureFlag, jsonFlag, withClient } from './command.ts';
import { KesCommandError } from './command-error.ts';
import { parseDuration } from './duration.ts';
import { printNames } from './list-commands.ts';
import { boxed, formatTime, printRows } from './output.ts';
import { printRules } from './policy-commands.ts';
import { askPassword } from './password.ts';
import { writeNewFile } from './write-file.ts';

/** All commands of the group, in the order of the help; the bare `identity` comes first. */
export const identityCommands: readonly KesCommand[] = [
  {
    words: 'identity',
    argsHelp: '[KEY|FILE]',
    help: 'Generate an API key, or show what belongs to an API key, certificate or private key',
    flags: [],
    required: [],
    argsMax: 1,
    run: newOrShow,
  },
  {
    words: 'identity new',
    argsHelp: '[SUBJECT]',
    help: 'Generate an API key and, if wanted, key and certificate files',
    flags: [
      { name: 'key', kind: 'text', value: 'FILE', help: 'Write the private key to FILE' },
      { name: 'cert', kind: 'text', value: 'FILE', help: 'Write the certificate to FILE' },
      { name: 'ip', kind: 'list', value: 'IP', help: 'Add an IP address to the certificate' },
      { name: 'dns', kind: 'list', value: 'NAME', help: 'Add a DNS name to the certificate' },
      { name: 'expiry', kind: 'text', value: 'DURATION', help: 'How long it is valid (720h)' },
      { name: 'encrypt', kind: 'switch', help: 'Protect the private key with a password' },
      { name: 'force', short: 'f', kind: 'switch', help: 'Overwrite existing files' },
    ],
    required: [],
    argsMax: 1,
    run: newIdentity,
  },
  {
    words: 'identity of',
    argsHelp: 'KEY|FILE',
    help: 'Show the identity of an API key or a certificate file',
    flags: [],
    required: ['API key or certificate'],
    run: async (call) => printBare(call, await identityOf(argOf(call, 0))),
  },
  {
    words: 'identity info',
    argsHelp: '[IDENTITY]',
    help: 'Show an identity, by default the own one',
    flags: [insecureFlag, jsonFlag, colorFlag],
    required: [],
    argsMax: 1,
    run: showIdentity,
  },
  {
    words: 'identity ls',
    argsHelp: '[PATTERN]',
    help: 'List identities',
    flags: [insecureFlag, jsonFlag, colorFlag],
    required: [],
    argsMax: 1,
    run: listIdentities,
  },
];

async function newOrShow(call: KesCall): Promise<void> {
  const arg = argOf(call, 0);
  if (arg === '') {
    printBare(call, formatApiKey(generateApiKey()));
    return;
  }
  const apiKey = await findKeyFile(arg);
  printBare(call, apiKey ? formatApiKey(apiKey) : await identityOf(arg));
}

async function newIdentity(call: KesCall): Promise<void> {
  const { texts, lists, switches } = call.flags;
  const [keyFile, certFile] = [texts.get('key'), texts.get('cert')];
  const needsFiles = texts.size + lists.size + switches.size > 0 || argOf(call, 0) !== '';
  const apiKey = generateApiKey();
  if (keyFile !== undefined && certFile !== undefined) {
    await writeFiles(call, { apiKey, keyFile, certFile });
  } else if (needsFiles) {
    throw new KesCommandError(
      'usage',
      `both --key and --cert are required. See '${call.name} --help'`,
    );
  }
  printNewIdentity(call, apiKey);
}

/** Scripts take the API key from line 3 and the identity from line 9. */
function printNewIdentity(call: KesCall, apiKey: KesApiKey): void {
  const key = formatApiKey(apiKey);
  const lines = [
    call.output.bold('Your API key:'),
    '',
    `   ${key}`,
    '',
    'It is shown only this once. Keep it secret.',
    '',
    call.output.bold('Your Identity:'),
    '',
    `   ${apiKey.identity}`,
    '',
    'It is no secret: whoever is to accept the API key needs it.',
    'To see it again:',
    '',
    `   kes identity of ${key}`,
  ];
  call.output.line(lines.join('\n'));
}

async function writeFiles(
  call: KesCall,
  files: { readonly apiKey: KesApiKey; readonly keyFile: string; readonly certFile: string },
): Promise<void> {
  const { texts, lists, switches } = call.flags;
  const { apiKey } = files;
  const subject = argOf(call, 0);
  let made: KesClientCertificate;
  try {
    made = await createClientCertificate(apiKey, {
      ...(subject !== '' && { commonName: subject }),
      validMs: parseExpiry(texts.get('expiry') ?? '720h'),
      dnsNames: lists.get('dns') ?? [],
      ipAddresses: lists.get('ip') ?? [],
      isServer: true,
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new KesCommandError('usage', error.message, { cause: error });
  }
  const key = switches.has('encrypt')
    ? sealPrivateKey(apiKey.privateKey, await askNewPassword(call))
    : made.key;
  const isForced = switches.has('force');
  await writeNewFile(files.keyFile, { text: key, mode: 0o600, isForced, what: 'private key' });
  await writeNewFile(files.certFile, {
    text: made.cert,
    mode: 0o644,
    isForced,
    what: 'certificate',
  });
}

async function askNewPassword(call: KesCall): Promise<string> {
  const password = await askPassword(call.io, 'Enter password for private key: ');
  const again = await askPassword(call.io, 'Confirm password for private key: ');
  if (password === '') throw new KesCommandError('failed', 'the password is empty');
  if (password !== again) throw new KesCommandError('failed', 'passwords do not match');
  return password;
}

/** Milliseconds that a certificate is valid: no date after the year 9999 can be written into one. */
function parseExpiry(text: string): number {
  const ms = parseDuration(text, '720h');
  if (Date.now() + ms < Date.UTC(10_000, 0, 1)) return ms;
  throw new KesCommandError(
    'usage',
    `invalid duration '${text}': it would end after the year 9999`,
  );
}

/** An API key or the name of a certificate file. */
async function identityOf(arg: string): Promise<string> {
  const text = await readFile(arg, 'utf8').catch(() => undefined);
  try {
    if (text !== undefined) return certificateIdentity(firstCertificate(text));
    return parseApiKey(arg).identity;
  } catch (error) {
    if (!(error instanceof KesIdentityError)) throw error;
    const what = text === undefined ? 'neither an API key nor a certificate file' : error.message;
    throw failed(what, error);
  }
}

function firstCertificate(pem: string): string {
  return /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(pem)?.[0] ?? '';
}

/** The API key of an Ed25519 private key file; undefined when the argument is no such file. */
async function findKeyFile(path: string): Promise<KesApiKey | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined || !text.includes('PRIVATE KEY-----')) return undefined;
  try {
    return apiKeyOf(createPrivateKey(text));
  } catch (error) {
    throw failed('the private key is not an unencrypted Ed25519 key', error);
  }
}

async function showIdentity(call: KesCall): Promise<void> {
  const identity = argOf(call, 0);
  const options = { signal: call.io.signal };
  await withClient(call, async (client) => {
    const described =
      identity === '' ? client.describeSelf(options) : client.describeIdentity(identity, options);
    const info = await explained('failed to describe identity', described);
    if (call.flags.switches.has('json')) {
      call.output.json(info);
      return;
    }
    printRows(call.output, [
      ['Identity', textOf(info, 'identity') ?? identity],
      ['Admin', info['admin'] === true ? 'yes' : undefined],
      ['Policy', textOf(info, 'policy')],
      ['Date', formatTime(info['created_at'])],
      ['Owner', textOf(info, 'created_by')],
    ]);
    printRules(call.output, info);
  });
}

async function listIdentities(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const prefix = argOf(call, 0).replace(/\*$/, '');
    const found = client.listIdentities(prefix, { signal: call.io.signal });
    printNames(call, 'Identity', await explained('failed to list identities', found));
  });
}

/** For scripts the bare text without a line end. */
function printBare(call: KesCall, text: string): void {
  call.output.write(call.output.isTerminal ? boxed(text) : text);
}

function textOf(document: KesDocument, member: string): string | undefined {
  const value = document[member];
  return typeof value === 'string' ? value : undefined;
}

function failed(text: string, cause: unknown): KesCommandError {
  return new KesCommandError('failed', text, { cause });
}
