// `admin kms key create|list|status|info`: master keys, through the store's admin API. `info` is an addition:
// what a key protects.

import { callAdmin } from '../admin-call.ts';
import { aliasOf } from '../context.ts';
import type { McContext } from '../context.ts';
import { formatSize, plural } from '../format.ts';

const base = '/minio/kms/v1/key';

/** `admin kms key create TARGET KEY` */
export async function runKeyCreate(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', key = ''] = args;
  await callAdmin(context, target, {
    method: 'POST',
    path: `${base}/create`,
    query: { 'key-id': key },
    problem: 'Failed to create master key',
  });
  const { out, io } = context;
  if (out.isJson) out.json({ status: 'success', target: aliasOf(target), keyId: key });
  else if (io.stdout.isTTY === true) {
    out.line(out.paint(`Created master key \`${key}\` successfully`, 'green'));
  }
}

/** `admin kms key list TARGET` */
export async function runKeyList(context: McContext, args: readonly string[]): Promise<void> {
  const [target = ''] = args;
  const answer = await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/list`,
    query: { pattern: '*' },
    problem: 'Unable to list KMS keys',
  });
  const entries = Array.isArray(answer) ? (answer as readonly { name?: string }[]) : [];
  const keys = entries.map((entry) => entry.name ?? '');
  context.out.message({ status: 'success', target: aliasOf(target), keys }, () => keyTable(keys));
}

function keyTable(keys: readonly string[]): string {
  const number = Math.max(3, String(keys.length).length);
  const name = Math.max(4, ...keys.map((key) => key.length));
  const whole = number + name + 3;
  const row = (left: string, right: string) =>
    `│ ${left.padStart(number)} │ ${right.padEnd(name)} │`;
  const line = (left: string, middle: string, right: string) =>
    left + '─'.repeat(number + 2) + middle + '─'.repeat(name + 2) + right;
  return [
    `┌${'─'.repeat(whole + 2)}┐`,
    `│ ${'KMS Keys'.padEnd(whole)} │`,
    line('├', '┬', '┤'),
    row('S N', 'NAME'),
    line('├', '┼', '┤'),
    ...keys.map((key, index) => row(String(index + 1), key)),
    line('└', '┴', '┘'),
  ].join('\n');
}

/** `admin kms key status TARGET [KEY]`: exit code 0 also for a key that does not work. */
export async function runKeyStatus(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', key = ''] = args;
  const answer = (await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/status`,
    query: { 'key-id': key },
    problem: 'Failed to get status information',
  })) as Readonly<Record<string, string | undefined>> | undefined;
  const keyId = answer?.['key-id'] ?? key;
  const encryptionError = answer?.['encryption-error'] ?? '';
  const decryptionError = answer?.['decryption-error'] ?? '';
  const { out } = context;
  out.message(
    {
      keyId,
      ...(encryptionError === '' ? {} : { encryptionError }),
      ...(decryptionError === '' ? {} : { decryptionError }),
      status: 'success',
    },
    () => {
      const good = out.paint('✔', 'green');
      const bad = (reason: string) => out.paint(`✗ (${reason})`, 'red');
      const decryption =
        decryptionError !== '' ? bad(decryptionError) : encryptionError === '' ? good : '?';
      return [
        `Key: ${keyId}`,
        `   - Encryption ${encryptionError === '' ? good : bad(encryptionError)}`,
        `   - Decryption ${decryption}`,
      ].join('\n');
    },
  );
}

/** `admin kms key info TARGET KEY` */
export async function runKeyInfo(context: McContext, args: readonly string[]): Promise<void> {
  const [target = '', key = ''] = args;
  const answer = (await callAdmin(context, target, {
    method: 'GET',
    path: `${base}/usage`,
    query: { 'key-id': key },
    problem: 'Failed to get key information',
  })) as { keyId?: string; state?: string; objects?: number; bytes?: number } | undefined;
  const usage = {
    keyId: answer?.keyId ?? key,
    state: answer?.state ?? 'unknown',
    objects: answer?.objects ?? 0,
    bytes: answer?.bytes ?? 0,
  };
  context.out.message({ status: 'success', ...usage }, () =>
    [
      `Key: ${usage.keyId}`,
      `   - State    ${usage.state}`,
      `   - Protects ${plural(usage.objects, 'object')}, ${formatSize(usage.bytes)}`,
    ].join('\n'),
  );
}
