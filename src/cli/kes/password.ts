// Asks on standard error and reads one line; a password is not shown where the input is a terminal. Rule
// kept here: the terminal is put back as it was, whatever happens.

import type { Readable } from 'node:stream';
import type { CliIo } from '../io.ts';
import { KesCommandError } from './command-error.ts';

const lineBytesMax = 4096;

/** The line without its end. Throws `KesCommandError` when the input ends or the command is interrupted. */
export async function askPassword(io: CliIo, prompt: string): Promise<string> {
  io.stderr.write(prompt);
  const setRaw = rawModeOf(io.stdin);
  setRaw(true);
  try {
    return await readLine(io);
  } finally {
    setRaw(false);
    io.stderr.write('\n');
  }
}

/** As `askPassword`, for what may be seen while it is typed. */
export function askLine(io: CliIo, prompt: string): Promise<string> {
  io.stderr.write(prompt);
  return readLine(io);
}

/**
 * The next line of standard input, without its end. Throws `KesCommandError` when there is none. Input
 * beyond the line stays in the stream, so that a second question can follow.
 */
export function readLine(io: CliIo): Promise<string> {
  const { stdin, signal } = io;
  return new Promise((resolve, reject) => {
    let line = Buffer.alloc(0);
    const settle = (finish: () => void) => {
      stdin.off('readable', onReadable);
      stdin.off('end', onEnd);
      signal.removeEventListener('abort', onAbort);
      finish();
    };
    const onReadable = () => {
      for (let chunk = readOne(stdin); chunk; chunk = readOne(stdin)) {
        const byte = chunk[0] ?? 0;
        if (byte === 0x0a || byte === 0x0d) return settle(() => resolve(line.toString('utf8')));
        if (byte === 0x03) return settle(() => reject(interrupted()));
        if (byte === 0x7f || byte === 0x08) line = line.subarray(0, -1);
        else line = Buffer.concat([line, chunk]);
        if (line.length > lineBytesMax) return settle(() => reject(noInput()));
      }
    };
    const onEnd = () =>
      settle(() => (line.length > 0 ? resolve(line.toString('utf8')) : reject(noInput())));
    const onAbort = () => settle(() => reject(interrupted()));
    stdin.on('readable', onReadable);
    stdin.on('end', onEnd);
    signal.addEventListener('abort', onAbort, { once: true });
    onReadable();
  });
}

function readOne(stdin: Readable): Buffer | undefined {
  const chunk: unknown = stdin.read(1);
  return chunk === null ? undefined : Buffer.from(chunk as Uint8Array); // no encoding is set
}

function rawModeOf(stdin: Readable): (isRaw: boolean) => void {
  if (!('setRawMode' in stdin) || typeof stdin.setRawMode !== 'function') return () => {};
  const isTerminal = 'isTTY' in stdin && stdin.isTTY === true;
  const setRawMode = stdin.setRawMode.bind(stdin) as (isRaw: boolean) => void;
  return isTerminal ? setRawMode : () => {};
}

function noInput(): KesCommandError {
  return new KesCommandError('failed', 'no input given');
}

function interrupted(): KesCommandError {
  return new KesCommandError('failed', 'interrupted');
}
