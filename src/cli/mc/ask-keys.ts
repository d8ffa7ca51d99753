// An access key and its secret, from the arguments, or asked for: on a terminal with a prompt and without
// an echo of the secret, else as lines of standard input.

import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

import type { McContext } from './context.ts';

/** The keys given, and those that were not given as they are typed. */
export async function askKeys(
  context: McContext,
  given: readonly string[],
): Promise<{ accessKey: string; secretKey: string }> {
  const [accessKey, secretKey] = given;
  if (accessKey !== undefined && secretKey !== undefined) return { accessKey, secretKey };
  const isTerminal = (context.io.stdin as Readable & { isTTY?: boolean }).isTTY === true;
  const reader = createInterface({
    input: context.io.stdin,
    ...(isTerminal ? { output: context.io.stdout, terminal: true } : {}),
  });
  const lines = reader[Symbol.asyncIterator]();
  const ask = async (prompt: string, isHidden: boolean): Promise<string> => {
    if (isTerminal) context.io.stdout.write(prompt);
    // While a secret is typed nothing is echoed: the interface writes through this one method.
    const internal = reader as unknown as { _writeToOutput?: (text: string) => void };
    const write = internal._writeToOutput;
    if (isHidden && isTerminal) internal._writeToOutput = () => undefined;
    const line = await lines.next();
    if (isHidden && isTerminal) {
      if (write !== undefined) internal._writeToOutput = write;
      context.io.stdout.write('\n');
    }
    return line.done === true ? '' : line.value.trim();
  };
  try {
    return {
      accessKey: accessKey ?? (await ask('Enter Access Key: ', false)),
      secretKey: await ask('Enter Secret Key: ', true),
    };
  } finally {
    reader.close();
  }
}
