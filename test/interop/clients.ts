// The installed real programs, and one way to run them.

import { spawn } from 'node:child_process';
import path from 'node:path';

/** Where `npm run interop` put what it installed. */
export const interopDir = process.env['COFFER_INTEROP_DIR'] ?? '';

export const clientPaths = {
  mc: path.join(interopDir, 'bin/mc'),
  minio: path.join(interopDir, 'bin/minio'),
  python: path.join(interopDir, 'venv/bin/python'),
  aws: path.join(interopDir, 'venv/bin/aws'),
  s3cmd: path.join(interopDir, 'venv/bin/s3cmd'),
  rclone: 'rclone',
  s3fs: '/usr/bin/s3fs',
  minioGo: path.join(interopDir, 'bin/minio-go-driver'),
} as const;

export type Ran = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

/** Runs a program to its end; never throws for a bad exit code. */
export function runClient(
  command: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly input?: Uint8Array | string;
    readonly cwd?: string;
    readonly limitMs?: number;
  } = {},
): Promise<Ran> {
  const [file = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: { PATH: process.env['PATH'], ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), options.limitMs ?? 120_000);
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({
        exitCode: code ?? -1,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      });
    });
    child.stdin.on('error', () => {
      // A program that ends without reading its input is judged by its exit code.
    });
    child.stdin.end(options.input ?? '');
  });
}
