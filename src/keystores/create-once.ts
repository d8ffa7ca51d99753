// Creating something over HTTP when an answer may get lost. A second attempt that finds the name taken
// cannot know by itself whether the first one took it; what lies there tells.

import { KeyStoreError } from '../keys/key-store.ts';
import type { HttpAnswer } from './http.ts';

export type CreateOnce = {
  /** One attempt, never repeated by the HTTP client. */
  readonly send: () => Promise<HttpAnswer>;
  readonly isTaken: (answer: HttpAnswer) => boolean;
  /** Reads what lies there; called only when a second attempt found the name taken. */
  readonly read: () => Promise<string | undefined>;
  readonly value: string;
  /** Before attempts 2 and 3; 200 to 1,000 ms at random by default. */
  readonly retryDelayMs?: (() => number) | undefined;
};

const attemptsMax = 3;

/**
 * The answer that counts; undefined when an attempt whose answer was lost has created it. Repeats after no
 * answer and after a status of 500 or more, twice at most. Throws what the last attempt threw.
 */
export async function createOnce(create: CreateOnce): Promise<HttpAnswer | undefined> {
  const { send, isTaken, read, value } = create;
  for (let count = 1; ; count += 1) {
    const answer = await attempt(send, count === attemptsMax);
    if (answer && (answer.status < 500 || count === attemptsMax)) {
      const isOurs = count > 1 && isTaken(answer) && (await read()) === value;
      return isOurs ? undefined : answer;
    }
    const delayMs = create.retryDelayMs?.() ?? 200 + Math.random() * 800;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

/** Undefined when there was no answer and another attempt follows. */
async function attempt(
  send: () => Promise<HttpAnswer>,
  isLast: boolean,
): Promise<HttpAnswer | undefined> {
  try {
    return await send();
  } catch (error) {
    const isTransient = error instanceof KeyStoreError && error.code === 'unreachable';
    if (!isTransient || isLast) throw error;
    return undefined;
  }
}

/** What a product says about a refusal, for an error text: at most 200 characters of one line, without `secrets`. */
export function saidBy(text: string, secrets: readonly (string | undefined)[] = []): string {
  let said = text;
  for (const secret of secrets) if (secret) said = said.replaceAll(secret, '…');
  said = said.replaceAll(/[^\x20-\x7e…]+/g, ' ').trim();
  return said.length > 200 ? `${said.slice(0, 200)}…` : said;
}
