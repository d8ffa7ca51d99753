// `kes key …`: make, show, lock and use named keys. Commands with several names stop at the first failure.

import type { KesClient } from '../../wire/kes-client.ts';
import type { KesCall, KesCommand } from './command.ts';
import {
  argOf,
  colorFlag,
  enclaveFlag,
  explained,
  insecureFlag,
  jsonFlag,
  withClient,
} from './command.ts';
import { KesCommandError } from './command-error.ts';
import { printNames } from './list-commands.ts';
import { formatTime, printRows } from './output.ts';

const plain = [insecureFlag, enclaveFlag] as const;
const shown = [insecureFlag, jsonFlag, colorFlag, enclaveFlag] as const;
const anyNumber = Number.POSITIVE_INFINITY;

/** All commands of the group, in the order of the help. */
export const keyCommands: readonly KesCommand[] = [
  {
    words: 'key create',
    argsHelp: 'NAME...',
    help: 'Create a new key',
    flags: plain,
    required: ['key name'],
    argsMax: anyNumber,
    run: (call) =>
      forEachName(call, 'create key', (client, name) => client.createKey(name, signalOf(call))),
  },
  {
    words: 'key import',
    argsHelp: 'NAME KEY',
    help: 'Import a key of 32 bytes, base64',
    flags: plain,
    required: ['key name', 'key'],
    run: importKey,
  },
  {
    words: 'key info',
    argsHelp: 'NAME',
    help: 'Show a key',
    flags: shown,
    required: ['key name'],
    run: showKey,
  },
  {
    words: 'key ls',
    argsHelp: '[PATTERN]',
    help: 'List keys',
    flags: shown,
    required: [],
    argsMax: 1,
    run: listKeys,
  },
  {
    words: 'key rm',
    argsHelp: 'NAME...',
    help: 'Delete a key. What it protects is lost for good',
    flags: plain,
    required: ['key name'],
    argsMax: anyNumber,
    run: (call) =>
      forEachName(call, 'remove key', (client, name) => client.deleteKey(name, signalOf(call))),
  },
  {
    words: 'key disable',
    argsHelp: 'NAME...',
    help: 'Lock a key: nothing can be encrypted or decrypted with it until it is enabled',
    flags: plain,
    required: ['key name'],
    argsMax: anyNumber,
    run: (call) =>
      forEachName(call, 'disable key', (client, name) => client.disableKey(name, signalOf(call))),
  },
  {
    words: 'key enable',
    argsHelp: 'NAME...',
    help: 'Unlock a key',
    flags: plain,
    required: ['key name'],
    argsMax: anyNumber,
    run: (call) =>
      forEachName(call, 'enable key', (client, name) => client.enableKey(name, signalOf(call))),
  },
  {
    words: 'key encrypt',
    argsHelp: 'NAME MESSAGE',
    help: 'Encrypt a message',
    flags: plain,
    required: ['key name', 'message'],
    run: encryptMessage,
  },
  {
    words: 'key decrypt',
    argsHelp: 'NAME CIPHERTEXT [CONTEXT]',
    help: 'Decrypt a ciphertext, base64',
    flags: plain,
    required: ['key name', 'ciphertext'],
    argsMax: 3,
    run: decryptMessage,
  },
  {
    words: 'key dek',
    argsHelp: 'NAME [CONTEXT]',
    help: 'Generate a data key, in plain and encrypted form',
    flags: plain,
    required: ['key name'],
    argsMax: 2,
    run: generateDataKey,
  },
];

function forEachName(
  call: KesCall,
  what: string,
  work: (client: KesClient, name: string) => Promise<void>,
): Promise<void> {
  return withClient(call, async (client) => {
    for (const name of call.flags.args) {
      await explained(`failed to ${what} "${name}"`, work(client, name));
    }
  });
}

async function importKey(call: KesCall): Promise<void> {
  const name = argOf(call, 0);
  const key = base64Of(call, { text: argOf(call, 1), what: 'key' });
  await withClient(call, (client) => {
    const material = { key, cipher: 'AES256' };
    return explained(
      `failed to import "${name}"`,
      client.importKey(name, material, signalOf(call)),
    );
  });
}

async function showKey(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const name = argOf(call, 0);
    const info = await explained(
      'failed to describe keys',
      client.describeKey(name, signalOf(call)),
    );
    if (call.flags.switches.has('json')) {
      const { algorithm, created_at, created_by, state } = info;
      call.output.json({
        name: info.name,
        algorithm,
        created_at,
        created_by: created_by ?? '',
        ...(state && { state }),
      });
      return;
    }
    printRows(call.output, [
      ['Name', info.name],
      ['Algorithm', info.algorithm],
      ['Date', formatTime(info.created_at)],
      ['Owner', info.created_by],
      ['State', info.state],
    ]);
  });
}

async function listKeys(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const prefix = argOf(call, 0).replace(/\*$/, '');
    const found = await explained('failed to list keys', client.listKeys(prefix, signalOf(call)));
    printNames(call, 'Key', found);
  });
}

async function encryptMessage(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const plaintext = Buffer.from(argOf(call, 1), 'utf8');
    const sealed = client.encrypt(argOf(call, 0), { plaintext }, signalOf(call));
    const ciphertext = (await explained('failed to encrypt message', sealed)).toString('base64');
    if (call.output.isTerminal) call.output.write(`\nciphertext: ${ciphertext}\n`);
    else call.output.write(JSON.stringify({ ciphertext }));
  });
}

async function decryptMessage(call: KesCall): Promise<void> {
  const ciphertext = base64Of(call, { text: argOf(call, 1), what: 'ciphertext' });
  const context = base64Of(call, { text: argOf(call, 2), what: 'context' });
  await withClient(call, async (client) => {
    const opened = client.decrypt(argOf(call, 0), { ciphertext, context }, signalOf(call));
    const plaintext = (await explained('failed to decrypt ciphertext', opened)).toString('base64');
    if (call.output.isTerminal) call.output.write(`\nplaintext: ${plaintext}\n`);
    else call.output.write(JSON.stringify({ plaintext }));
  });
}

async function generateDataKey(call: KesCall): Promise<void> {
  const context = base64Of(call, { text: argOf(call, 1), what: 'context' });
  await withClient(call, async (client) => {
    const generated = client.generateKey(argOf(call, 0), context, signalOf(call));
    const key = await explained('failed to derive key', generated);
    const plaintext = key.plaintext.toString('base64');
    const ciphertext = key.ciphertext.toString('base64');
    if (!call.output.isTerminal) call.output.write(JSON.stringify({ plaintext, ciphertext }));
    else call.output.write(`\nplaintext:  ${plaintext}\nciphertext: ${ciphertext}\n`);
  });
}

/** Strict base64; line breaks are ignored. The text is not shown: it may be a key. */
function base64Of(call: KesCall, arg: { readonly text: string; readonly what: string }): Buffer {
  const text = arg.text.replace(/[\r\n]/g, '');
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') === text) return bytes;
  throw new KesCommandError(
    'failed',
    `invalid ${arg.what}: not base64 text. See '${call.name} --help'`,
  );
}

function signalOf(call: KesCall): { readonly signal: AbortSignal } {
  return { signal: call.io.signal };
}
