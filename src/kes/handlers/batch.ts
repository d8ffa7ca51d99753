// Many generate and decrypt calls in one request, and notes of uses that needed no call. Each is authorised against the path it would have alone,
// answered as that route would answer, counted and audited by itself: the batch gives nobody anything. The
// body is read only for callers that some call could be allowed to.

import {
  type KesBatchResult,
  type KesUseResult,
  kesBatchCallsMax,
  kesErrors,
  type KesRouteName,
} from '../../wire/kes.ts';
import type { AuditEvent, AuditFacts } from '../audit/audit.ts';
import type { KesContext, KesHandlers } from '../dispatcher.ts';
import { answerError, KesHttpError } from '../errors.ts';
import { jsonReply, type KesReply } from '../exchange.ts';
import { noCertificate } from '../identity.ts';
import { type JsonMembers, parseMembers } from '../request-json.ts';
import type { KesRoute } from '../routes.ts';
import { checkKeyName, decryptCall, generateCall, useCall } from './keys.ts';

const invalidBody = 'invalid request body';

const operations = {
  generate: { route: 'key-generate', audited: 'key-generate', call: generateCall },
  decrypt: { route: 'key-decrypt', audited: 'key-decrypt', call: decryptCall },
  use: { route: 'key-decrypt', audited: 'key-use', call: useCall },
} as const;

async function batch(context: KesContext): Promise<KesReply> {
  checkCaller(context);
  const { calls } = parseMembers(await context.readBody(), invalidBody);
  // Whoever was allowed nothing by the time the body was there gets no answers either.
  checkCaller(context);
  if (!Array.isArray(calls) || calls.length > kesBatchCallsMax) {
    throw new KesHttpError(400, invalidBody);
  }
  const results = await Promise.all(calls.map((call: unknown) => runCall(context, call)));
  return jsonReply({ results });
}

/** Throws unless some call of the caller could be allowed: others must not make us read their bodies. */
function checkCaller({ state, identity }: KesContext): void {
  const { admin, authorizer, routes } = state;
  if (identity !== '' && identity === admin) return;
  if (authorizer.policyOf(identity) !== undefined) return;
  const isOpen = Object.values(operations).some(
    ({ route }) => routes.find(route)?.auth === 'identify',
  );
  if (!isOpen) throw notAllowed();
}

function notAllowed(): KesHttpError {
  return new KesHttpError(kesErrors.notAllowed.status, kesErrors.notAllowed.message);
}

/** One call with the route it would have had alone. */
type BatchCall = {
  readonly name: string;
  readonly members: JsonMembers;
  readonly operation: (typeof operations)[keyof typeof operations];
  readonly route: KesRoute;
  readonly path: string;
};

/** A malformed call is answered by itself: the others may have run already. */
async function runCall(context: KesContext, call: unknown): Promise<KesBatchResult | KesUseResult> {
  const parsed = parseCall(context, call);
  if (parsed === undefined) return { status: 400, message: invalidBody };
  const { operation, route, path } = parsed;
  const { deps } = context;
  const timeMs = deps.nowMs();
  const start = performance.now();
  let facts: AuditFacts = {};
  const note = (more: AuditFacts) => {
    facts = { ...facts, ...more };
  };
  let isAllowed = false;
  let result: KesBatchResult | KesUseResult;
  try {
    authorizeCall(context, path, route.auth);
    isAllowed = true;
    const name = checkKeyName(parsed.name);
    note({ key: name });
    const answer = await operation.call({ state: context.state, note }, name, parsed.members);
    result = { status: 200, ...answer };
  } catch (error) {
    result = toResult(context, error, { route: operation.route, path });
  }
  const durationMs = performance.now() - start;
  if (isAllowed) deps.metrics.count(result.status, durationMs);
  const { identity, ip } = context;
  const { status } = result;
  const reason = 'message' in result ? { reason: result.message } : {};
  const who = { timeMs, method: 'PUT', path, identity, ip };
  const what = { operation: operation.audited, isAllowed, ...reason, ...facts };
  await record(context, { ...who, status, durationMs, ...what });
  return result;
}

function parseCall(context: KesContext, call: unknown): BatchCall | undefined {
  if (typeof call !== 'object' || call === null) return undefined;
  const members = call as JsonMembers;
  const { op, name } = members;
  if (typeof op !== 'string' || !Object.hasOwn(operations, op)) return undefined;
  if (typeof name !== 'string') return undefined;
  const operation = operations[op as keyof typeof operations];
  const route = context.state.routes.find(operation.route);
  if (route === undefined) return undefined;
  return { name, members, operation, route, path: `${route.prefix}${name}` };
}

/** What is not in the audit log must not be answered. */
async function record(context: KesContext, event: AuditEvent): Promise<void> {
  try {
    await context.deps.audit.record(event);
  } catch (error) {
    const text = (error as Error).message;
    context.deps.log.error('the audit log cannot be written', { error: text });
    throw new KesHttpError(500, 'the audit log cannot be written');
  }
}

function authorizeCall(context: KesContext, path: string, auth: string): void {
  if (auth !== 'policy') return;
  if (context.identity === '') throw new KesHttpError(400, noCertificate);
  if (context.state.authorizer.decide(context.identity, path).isAllowed) return;
  throw notAllowed();
}

function toResult(
  context: KesContext,
  error: unknown,
  at: { readonly route: KesRouteName; readonly path: string },
): KesBatchResult {
  const { answer, isLogged } = answerError(error, at.route);
  if (isLogged) {
    const text = error instanceof Error ? error.message : String(error);
    context.deps.log.error(answer.message, { 'req.path': at.path, error: text });
  }
  return { status: answer.status, message: answer.message };
}

export const batchHandlers: KesHandlers = { 'key-batch': batch };
