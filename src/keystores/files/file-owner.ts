// Who made a helper file in a shared directory, written so that another program can tell whether its
// maker still runs: host, process id, and the moment the process began, because process ids come back.
// A host here is whatever shares its process ids: one boot of one machine, and one container on it. Of any
// other host nothing is known but the age of its files, which is measured by the directory's own clock.

import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { stat, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';

/** How the names of half-written files begin. */
export const temporaryPrefix = '.new-';

/** Owners show signs of life much more often; a file this old was left behind, whoever made it. */
const abandonedAfterMs = 60_000;

/** What tells one set of process ids from another. The last two throw where there is no `/proc`. */
export type HostSource = {
  readonly platform: string;
  readonly hostName: () => string;
  readonly bootId: () => string;
  readonly pidNamespace: () => string;
};

const thisHost: HostSource = {
  platform: process.platform,
  hostName: hostname,
  bootId: () => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
  pidNamespace: () => readlinkSync('/proc/self/ns/pid'),
};

/** The mark `host-pid-start` of this process, of characters that suit a file name. */
export function ownerMark(source: HostSource = thisHost): string {
  return `${hostPart(source)}-${process.pid}-${startPart()}`;
}

function startPart(): string {
  return Math.round(performance.timeOrigin).toString(36);
}

function hostPart(source: HostSource): string {
  const text = [source.hostName(), ...namespaceOf(source)].join('\n');
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function namespaceOf(source: HostSource): string[] {
  // Elsewhere the processes of a host share their ids.
  if (source.platform !== 'linux') return [];
  try {
    return [source.bootId(), source.pidNamespace()];
  } catch {
    // Whose ids ours are cannot be told, so nobody may draw conclusions from them.
    return ['unknown', String(process.pid), startPart()];
  }
}

/**
 * Whether the file's maker is gone: it was another process of this host that no longer runs, or the file
 * is too old for anybody. A file that vanishes meanwhile is not left behind.
 */
export async function isLeftBehind(file: string, mark: string): Promise<boolean> {
  if (mark === ownerMark()) return false;
  const [host, pid] = mark.split('-');
  if (host === hostPart(thisHost) && !isRunning(Number(pid))) return true;
  try {
    const { mtimeMs } = await stat(file);
    return (await directoryNow(dirname(file))) - mtimeMs > abandonedAfterMs;
  } catch {
    return false;
  }
}

/** The time by the clock that dates the files of a directory: of a file server it is not ours. */
async function directoryNow(directory: string): Promise<number> {
  const unique = randomBytes(8).toString('hex');
  const probe = join(directory, `${temporaryPrefix}${ownerMark()}-${unique}`);
  try {
    await writeFile(probe, '', { flag: 'wx', mode: 0o600 });
    return (await stat(probe)).mtimeMs;
  } finally {
    await unlink(probe).catch(() => undefined);
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return true;
  // Our own number with another start: an earlier life of this process.
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
