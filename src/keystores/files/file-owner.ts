// Who made a helper file in a shared directory, written so that another program can tell whether its
// maker still runs: host, process id, and the moment the process began, because process ids come back.

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';

/** Helper files live for milliseconds; one this old was left behind, whoever made it. */
const abandonedAfterMs = 60_000;

/** The mark `host-pid-start` of this process, of characters that suit a file name. */
export function ownerMark(): string {
  return `${hostPart()}-${process.pid}-${startPart()}`;
}

function startPart(): string {
  return Math.round(performance.timeOrigin).toString(36);
}

function hostPart(): string {
  return createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
}

/**
 * Whether the file's maker is gone: it was another process of this host that no longer runs, or the file
 * is too old for anybody. A file that vanishes meanwhile is not left behind.
 */
export async function isLeftBehind(file: string, mark: string): Promise<boolean> {
  if (mark === ownerMark()) return false;
  const [host, pid] = mark.split('-');
  if (host === hostPart() && !isRunning(Number(pid))) return true;
  try {
    return Date.now() - (await stat(file)).mtimeMs > abandonedAfterMs;
  } catch {
    return false;
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
