// `kes key …`: make, show and use named keys. What becomes of a key later is in `key-state-commands.ts`.
// Commands with several names stop at the first failure.

import type { KesKeyVersionInfo } from '../../wire/kes.ts';
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
import type { FlagSpec } from './flags.ts';
import { base64Of, forEachName, signalOf } from './key-args.ts';
import { printNames, statesFlag } from './list-commands.ts';
import { formatTime, printRows } from './output.ts';
import { readLine } from './password.ts';

const plain = [insecureFlag, enclaveFlag] as const;
const shown = [insecureFlag, jsonFlag, colorFlag, enclaveFlag] as const;
const cipherFlag: FlagSpec = {
  name: 'cipher',
  kind: 'text',
  value: 'AES256|ChaCha20',
  help: 'What the key is for (AES256)',
};
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
    help: "Import a key of 32 bytes, base64; '-' reads it from standard input",
    flags: [...plain, cipherFlag],
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
    flags: [...shown, statesFlag],
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
  {
    words: 'key hmac',
    argsHelp: 'NAME MESSAGE',
    help: 'Compute the HMAC of a message',
    flags: plain,
    required: ['key name', 'message'],
    run: computeHmac,
  },
];

async function importKey(call: KesCall): Promise<void> {
  const name = argOf(call, 0);
  const arg = argOf(call, 1);
  const text = arg === '-' ? (await readLine(call.io)).trim() : arg;
  const key = base64Of(call, { text, what: 'key' });
  const material = { key, cipher: call.flags.texts.get('cipher') ?? 'AES256' };
  try {
    await withClient(call, (client) => {
      const imported = client.importKey(name, material, signalOf(call));
      return explained(`failed to import "${name}"`, imported);
    });
  } finally {
    key.fill(0);
  }
}

async function showKey(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const name = argOf(call, 0);
    const described = client.describeKey(name, signalOf(call));
    const info = await explained('failed to describe keys', described);
    if (call.flags.switches.has('json')) {
      const { name: _, algorithm, created_at, created_by, ...more } = info;
      const base = { name: info.name, ...(algorithm && { algorithm }) };
      call.output.json({ ...base, created_at, created_by: created_by ?? '', ...more });
      return;
    }
    const hasVersions = (info.version ?? 1) > 1;
    printRows(call.output, [
      ['Name', info.name],
      ['Algorithm', info.algorithm],
      ['Date', formatTime(info.created_at)],
      ['Owner', info.created_by],
      ['State', info.state],
      ['Destroy at', formatTime(info.destroy_at)],
      ['ID', info.id],
      ['Fingerprint', info.fingerprint],
      ['Version', hasVersions ? String(info.version) : undefined],
    ]);
    printRows(call.output, (info.versions ?? []).map(versionRow));
  });
}

function versionRow(
  version: KesKeyVersionInfo,
  index: number,
): readonly [label: string, value: string] {
  const date = formatTime(version.created_at) ?? '';
  const label = index === 0 ? 'Versions' : '';
  return [label, `${version.version}  ${date}  ${version.fingerprint}`.trimEnd()];
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

async function computeHmac(call: KesCall): Promise<void> {
  await withClient(call, async (client) => {
    const computed = client.hmac(argOf(call, 0), Buffer.from(argOf(call, 1)), signalOf(call));
    const hmac = (await explained('failed to compute HMAC', computed)).toString('base64');
    if (call.output.isTerminal) call.output.write(`\nhmac: ${hmac}\n`);
    else call.output.write(JSON.stringify({ hmac }));
  });
}
