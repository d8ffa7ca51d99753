// `ready` and `ping`: anonymous health probes.

import { setTimeout as sleep } from 'node:timers/promises';

import type { AdminClient, HealthAnswer } from '../admin-client.ts';
import { aliasOf, openAdmin } from '../context.ts';
import type { McContext } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import type { Json, JsonObject } from '../error.ts';
import { Failure } from '../failure.ts';
import { boxTable } from '../format.ts';

const readyPauseMs = 5000;
const probeTimeoutMs = 10_000;

async function connect(context: McContext, target: string, problem: string): Promise<AdminClient> {
  try {
    return await openAdmin(context, target);
  } catch (error) {
    throw new Failure(`${problem} \`${target}\`.`, toMcError(error));
  }
}

async function pause(context: McContext, milliseconds: number): Promise<void> {
  await sleep(milliseconds, undefined, { signal: context.io.signal }).catch((cause: unknown) => {
    throw new McError('cancelled', 'interrupted', { cause });
  });
}

/** `ready [--cluster-read] [--maintenance] TARGET`: asks until the server is ready. */
export async function runReady(context: McContext, args: readonly string[]): Promise<void> {
  const [target = ''] = args;
  const { flags, out } = context;
  const admin = await connect(context, target, "Couldn't construct anonymous client for");
  const isMaintenance = flags.has('maintenance');
  const path = `/minio/health/cluster${flags.has('cluster-read') ? '/read' : ''}${isMaintenance ? '?maintenance=true' : ''}`;
  const alias = aliasOf(target);
  for (;;) {
    let answer: HealthAnswer | undefined;
    let reason: McError | undefined;
    try {
      answer = await admin.health(path, probeTimeoutMs);
    } catch (error) {
      reason = toMcError(error);
      if (reason.code === 'cancelled') throw reason;
    }
    const isHealthy = answer?.status === 200;
    out.message(
      {
        status: 'success',
        alias,
        healthy: isHealthy,
        maintenanceMode: isMaintenance,
        writeQuorum: Number(answer?.headers['x-minio-write-quorum'] ?? 0),
        healingDrives: Number(answer?.headers['x-minio-healing-drives'] ?? 0),
        error: reason === undefined ? null : reason.detail,
      },
      () => {
        if (reason !== undefined) return `The cluster '${alias}' is unreachable: ${reason.message}`;
        const text = `The cluster '${alias}' is ${isHealthy ? 'ready' : 'not ready'}`;
        return out.paint(text, isHealthy ? 'green' : 'red');
      },
    );
    if (isHealthy) return;
    await pause(context, readyPauseMs);
  }
}

type PingState = {
  count: number;
  errors: number;
  min: number;
  max: number;
  sum: number;
  lastError: string;
};

/** `ping [-c COUNT] [-e ERRORS] [-x] [-i SECONDS] TARGET` */
export async function runPing(context: McContext, args: readonly string[]): Promise<void> {
  const [target = ''] = args;
  const { flags } = context;
  const admin = await connect(context, target, 'Unable to initialize admin client for');
  const count = flags.number('count', 0);
  const errorsMax = flags.number('error-count', 0);
  const state: PingState = { count: 0, errors: 0, min: Infinity, max: 0, sum: 0, lastError: '' };
  try {
    for (;;) {
      const isOnline = await pingOnce(context, admin, state);
      if (count > 0 && state.count >= count) break;
      if (errorsMax > 0 && state.errors >= errorsMax) break;
      if (flags.has('exit') && isOnline) break;
      await pause(context, flags.number('interval', 1) * 1000);
    }
  } catch (error) {
    printPingSummary(context, admin, state);
    throw error;
  }
  printPingSummary(context, admin, state);
  if (state.errors === state.count) context.out.markFailed();
}

async function pingOnce(
  context: McContext,
  admin: AdminClient,
  state: PingState,
): Promise<boolean> {
  const started = performance.now();
  let isOnline = false;
  let error = '';
  try {
    const answer = await admin.health('/minio/health/live', probeTimeoutMs);
    isOnline = answer.status === 200 && answer.headers['x-minio-server-status'] !== 'offline';
    if (!isOnline) error = `the server answered ${answer.status}`;
  } catch (cause) {
    const reason = toMcError(cause);
    if (reason.code === 'cancelled') throw reason;
    error = reason.message;
  }
  const elapsedMs = performance.now() - started;
  state.count++;
  if (isOnline) {
    state.min = Math.min(state.min, elapsedMs);
    state.max = Math.max(state.max, elapsedMs);
    state.sum += elapsedMs;
  } else {
    state.errors++;
    state.lastError = error;
  }
  printPing(context, admin, { count: state.count, isOnline, elapsedMs, error });
  return isOnline;
}

function printPing(
  context: McContext,
  admin: AdminClient,
  result: { count: number; isOnline: boolean; elapsedMs: number; error: string },
): void {
  const counter = String(result.count).padStart(3);
  const time = pad(`${result.elapsedMs.toFixed(2)}ms`);
  const status = result.isOnline ? 'ok ' : 'failed ';
  context.out.message(
    {
      status: 'success',
      counter,
      servers: [
        {
          endpoint: endpointDocument(admin.origin),
          dns: '0s',
          status,
          ...(result.error === '' ? {} : { error: result.error }),
          time,
        },
      ],
    },
    () => `${counter}: ${admin.origin}   status=${status} time=${time}`,
  );
}

function printPingSummary(context: McContext, admin: AdminClient, state: PingState): void {
  const online = state.count - state.errors;
  const average = online === 0 ? 0 : state.sum / online;
  const min = online === 0 ? 0 : state.min;
  const host = new URL(admin.origin).host;
  context.out.message(
    {
      status: 'success',
      serverMap: {
        [host]: {
          endpoint: endpointDocument(admin.origin),
          min: Math.round(min * 1e6),
          max: Math.round(state.max * 1e6),
          sum: Math.round(state.sum * 1e6),
          avg: Math.round(average * 1e6),
          dns: 0,
          errorCount: state.errors,
          err: state.lastError,
          counter: state.count,
        },
      },
    },
    () =>
      boxTable([
        ['Endpoint', 'Min', 'Avg', 'Max', 'Error', 'Count'],
        [
          admin.origin,
          pad(`${min.toFixed(2)}ms`),
          pad(`${average.toFixed(2)}ms`),
          pad(`${state.max.toFixed(2)}ms`),
          String(state.errors),
          String(state.count),
        ],
      ]),
  );
}

function pad(text: string): string {
  return text.padEnd(8);
}

/** A URL as the reference's JSON takes it apart. */
function endpointDocument(origin: string): JsonObject {
  const url = new URL(origin);
  const empty: Readonly<Record<string, Json>> = {
    Path: '',
    Fragment: '',
    RawQuery: '',
    RawPath: '',
    RawFragment: '',
    ForceQuery: false,
    OmitHost: false,
  };
  return { Scheme: url.protocol.slice(0, -1), Opaque: '', User: null, Host: url.host, ...empty };
}
