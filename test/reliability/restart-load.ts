// The load that restarts have to get through: clients with kept connections that check every answer they get.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import type { S3TestAnswer } from '../support/s3-test-client.ts';
import { callAdmin, eventually, expectStatus, type Store } from './harness.ts';

const kib = 1024;
/** The call behind `mc admin service restart`. */
export const restartTarget = '/minio/admin/v3/service?action=restart&type=2';

export type Load = {
  readonly failures: string[];
  count(): number;
  /** Ends the load and returns what each object holds now. */
  stop(): Promise<Map<string, string>>;
};

/** Clients (64 unless told otherwise), each with its own names, that check every answer. */
export function startLoad(
  store: Store,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly clients?: number } = {},
): Load {
  const headers = options.headers ?? {};
  const failures: string[] = [];
  const digests = new Map<string, string>();
  let requests = 0;
  const state = { isOver: false };
  const send = async (call: Parameters<Store['client']['send']>[0]): Promise<S3TestAnswer> => {
    try {
      const answer = await store.client.send(call);
      requests += 1;
      if (answer.status !== 200) {
        failures.push(`${call.method} ${call.target}: ${answer.status} ${answer.body.toString()}`);
      }
      return answer;
    } catch (error) {
      failures.push(`${call.method} ${call.target}: ${String(error)}`);
      throw error;
    }
  };
  const client = async (index: number): Promise<void> => {
    for (let turn = 0; !state.isOver; turn += 1) {
      const target = `/bucket/load-${index}-${turn % 4}`;
      const body = randomBytes(turn % 9 === 0 ? 400 * kib : 2 * kib);
      const digest = createHash('md5').update(body).digest('hex');
      await send({
        method: 'PUT',
        target,
        headers: { 'x-amz-meta-turn': String(turn), ...headers },
        body,
      });
      digests.set(target, digest);
      const head = await send({ method: 'HEAD', target });
      if (head.headers['x-amz-meta-turn'] !== String(turn)) failures.push(`HEAD ${target}: stale`);
      const got = await send({ method: 'GET', target });
      if (!got.body.equals(body)) failures.push(`GET ${target}: other bytes`);
      if (index % 8 === 0) await send({ method: 'GET', target: `/bucket?prefix=load-${index}-` });
      // Most connections rest for a while, also around the moment of a restart.
      if (index % 4 !== 0) await new Promise((resolve) => setTimeout(resolve, 10 + index * 5));
    }
  };
  const done = Promise.allSettled(
    Array.from({ length: options.clients ?? 64 }, (_, index) => client(index)),
  );
  return {
    failures,
    count: () => requests,
    stop: async () => {
      state.isOver = true;
      await done;
      return digests;
    },
  };
}

/** Waits until the load has got further, or has failed. */
export async function untilWorked(load: Load): Promise<void> {
  const before = load.count();
  await eventually(
    'the load goes on',
    () => load.failures.length > 0 || load.count() > before + 150,
  );
}

/** Asks for a restart in one way or another, and waits until it has happened. */
export async function restart(
  store: Store,
  how: 'admin' | 'signal',
  generation: number,
): Promise<void> {
  if (how === 'signal') store.program.kill('SIGHUP');
  else {
    const answer = await callAdmin(store.port, 'POST', restartTarget);
    assert.equal(answer.status, 200, answer.text);
  }
  const line = `restarted generation=${generation}`;
  try {
    await eventually(line, () => store.log().includes(line));
  } catch (error) {
    throw new Error(`the log of the store:\n${store.log()}`, { cause: error });
  }
}

/** Reads everything back and compares. */
export async function assertHolds(
  store: Store,
  digests: ReadonlyMap<string, string>,
): Promise<void> {
  for (const [target, digest] of digests) {
    const got = await expectStatus(store.client, { method: 'GET', target }, 200);
    assert.equal(createHash('md5').update(got.body).digest('hex'), digest, target);
  }
}
