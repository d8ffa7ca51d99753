// Many ciphertexts of one key in one request: what clients of 2022 and 2023 ask for. The route has a path
// of its own in policies; one ciphertext that does not open fails the whole request, as it always did. The
// audit file has a line for each ciphertext, besides the one of the request.

import type { AuditFacts } from '../audit/audit.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { answerError, KesHttpError } from '../errors.ts';
import { jsonReply, type KesReply } from '../exchange.ts';
import { type JsonMembers, parseArray } from '../request-json.ts';
import { checkKeyName, decryptCall } from './keys.ts';

const invalidBody = 'invalid request body';

/** Most ciphertexts in one request. */
export const bulkEntriesMax = 1_000;

async function bulkDecrypt(context: KesContext): Promise<KesReply> {
  const name = checkKeyName(context.resource);
  const entries = parseArray(await context.readBody(), invalidBody);
  if (entries.length > bulkEntriesMax) {
    throw new KesHttpError(400, `too many ciphertexts: at most ${bulkEntriesMax} at once`);
  }
  context.note({ key: name });
  const plaintexts: { plaintext: string }[] = [];
  const written: Promise<boolean>[] = [];
  try {
    for (const members of entries) {
      const entry = { name, members, written };
      plaintexts.push({ plaintext: await decryptEntry(context, entry) });
    }
  } finally {
    await allWritten(written);
  }
  return jsonReply(plaintexts);
}

/** What is not in the audit log must not be answered. */
async function allWritten(written: readonly Promise<boolean>[]): Promise<void> {
  if ((await Promise.all(written)).every(Boolean)) return;
  throw new KesHttpError(500, 'the audit log cannot be written');
}

type Entry = {
  readonly name: string;
  readonly members: JsonMembers;
  /** Takes whether the line of the entry could be written. */
  readonly written: Promise<boolean>[];
};

/** One ciphertext, with its own line in the audit file. */
async function decryptEntry(
  context: KesContext,
  { name, members, written }: Entry,
): Promise<string> {
  const timeMs = context.deps.nowMs();
  const start = performance.now();
  let facts: AuditFacts = {};
  const note = (more: AuditFacts) => {
    facts = { ...facts, ...more };
  };
  let outcome: { readonly status: number; readonly reason?: string } = { status: 200 };
  try {
    return (await decryptCall({ state: context.state, note }, name, members)).plaintext;
  } catch (error) {
    const { status, message } = answerError(error, 'key-bulk-decrypt').answer;
    outcome = { status, reason: message };
    throw error;
  } finally {
    const { path, identity, ip, request } = context;
    const durationMs = performance.now() - start;
    const who = { timeMs, method: request.method, path, identity, ip, durationMs };
    const what = { operation: 'key-bulk-decrypt', isAllowed: true, isPart: true };
    const event = { ...who, ...what, ...outcome, ...facts };
    const record = Promise.resolve(context.deps.audit.record(event));
    written.push(
      record.then(
        () => true,
        () => false,
      ),
    );
  }
}

export const bulkHandlers: KesHandlers = { 'key-bulk-decrypt': bulkDecrypt };
