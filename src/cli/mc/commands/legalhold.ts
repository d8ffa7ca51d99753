// `legalhold set|clear|info`: versions that cannot be deleted until somebody says otherwise.

import { s3Text } from '../context.ts';
import type { McContext } from '../context.ts';
import { toMcError } from '../error.ts';
import { Failure } from '../failure.ts';
import { lockVersions, type LockTarget, openLockTarget } from '../lock-targets.ts';
import { getLegalHold, setLegalHold } from '../s3-locks.ts';
import type { ObjectName } from '../s3-objects.ts';

/** `legalhold set TARGET` */
export async function runLegalHoldSet(context: McContext, args: readonly string[]): Promise<void> {
  await change(context, args[0] ?? '', { status: 'ON', op: 'set', done: 'set' });
}

/** `legalhold clear TARGET` */
export async function runLegalHoldClear(
  context: McContext,
  args: readonly string[],
): Promise<void> {
  await change(context, args[0] ?? '', { status: 'OFF', op: 'clear', done: 'cleared' });
}

/** `legalhold info TARGET` */
export async function runLegalHoldInfo(context: McContext, args: readonly string[]): Promise<void> {
  const url = args[0] ?? '';
  const problem = `Failed to show legal hold information of \`${url}\`.`;
  await each(context, { url, problem }, async (opened, object) => {
    const status = await getLegalHold(opened.client, object);
    const { key, versionId = '' } = object;
    show(context, opened, { object, status }, () => {
      const shown = status === '' ? '  Not set ' : `    ${status.padEnd(6)}`;
      return `[${shown}]  ${versionId === '' ? '' : `${versionId}  `}${key}`;
    });
  });
}

async function change(
  context: McContext,
  url: string,
  to: { readonly status: 'ON' | 'OFF'; readonly op: string; readonly done: string },
): Promise<void> {
  const problem = `Failed to ${to.op} legal hold on \`${url}\`.`;
  await each(context, { url, problem }, async (opened, object) => {
    await setLegalHold(opened.client, object, to.status);
    const { key, versionId = '' } = object;
    const version = versionId === '' ? '' : ` (version-id=${versionId})`;
    show(
      context,
      opened,
      { object, status: to.status },
      () => `Object legal hold successfully ${to.done} for \`${key}\`${version}.`,
    );
  });
}

function show(
  context: McContext,
  opened: LockTarget,
  what: { readonly object: ObjectName; readonly status: string },
  text: () => string,
): void {
  const { bucket, key, versionId = '' } = what.object;
  const urlpath = opened.client.url(bucket, key);
  context.out.message(
    { legalhold: what.status, urlpath, key, versionID: versionId, status: 'success' },
    text,
  );
}

/** Goes on with the next version when one fails. */
async function each(
  context: McContext,
  on: { readonly url: string; readonly problem: string },
  work: (opened: LockTarget, object: ObjectName) => Promise<void>,
): Promise<void> {
  try {
    const opened = await openLockTarget(context, on.url);
    for await (const object of lockVersions(context, opened)) {
      try {
        await work(opened, object);
      } catch (error) {
        const name = s3Text(opened.target, object.key);
        const problem = on.problem.replace(on.url, name);
        context.out.failure(new Failure(problem, toMcError(error), { isFatal: false }));
      }
    }
  } catch (error) {
    throw new Failure(on.problem, toMcError(error));
  }
}
