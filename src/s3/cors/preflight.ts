// What browsers ask before and beside a request of a page from another origin. A preflight needs no signature,
// so it tells nothing of a bucket but what its CORS rules allow: without a rule that fits, an absent bucket, one
// without rules and one with others look the same.

import type { IncomingMessage } from 'node:http';
import type { CorsRule, ObjectStore } from '../../store/types.ts';
import type { Reply } from '../call.ts';
import { type CorsRequest, corsHeaders, findCorsRule, parseRequestedHeaders } from './cors.ts';
import { S3Error, toS3Error } from '../errors.ts';
import type { S3Target } from '../target.ts';

/**
 * The answer to OPTIONS. Throws `S3Error` `BadRequest` for what is no preflight request, `AccessForbidden` when
 * no rule of the bucket allows what is asked.
 */
export async function answerPreflight(
  request: IncomingMessage,
  target: S3Target,
  store: ObjectStore,
): Promise<Reply> {
  const { origin } = request.headers;
  const method = request.headers['access-control-request-method'];
  if (origin === undefined || method === undefined || !/^[A-Z]+$/.test(method)) {
    throw new S3Error(
      'BadRequest',
      'Insufficient information. Origin and Access-Control-Request-Method request headers are needed.',
    );
  }
  const requestedHeaders = parseRequestedHeaders(request.headers['access-control-request-headers']);
  const asked = { origin, method, requestedHeaders };
  const rule = findCorsRule(await rulesOf(store, target.bucket), asked);
  if (rule === undefined) {
    throw new S3Error(
      'AccessForbidden',
      "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
    );
  }
  return { status: 200, headers: corsHeaders(rule, asked) };
}

/** The headers that go with every answer to a request with an Origin; none when no rule fits. */
export async function findCorsHeaders(
  request: IncomingMessage,
  target: S3Target,
  store: ObjectStore,
): Promise<readonly string[]> {
  const { origin } = request.headers;
  if (origin === undefined) return [];
  const asked: CorsRequest = {
    origin,
    method: request.headers['access-control-request-method'] ?? request.method ?? '',
    requestedHeaders: [],
  };
  const rule = findCorsRule(await rulesOf(store, target.bucket), asked);
  return rule === undefined ? [] : corsHeaders(rule, asked);
}

async function rulesOf(store: ObjectStore, bucket: string): Promise<readonly CorsRule[]> {
  if (bucket === '') return [];
  try {
    return (await store.getBucket(bucket)).settings.cors ?? [];
  } catch (error) {
    if (toS3Error(error).code === 'NoSuchBucket') return [];
    throw error;
  }
}
