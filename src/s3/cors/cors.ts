// Cross-origin resource sharing: which rule of a bucket applies to a request of a browser, and the response
// headers that follow from it (specification 1.8). Patterns hold at most one `*` and are compared by prefix and
// suffix, so no pattern can be slow. Origins are compared as they are, header names without regard to case.

import type { CorsRule } from '../../store/types.ts';
import type { ReplyHeaders } from '../call.ts';

const varyText = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method';

/** What a browser says about itself. `requestedHeaders` only in a preflight request. */
export type CorsRequest = {
  readonly origin: string;
  readonly method: string;
  readonly requestedHeaders: readonly string[];
};

/** The first rule that allows the request, or undefined. */
export function findCorsRule(
  rules: readonly CorsRule[],
  request: CorsRequest,
): CorsRule | undefined {
  return rules.find(
    (rule) =>
      rule.allowedMethods.includes(request.method) &&
      rule.allowedOrigins.some((pattern) => isMatch(pattern, request.origin)) &&
      request.requestedHeaders.every((name) => isHeaderAllowed(rule, name)),
  );
}

/** The response headers that tell the browser what the rule allows. */
export function corsHeaders(rule: CorsRule, request: CorsRequest): ReplyHeaders {
  const isForAll = rule.allowedOrigins.includes('*');
  const headers = ['access-control-allow-origin', isForAll ? '*' : request.origin];
  if (!isForAll) headers.push('access-control-allow-credentials', 'true');
  headers.push('access-control-allow-methods', rule.allowedMethods.join(', '));
  if (request.requestedHeaders.length > 0) {
    headers.push('access-control-allow-headers', request.requestedHeaders.join(', '));
  }
  if (rule.exposeHeaders.length > 0) {
    headers.push('access-control-expose-headers', rule.exposeHeaders.join(', '));
  }
  if (rule.maxAgeSeconds !== undefined) {
    headers.push('access-control-max-age', String(rule.maxAgeSeconds));
  }
  headers.push('vary', varyText);
  return headers;
}

/** The names in `Access-Control-Request-Headers`, lower case. */
export function parseRequestedHeaders(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
}

function isHeaderAllowed(rule: CorsRule, name: string): boolean {
  return rule.allowedHeaders.some((pattern) => isMatch(pattern.toLowerCase(), name));
}

/** `*` stands for any text, once in a pattern. */
function isMatch(pattern: string, text: string): boolean {
  const star = pattern.indexOf('*');
  if (star === -1) return pattern === text;
  return (
    text.length >= pattern.length - 1 &&
    text.startsWith(pattern.slice(0, star)) &&
    text.endsWith(pattern.slice(star + 1))
  );
}
