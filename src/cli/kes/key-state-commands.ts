// `kes key …`: what becomes of a key after it was made: versions, locking, destruction. Rule kept here:
// nothing that cannot be undone happens on a terminal before the name of the key was typed once more.

import type { KesDestroyResponse } from '../../wire/kes.ts';
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
import { parseDuration } from './duration.ts';
import { base64Of, forEachName, signalOf } from './key-args.ts';
import { formatTime } from './output.ts';
import { askLine } from './password.ts';

const plain = [insecureFlag, enclaveFlag] as const;
const anyNumber = Number.POSITIVE_INFINITY;

/** All of them, in the order of the help. */
export const keyStateCommands: readonly KesCommand[] = [
  {
    words: 'key rotate',
    argsHelp: 'NAME...',
    help: 'Add a version to a key: new ciphertexts use it, older ones still open',
    flags: plain,
    required: ['key name'],
    argsMax: anyNumber,
    run: rotateKeys,
  },
  {
    words: 'key rewrap',
    argsHelp: 'NAME CIPHERTEXT [CONTEXT]',
    help: 'Seal a ciphertext again under the newest version, without showing what is in it',
    flags: plain,
    required: ['key name', 'ciphertext'],
    argsMax: 3,
    run: rewrap,
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
    words: 'key destroy',
    argsHelp: 'NAME',
    help: 'Lock a key and destroy it later. Its name stays taken; what it protects is lost then',
    flags: [
      { name: 'after', kind: 'text', value: 'DURATION', help: 'When it happens (168h)' },
      { name: 'now', kind: 'switch', help: 'Destroy it at once: that cannot be cancelled' },
      { name: 'force', short: 'f', kind: 'switch', help: 'Do not ask' },
      jsonFlag,
      colorFlag,
      ...plain,
    ],
    required: ['key name'],
    run: destroyKey,
  },
  {
    words: 'key cancel',
    argsHelp: 'NAME',
    help: 'Take back the destruction of a key while it is not destroyed',
    flags: plain,
    required: ['key name'],
    run: (call) =>
      forEachName(call, 'cancel destruction of key', (client, name) =>
        client.cancelKey(name, signalOf(call)),
      ),
  },
  {
    words: 'key accept',
    argsHelp: 'NAME',
    help: 'Accept that another key has this name now, after the key store was restored',
    flags: plain,
    required: ['key name'],
    run: (call) =>
      forEachName(call, 'accept key', (client, name) => client.acceptKey(name, signalOf(call))),
  },
];

function rotateKeys(call: KesCall): Promise<void> {
  return forEachName(call, 'rotate key', async (client, name) => {
    const version = await client.rotateKey(name, signalOf(call));
    call.output.line(`${name}  version ${version}`);
  });
}

async function rewrap(call: KesCall): Promise<void> {
  const ciphertext = base64Of(call, { text: argOf(call, 1), what: 'ciphertext' });
  const context = base64Of(call, { text: argOf(call, 2), what: 'context' });
  await withClient(call, async (client) => {
    const sealing = client.rewrap(argOf(call, 0), { ciphertext, context }, signalOf(call));
    const sealed = await explained('failed to rewrap ciphertext', sealing);
    const text = sealed.ciphertext.toString('base64');
    const { version } = sealed;
    if (!call.output.isTerminal) {
      call.output.write(JSON.stringify({ ciphertext: text, version }));
      return;
    }
    call.output.write(`\nciphertext: ${text}\nversion:    ${version}\n`);
  });
}

async function destroyKey(call: KesCall): Promise<void> {
  const name = argOf(call, 0);
  const afterSeconds = delaySeconds(call);
  await confirm(call, name);
  await withClient(call, async (client) => {
    const destroying = client.destroyKey(name, afterSeconds, signalOf(call));
    const result = await explained(`failed to destroy key "${name}"`, destroying);
    if (call.flags.switches.has('json')) call.output.json({ name, ...result });
    else printDestroyed(call, name, result);
  });
}

/** Seconds until the destruction; undefined leaves it to the server. */
function delaySeconds(call: KesCall): number | undefined {
  const after = call.flags.texts.get('after');
  const isNow = call.flags.switches.has('now');
  if (isNow && after !== undefined) {
    throw new KesCommandError('usage', '--now and --after cannot be used at the same time');
  }
  if (isNow) return 0;
  return after === undefined ? undefined : Math.ceil(parseDuration(after, '168h') / 1000);
}

/** Only where somebody sits in front of it: a script says what it means. */
async function confirm(call: KesCall, name: string): Promise<void> {
  const { stdin } = call.io;
  const isAttended = call.output.isTerminal && 'isTTY' in stdin && stdin.isTTY === true;
  if (!isAttended || call.flags.switches.has('force')) return;
  const when = call.flags.switches.has('now') ? 'at once, for good' : 'after the waiting time';
  call.io.stderr.write(`Everything that is encrypted with "${name}" will be lost ${when}.\n`);
  const typed = await askLine(call.io, 'Type the name of the key to destroy it: ');
  if (typed.trim() === name) return;
  throw new KesCommandError('failed', 'this is not the name of the key: nothing was done');
}

function printDestroyed(call: KesCall, name: string, result: KesDestroyResponse): void {
  const { output } = call;
  if (result.state === 'destroyed') output.line(`Key "${name}" is destroyed.`);
  else {
    const when = formatTime(result.destroy_at) ?? result.destroy_at;
    output.line(`Key "${name}" is locked and will be destroyed at ${when}.`);
    output.line(`To take that back: kes key cancel ${name}`);
  }
  if (result.note !== undefined) output.line(`Note: ${result.note}`);
}
