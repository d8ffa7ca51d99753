// `retention set|clear|info`: until when versions cannot be deleted, and what new ones of a bucket get.

import { s3Text } from '../context.ts';
import type { McContext } from '../context.ts';
import { McError, toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { isForMany, lockVersions, type LockTarget, openLockTarget } from '../lock-targets.ts';
import {
  getLockDefault,
  getRetention,
  type LockDefault,
  type LockMode,
  type Retention,
  setLockDefault,
  setRetention,
  type Validity,
} from '../s3-locks.ts';
import type { ObjectName } from '../s3-objects.ts';

const dayMs = 86_400_000;
const usageHint =
  'Invalid arguments provided, please refer `mc <command> -h` for relevant documentation.';

/** `retention set [--default] MODE VALIDITY TARGET` */
export async function runRetentionSet(context: McContext, args: readonly string[]): Promise<void> {
  const [modeText = '', validityText = '', url = ''] = args;
  const mode = parseMode(modeText);
  const validity = parseValidity(validityText);
  if (context.flags.has('default')) {
    return changeDefault(context, url, { op: 'set', to: { mode, validity } });
  }
  const to = { mode, until: untilOf(validity, Date.now()) };
  await change(context, url, { op: 'set', to, isBypassing: context.flags.has('bypass') });
}

/** `retention clear [--default] TARGET` */
export async function runRetentionClear(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  const [url = ''] = args;
  if (context.flags.has('default')) {
    return changeDefault(context, url, { op: 'clear', to: undefined });
  }
  // As the reference does: who clears means to.
  await change(context, url, { op: 'clear', to: undefined, isBypassing: true });
}

/** `retention info [--default] TARGET` */
export async function runRetentionInfo(context: McContext, args: readonly string[]): Promise<void> {
  const [url = ''] = args;
  const problem = 'Unable to get retention info';
  const opened = await open(context, url, problem);
  if (context.flags.has('default') || (opened.target.key === '' && !isForMany(context))) {
    const found = await attempt(problem, () => getLockDefault(opened.client, opened.target.bucket));
    return showDefault(context, 'info', found);
  }
  for await (const object of lockVersions(context, opened)) {
    try {
      showInfo(context, opened, object, await getRetention(opened.client, object));
    } catch (error) {
      const text = `Unable to get object retention on \`${nameOf(opened, object)}\`.`;
      context.out.failure(new Failure(text, toMcError(error), { isFatal: false }));
    }
  }
}

async function change(
  context: McContext,
  url: string,
  what: {
    readonly op: 'set' | 'clear';
    readonly to: Retention | undefined;
    readonly isBypassing: boolean;
  },
): Promise<void> {
  const { op, to, isBypassing } = what;
  const opened = await open(context, url, `Unable to ${op} retention`);
  for await (const object of lockVersions(context, opened)) {
    const name = nameOf(opened, object);
    try {
      await setRetention(opened.client, object, to, { isBypassing });
    } catch (error) {
      const text = `Unable to set retention on \`${name}\`.`;
      context.out.failure(new Failure(text, toMcError(error), { isFatal: false }));
      continue;
    }
    const { versionId = '' } = object;
    const mode = to?.mode ?? '';
    const done = op === 'set' ? 'set' : 'cleared';
    const version = versionId === '' ? '' : ` (version-id=${versionId})`;
    context.out.message(
      {
        op,
        mode,
        validity: '',
        urlpath: name,
        versionID: versionId,
        status: 'success',
        error: null,
      },
      () => `Object retention successfully ${done} for \`${name}\`${version}.`,
    );
  }
}

async function changeDefault(
  context: McContext,
  url: string,
  what: { readonly op: 'set' | 'clear'; readonly to: LockDefault | undefined },
): Promise<void> {
  const problem = 'Unable to apply bucket lock configuration';
  const { client, target } = await open(context, url, problem);
  await attempt(problem, () => setLockDefault(client, target.bucket, what.to));
  showDefault(context, what.op, what.to);
}

function showDefault(
  context: McContext,
  op: 'set' | 'clear' | 'info',
  found: LockDefault | undefined,
): void {
  const validity = found === undefined ? '0' : `${found.validity.count}${found.validity.unit}`;
  const mode = found?.mode ?? '';
  context.out.message({ op, enabled: 'Enabled', mode, validity, status: 'success' }, () => {
    if (op === 'clear') return 'Object lock configuration cleared successfully.';
    if (found === undefined) return 'Object locking is not enabled.';
    return `Object locking '${mode}' is configured for ${validity}.`;
  });
}

function showInfo(
  context: McContext,
  opened: LockTarget,
  object: ObjectName,
  found: Retention | undefined,
): void {
  const { out } = context;
  const urlpath = nameOf(opened, object);
  const { versionId = '' } = object;
  const mode = found?.mode ?? '';
  const until = found === undefined ? '0001-01-01T00:00:00Z' : secondsOf(found.until);
  out.message(
    { mode, until, urlpath, versionID: versionId, status: 'success', error: null },
    () => {
      const shown = found === undefined ? 'NO RETENTION' : mode;
      if (isForMany(context)) {
        const version = versionId === '' ? '' : `${versionId}  `;
        return `[${centre(shown, 20)}]  ${version}${urlpath}`;
      }
      const left = found === undefined ? '' : `, expiring in ${timeLeft(found.until, Date.now())}`;
      return `Name    : ${urlpath}\nMode    : ${shown}${left}`;
    },
  );
}

function parseMode(text: string): LockMode {
  const mode = text.toUpperCase();
  if (mode === 'GOVERNANCE' || mode === 'COMPLIANCE') return mode;
  throw new Failure(`invalid retention mode '${mode}'`, new McError('argument', usageHint));
}

/** `10d` or `3y`. */
function parseValidity(text: string): Validity {
  const match = /^(\d{1,6})([dy])$/i.exec(text);
  const count = Number(match?.[1] ?? 0);
  if (match === null) {
    throw new Failure('invalid validity argument', new McError('argument', usageHint));
  }
  if (count < 1) throw new Failure(`invalid validity '${match[1] ?? ''}'`);
  return { count, unit: match[2]?.toLowerCase() === 'd' ? 'DAYS' : 'YEARS' };
}

function untilOf({ count, unit }: Validity, nowMs: number): Date {
  const until = new Date(unit === 'DAYS' ? nowMs + count * dayMs : nowMs);
  if (unit === 'YEARS') until.setUTCFullYear(until.getUTCFullYear() + count);
  until.setUTCMilliseconds(0);
  return until;
}

function secondsOf(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** The two largest units, or days alone. */
function timeLeft(until: Date, nowMs: number): string {
  const minutes = Math.max(0, Math.floor((until.getTime() - nowMs) / 60_000));
  const days = Math.floor(minutes / 1440);
  if (days > 0) return `${days} ${days === 1 ? 'day' : 'days'}`;
  const hours = Math.floor(minutes / 60);
  return hours > 0 ? `${hours} hours ${minutes % 60} minutes` : `${minutes} minutes`;
}

function centre(text: string, width: number): string {
  const left = Math.ceil((width - text.length) / 2);
  return ' '.repeat(Math.max(0, left)) + text + ' '.repeat(Math.max(0, width - text.length - left));
}

function nameOf({ target }: LockTarget, { key }: ObjectName): string {
  return s3Text(target, key);
}

function open(context: McContext, url: string, problem: string): Promise<LockTarget> {
  return attempt(problem, () => openLockTarget(context, url));
}

async function attempt<T>(problem: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new Failure(problem, toMcError(error));
  }
}
