// Many generate and decrypt calls in one request. Each is authorised against the path it would have alone,
// answered as that route would answer, counted and audited by itself: the batch gives nobody anything.

import {
  type KesBatchResult,
  kesBatchCallsMax,
  kesErrors,
  type KesRouteName,
} from '../../wire/kes.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { answerError, KesHttpError } from '../errors.ts';
import { jsonReply, type KesReply } from '../exchange.ts';
import { noCertificate } from '../identity.ts';
import { type JsonMembers, parseMembers } from '../request-json.ts';
import { checkKeyName, decryptCall, generateCall } from './keys.ts';

const invalidBody = 'invalid request body';

const operations = {
  generate: { route: 'key-generate', call: generateCall },
  decrypt: { route: 'key-decrypt', call: decryptCall },
} as const;

async function batch(context: KesContext): Promise<KesReply> {
  const { calls } = parseMembers(await context.readBody(), invalidBody);
  if (!Array.isArray(calls) || calls.length > kesBatchCallsMax) {
    throw new KesHttpError(400, invalidBody);
  }
  const results = await Promise.all(calls.map((call: unknown) => runCall(context, call)));
  return jsonReply({ results });
}

async function runCall(context: KesContext, call: unknown): Promise<KesBatchResult> {
  if (typeof call !== 'object' || call === null) throw new KesHttpError(400, invalidBody);
  const members = call as JsonMembers;
  const operation = operations[members['op'] as keyof typeof operations];
  const name = members['name'];
  if (operation === undefined || typeof name !== 'string') throw new KesHttpError(400, invalidBody);
  const route = context.state.routes.find(operation.route);
  if (route === undefined) throw new KesHttpError(400, invalidBody);
  const { deps } = context;
  const path = `${route.prefix}${name}`;
  const timeMs = deps.nowMs();
  const start = performance.now();
  let isCounted = false;
  let result: KesBatchResult;
  try {
    authorizeCall(context, path, route.auth);
    isCounted = true;
    result = { status: 200, ...(await operation.call(context, checkKeyName(name), members)) };
  } catch (error) {
    result = toResult(context, error, { route: operation.route, path });
  }
  const durationMs = performance.now() - start;
  if (isCounted) deps.metrics.count(result.status, durationMs);
  const { identity, ip } = context;
  deps.audit.record({
    timeMs,
    method: 'PUT',
    path,
    identity,
    ip,
    status: result.status,
    durationMs,
  });
  return result;
}

function authorizeCall(context: KesContext, path: string, auth: string): void {
  if (auth !== 'policy') return;
  if (context.identity === '') throw new KesHttpError(400, noCertificate);
  if (context.state.authorizer.decide(context.identity, path).isAllowed) return;
  throw new KesHttpError(kesErrors.notAllowed.status, kesErrors.notAllowed.message);
}

function toResult(
  context: KesContext,
  error: unknown,
  at: { readonly route: KesRouteName; readonly path: string },
): KesBatchResult {
  const { answer, isLogged } = answerError(error, at.route);
  if (isLogged) {
    const text = (error as Error).message;
    context.deps.log.error(answer.message, { 'req.path': at.path, error: text });
  }
  return { status: answer.status, message: answer.message };
}

export const batchHandlers: KesHandlers = { 'key-batch': batch };
