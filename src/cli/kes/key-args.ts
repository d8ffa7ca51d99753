// What the commands about keys share: their arguments, and doing one thing to several keys.

import type { KesClient } from '../../wire/kes-client.ts';
import type { KesCall } from './command.ts';
import { explained, withClient } from './command.ts';
import { KesCommandError } from './command-error.ts';

/** Does the work for every name given, in order, and stops at the first failure. */
export function forEachName(
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

/** Strict base64; line breaks are ignored. The text is not shown: it may be a key. */
export function base64Of(
  call: KesCall,
  arg: { readonly text: string; readonly what: string },
): Buffer {
  const text = arg.text.replace(/[\r\n]/g, '');
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') === text) return bytes;
  throw new KesCommandError(
    'failed',
    `invalid ${arg.what}: not base64 text. See '${call.name} --help'`,
  );
}

/** The call of a client ends with the command. */
export function signalOf(call: KesCall): { readonly signal: AbortSignal } {
  return { signal: call.io.signal };
}
