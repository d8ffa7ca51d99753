// `admin service restart|stop|freeze|unfreeze`. `restart` works with and without a terminal, and `--wait`
// ends: after a limit it reports that the server did not come back.

import { setTimeout as sleep } from 'node:timers/promises';

import type { AdminClient } from '../admin-client.ts';
import { aliasOf, openAdmin } from '../context.ts';
import type { McContext } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import type { JsonObject } from '../error.ts';
import { Failure } from '../failure.ts';
import { boxTable, parseDuration } from '../format.ts';

const waitDefaultMs = 300_000;
const pollMs = 500;

type ServiceAnswer = JsonObject & { readonly results?: readonly { readonly err?: string }[] };

async function connect(context: McContext, target: string): Promise<AdminClient> {
  try {
    return await openAdmin(context, target);
  } catch (error) {
    throw new Failure('Unable to initialize admin connection.', toMcError(error));
  }
}

async function act(
  admin: AdminClient,
  call: { action: string; isDryRun?: boolean; problem: string },
): Promise<ServiceAnswer> {
  const query = { action: call.action, 'dry-run': String(call.isDryRun ?? false), type: '2' };
  try {
    const answer = await admin.call('POST', '/minio/admin/v3/service', query);
    return (answer ?? {}) as ServiceAnswer;
  } catch (error) {
    throw new Failure(call.problem, toMcError(error));
  }
}

/** `admin service restart [--wait] [--dry-run] TARGET` */
export async function runServiceRestart(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  const [target = ''] = args;
  const { out, flags } = context;
  const admin = await connect(context, target);
  const started = performance.now();
  const isWaiting = flags.has('wait');
  const result = await act(admin, {
    action: 'restart',
    isDryRun: flags.has('dry-run'),
    problem: 'Failed to restart server',
  });
  const restartMs = performance.now() - started;
  const document = (state: number): JsonObject => ({
    status: 'success',
    serverURL: aliasOf(target),
    result,
    restartDuration: nanoseconds(restartMs),
    waitingDuration: isWaiting ? nanoseconds(performance.now() - started - restartMs) : 0,
    timeTaken: nanoseconds(isWaiting ? performance.now() - started : restartMs),
    state,
  });
  if (out.isJson) out.json(document(isWaiting ? 0 : 2));
  if (isWaiting) {
    await waitUntilReady(context, admin, () => {
      if (out.isJson) out.json(document(1));
    });
  }
  if (!out.isJson) out.line(summary(context, target, { result, restartMs, started, isWaiting }));
}

function summary(
  context: McContext,
  target: string,
  run: { result: ServiceAnswer; restartMs: number; started: number; isWaiting: boolean },
): string {
  const { out, io } = context;
  const results = run.result.results ?? [{}];
  const failed = results.filter((item) => (item.err ?? '') !== '').length;
  const servers = `${results.length - failed} online, ${failed} offline, 0 hung`;
  const totalMs = performance.now() - run.started;
  if (io.stdout.isTTY !== true) {
    const waited = run.isWaiting ? `, ready after ${shortTime(totalMs)}` : '';
    return `Restarted \`${aliasOf(target)}\` successfully in ${shortTime(run.restartMs)}${waited}.`;
  }
  const rows: [string, string][] = [
    ['Servers:', servers],
    ['Restart Time:', shortTime(run.restartMs)],
  ];
  if (run.isWaiting) rows.push(['Background Init Time:', shortTime(totalMs - run.restartMs)]);
  return `Service status: ${out.paint('[DONE]', 'greenBold')}\nSummary:\n${boxTable(rows).replace(/^/gm, '    ')}`;
}

async function waitUntilReady(
  context: McContext,
  admin: AdminClient,
  tick: () => void,
): Promise<void> {
  const text = context.flags.find('wait-timeout');
  const limitMs = text === undefined ? waitDefaultMs : parseDuration(text);
  const started = performance.now();
  let lastTick = 0;
  for (;;) {
    await sleep(pollMs, undefined, { signal: context.io.signal }).catch((cause: unknown) => {
      throw new McError('cancelled', 'interrupted', { cause });
    });
    const elapsed = performance.now() - started;
    if (elapsed - lastTick >= 1000 || lastTick === 0) {
      tick();
      lastTick = elapsed;
    }
    const answer = await admin.health('/minio/health/cluster', 2000).catch((error: unknown) => {
      if (toMcError(error).code === 'cancelled') throw error;
      return undefined;
    });
    if (answer?.status === 200) return;
    if (elapsed > limitMs) {
      throw new Failure(
        'Failed to restart server',
        new McError('transport', `It was not ready ${shortTime(limitMs)} after the restart`),
      );
    }
  }
}

/** `admin service stop TARGET` */
export async function runServiceStop(context: McContext, args: readonly string[]): Promise<void> {
  await simple(context, args, {
    action: 'stop',
    problem: 'Failed to stop server',
    done: (name) => `Stopped \`${name}\` successfully.`,
  });
}

/** `admin service freeze TARGET` */
export async function runServiceFreeze(context: McContext, args: readonly string[]): Promise<void> {
  await simple(context, args, {
    action: 'freeze',
    problem: 'Unable to freeze server',
    done: (name) => `Freeze command successfully sent to \`${name}\`.`,
  });
}

/** `admin service unfreeze TARGET` */
export async function runServiceUnfreeze(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  await simple(context, args, {
    action: 'unfreeze',
    problem: 'Unable to unfreeze server',
    done: (name) => `Unfreeze command successfully sent to \`${name}\`.`,
  });
}

async function simple(
  context: McContext,
  args: readonly string[],
  call: { action: string; problem: string; done: (name: string) => string },
): Promise<void> {
  const [target = ''] = args;
  const name = aliasOf(target);
  await act(await connect(context, target), call);
  context.out.message({ status: 'success', serverURL: name }, () =>
    context.out.paint(call.done(name), 'green'),
  );
}

function nanoseconds(milliseconds: number): number {
  return Math.round(milliseconds * 1e6);
}

function shortTime(milliseconds: number): string {
  return milliseconds < 1000
    ? `${milliseconds.toFixed(2)}ms`
    : `${(milliseconds / 1000).toFixed(2)}s`;
}
