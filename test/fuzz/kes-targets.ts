// What strangers and operators hand to the key service: its configuration file, requests to every route, and
// policy patterns. Properties: a configuration is refused with its own error or keeps every deny of the text,
// as an independent reading of the YAML finds it; a request is always answered, and never with a server
// error; a pattern matches what its definition says.

import { isDeepStrictEqual } from 'node:util';
import { parseDocument } from 'yaml';
import { silentLog } from '../../src/base/log.ts';
import { silentAudit } from '../../src/kes/audit/audit.ts';
import { parseKesConfigFile } from '../../src/kes/config/config.ts';
import { canMatchRoute } from '../../src/kes/config/policy.ts';
import { KesConfigError } from '../../src/kes/config/yaml.ts';
import { createDispatcher } from '../../src/kes/dispatcher.ts';
import type { KesHandle, KesRequest } from '../../src/kes/exchange.ts';
import { batchHandlers } from '../../src/kes/handlers/batch.ts';
import { bulkHandlers } from '../../src/kes/handlers/bulk.ts';
import { infoHandlers } from '../../src/kes/handlers/info.ts';
import { keyHandlers } from '../../src/kes/handlers/keys.ts';
import { LineHub, logHandlers } from '../../src/kes/handlers/logs.ts';
import { policyHandlers } from '../../src/kes/handlers/policies.ts';
import { KesMetrics } from '../../src/kes/metrics.ts';
import { Authorizer, isSubset, matchesPattern } from '../../src/kes/policy.ts';
import { RouteTable } from '../../src/kes/routes.ts';
import { openKesKeys } from '../../src/server/kes/keys.ts';
import { kesRoutes } from '../../src/wire/kes.ts';
import { generateApiKey } from '../../src/wire/kes-identity.ts';
import { testKesConfig } from '../support/kes-server.ts';
import type { FuzzTarget } from './targets.ts';

const text = (value: string): Uint8Array => Buffer.from(value);
const bytesOf = (input: Uint8Array): Buffer => Buffer.from(input);

/** The targets of the key service. */
export async function kesTargets(): Promise<FuzzTarget[]> {
  return [configurationTarget(), await requestTarget(), patternTarget()];
}

// ---- configuration --------------------------------------------------------------------------------

const base =
  'version: v1\nadmin:\n  identity: disabled\ntls:\n  key: a\n  cert: b\nkeystore:\n  fs:\n    path: /keys\n';

function configurationTarget(): FuzzTarget {
  return {
    name: 'key service configuration',
    samples: [
      text(
        `${base}policy:\n  p:\n    allow: [/v1/key/create/*]\n    deny: [/v1/key/x]\n    identities: [x]\n`,
      ),
      text(
        `${base}shared: &d\n  - /v1/a\n  - &s /v1/b*\npolicy:\n  p: &p\n    deny: *d\n  q:\n    <<: *p\n    allow: [*s]\n`,
      ),
      text(
        `${base}m: &m {deny: ['/v1/c']}\nn: &n {<<: *m, allow: [a]}\npolicy:\n  p: {<<: [*n, *m]}\n  q: *m\n`,
      ),
      text(
        `${base}cache:\n  expiry:\n    any: 1m\napi:\n  /v1/status:\n    skip_auth: true\nlog:\n  error: warn\nkeys:\n  - name: k\n`,
      ),
      text(
        `${base}policy:\n  "p":\n    "deny":\n      - |-\n        /v1/d\n      -\n      - "/v1/\\x65"\n`,
      ),
    ],
    run: (input) => {
      const yaml = bytesOf(input).toString();
      let denied: Record<string, unknown>;
      try {
        const { config } = parseKesConfigFile(yaml, {});
        denied = Object.fromEntries(config.policies.map(({ name, deny }) => [name, [...deny]]));
      } catch (error) {
        if (error instanceof KesConfigError) return;
        throw error;
      }
      const expected = deniesIn(yaml);
      if (isDeepStrictEqual(denied, expected)) return;
      throw new Error(`denies ${JSON.stringify(denied)}, text has ${JSON.stringify(expected)}`);
    },
  };
}

/** The deny lists of a text, by the YAML library's own aliases and merges. */
function deniesIn(yaml: string): Record<string, unknown> {
  const document = parseDocument(yaml, { schema: 'failsafe', merge: true });
  const file = document.toJS() as { policy?: Record<string, { deny?: unknown } | null> | null };
  const isNull = (value: unknown) => value === null || nulls.has(value);
  const policies = file.policy;
  if (typeof policies !== 'object' || policies === null) return {};
  return Object.fromEntries(
    Object.entries(policies).map(([name, policy]) => {
      const deny = typeof policy === 'object' ? policy?.deny : undefined;
      if (!Array.isArray(deny)) return [name, []];
      return [name, deny.map((pattern: unknown) => (isNull(pattern) ? '' : pattern))];
    }),
  );
}

const nulls: ReadonlySet<unknown> = new Set(['', '~', 'null', 'Null', 'NULL']);

// ---- requests -------------------------------------------------------------------------------------

/** Inputs are a method, a target, and after the line break a body. */
async function requestTarget(): Promise<FuzzTarget> {
  const { handle, identity } = await createHandle();
  const run = async (input: Uint8Array) => {
    const bytes = bytesOf(input);
    const lineEnd = bytes.indexOf('\n');
    const line = bytes.subarray(0, lineEnd < 0 ? bytes.length : lineEnd).toString('latin1');
    const body = lineEnd < 0 ? Buffer.alloc(0) : bytes.subarray(lineEnd + 1);
    const [method = '', ...rest] = line.split(' ');
    const reply = await handle(requestOf({ method, target: rest.join(' '), body, identity }));
    reply.stream?.(
      () => {},
      () => {},
    )();
    if (reply.status >= 500) {
      throw new Error(`${line} is answered with ${reply.status} ${String(reply.body)}`);
    }
  };
  await run(text('PUT /v1/key/create/a'));
  const bodies = [
    '{"plaintext":"AA==","ciphertext":"AA==","message":"AA==","context":"Yg==","after":604800}',
    '{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","cipher":"AES256"}',
    '{"calls":[{"op":"generate","name":"a"},{"op":"decrypt","name":"a","ciphertext":"AA=="}]}',
    '[{"ciphertext":"AA==","context":null},{}]',
  ];
  const samples = kesRoutes.flatMap(({ method, prefix }) => {
    const target = prefix.endsWith('/') ? `${prefix}a` : prefix;
    return bodies.map((body) => text(`${method} ${target}\n${body}`));
  });
  return { name: 'key service request', samples, run };
}

function requestOf(given: {
  readonly method: string;
  readonly target: string;
  readonly body: Buffer;
  readonly identity: string;
}): KesRequest {
  const { method, target, body, identity } = given;
  return {
    method,
    target,
    // The certificate is looked at only behind a proxy.
    peer: { identity, ip: '127.0.0.1' } as KesRequest['peer'],
    bodyBytes: body.length,
    headers: () => [],
    readBody: async (maxBytes) => Buffer.from(body.subarray(0, maxBytes)),
    dropAfter: () => {},
  };
}

async function createHandle(): Promise<{ readonly handle: KesHandle; readonly identity: string }> {
  const admin = generateApiKey();
  const config = testKesConfig(admin);
  const keys = await openKesKeys(config, { log: silentLog });
  const state = {
    admin: admin.identity,
    policies: [],
    authorizer: new Authorizer({ admin: admin.identity, policies: [] }),
    routes: new RouteTable(config.api),
    keys: keys.service,
    startedAtMs: Date.now(),
    resolvePeer: (peer: KesRequest['peer']) => peer,
  };
  const { handle } = createDispatcher({
    state: () => state,
    handlers: {
      ...infoHandlers({ version: '1', commit: '1' }),
      ...keyHandlers,
      ...batchHandlers,
      ...bulkHandlers,
      ...policyHandlers,
      ...logHandlers({ error: new LineHub(), audit: new LineHub() }),
    },
    log: silentLog,
    audit: silentAudit,
    metrics: new KesMetrics({ nowMs: Date.now }),
    nowMs: Date.now,
  });
  return { handle, identity: admin.identity };
}

// ---- patterns -------------------------------------------------------------------------------------

const routes = new RouteTable(new Map());

/** Inputs are a pattern and, after the line break, a path. */
function patternTarget(): FuzzTarget {
  return {
    name: 'policy pattern',
    samples: ['/v1/key/create/*\n/v1/key/create/x', '*\n/v1/status', '/v1/status\n/v1/status'].map(
      text,
    ),
    run: (input) => {
      const [pattern = '', path = ''] = bytesOf(input).toString('latin1').split('\n');
      const source = pattern.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&').replace(/\\\*$/, '[^]*');
      const expected = pattern !== '' && new RegExp(`^${source}$`).test(path);
      if (matchesPattern(pattern, path) !== expected)
        throw new Error('the pattern matches wrongly');
      if (expected && routes.match(path).kind === 'route' && !canMatchRoute(pattern)) {
        throw new Error('a pattern that matches a route is said to match none');
      }
      const one = { allow: [pattern], deny: [path] };
      if (!isSubset(one, one) && pattern !== '' && path !== '')
        throw new Error('no subset of itself');
    },
  };
}
