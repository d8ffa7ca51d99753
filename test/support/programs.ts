// Starts and stops the programs a measurement or an interop run needs, each in its own folder below one
// temporary directory, and reads their memory from /proc.

import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readdirSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';

/** The checkout's root. */
export const projectRoot = path.resolve(import.meta.dirname, '../..');

/** A port that was free a moment ago on loopback. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export type Program = {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves with the exit code once the program has ended. */
  readonly ended: Promise<number | null>;
  /** SIGTERM, then SIGKILL after `graceMs` (default 10 s). */
  stop(graceMs?: number): Promise<void>;
  kill(signal: NodeJS.Signals): void;
};

/** Starts a program; what it prints goes to `<dir>/<name>.log`. */
export async function startProgram(options: {
  readonly name: string;
  readonly command: readonly string[];
  readonly dir: string;
  readonly env?: Readonly<Record<string, string>>;
}): Promise<Program> {
  await mkdir(options.dir, { recursive: true });
  const logFile = path.join(options.dir, `${options.name}.log`);
  const [file = '', ...args] = options.command;
  const child: ChildProcess = spawn(file, args, {
    cwd: options.dir,
    env: { PATH: process.env['PATH'], HOME: options.dir, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log = createWriteStream(logFile, { flags: 'a' });
  child.stdout?.pipe(log, { end: false });
  child.stderr?.pipe(log, { end: false });
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', (code) => resolve(code));
    child.on('error', () => resolve(null));
  });
  return {
    name: options.name,
    pid: child.pid ?? 0,
    logFile,
    ended,
    kill: (signal) => void child.kill(signal),
    stop: async (graceMs = 10_000) => {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Polls until `isReady` is true; throws with the program's log when it is not within `limitMs` or it ended. */
export async function waitUntil(
  program: Program,
  isReady: () => Promise<boolean>,
  limitMs = 60_000,
): Promise<void> {
  let hasEnded = false;
  void program.ended.then(() => {
    hasEnded = true;
  });
  const deadline = Date.now() + limitMs;
  while (Date.now() < deadline) {
    if (await isReady().catch(() => false)) return;
    if (hasEnded) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const tail = readFileSync(program.logFile, 'utf8').slice(-4000);
  throw new Error(`${program.name} ${hasEnded ? 'ended' : 'did not get ready'}:\n${tail}`);
}

export type ProcessMemory = {
  readonly pid: number;
  readonly rssBytes: number;
  readonly ownBytes: number;
  readonly name: string;
};

/**
 * Memory of a process and all its descendants, in bytes, each with its command line: all that is resident, and the
 * part that is its own (the rest are files it maps, the metadata above all).
 */
export function memoryOf(pid: number): ProcessMemory[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // The process ended while we were reading.
    }
  }
  const isBelow = (candidate: number): boolean => {
    for (let at: number | undefined = candidate; at !== undefined && at > 1; at = parents.get(at)) {
      if (at === pid) return true;
    }
    return false;
  };
  return [...parents.keys()].filter(isBelow).map((found) => {
    const status = readFileSync(`/proc/${found}/status`, 'utf8');
    const rssKib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
    const ownKib = Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0);
    const name = readFileSync(`/proc/${found}/cmdline`, 'utf8')
      .replaceAll('\0', ' ')
      .trim()
      .slice(-60);
    return { pid: found, rssBytes: rssKib * 1024, ownBytes: ownKib * 1024, name };
  });
}
