// The KMS calls of the admin interface: `mc admin kms key create|list|status`, the status and metrics of
// the key service, and, ours, what a master key protects in this store. Authorisation has two stages, the
// action alone and then the action on the key. Without a KMS every call answers 501.

import { KmsError, type Kms } from '../../sse/kms.ts';
import type {
  KmsApiAnswer,
  KmsKeyAnswer,
  KmsKeyStatusAnswer,
  KmsKeyUsageAnswer,
  KmsStatusAnswer,
} from '../../wire/admin.ts';
import { AdminError, kmsErrorText } from '../admin-error.ts';
import type { AdminAction, AdminCall, AdminHandler } from '../call.ts';

/** `GET /status`. */
export const showKmsStatus: AdminHandler = async (call) => {
  const status = await requireKms(call).status();
  const answer: KmsStatusAnswer = {
    name: status.name,
    'default-key-id': status.defaultKeyName,
    endpoints: status.endpoints,
    state: {},
  };
  return { json: answer };
};

/** `GET /metrics`. */
export const showKmsMetrics: AdminHandler = async (call) => {
  requireKms(call);
  return { json: call.parts.kmsMetrics() };
};

/** `GET /apis`: what this server asks of its key service. */
export const showKmsApis: AdminHandler = async (call) => {
  requireKms(call);
  return { json: kmsApis };
};

/** `GET /version`. */
export const showKmsVersion: AdminHandler = async (call) => {
  requireKms(call);
  return { json: { version: 'v1' } };
};

/** `POST /key/create?key-id=K`. */
export const createKey: AdminHandler = async (call) => {
  const kms = requireKms(call);
  const keyName = call.query.get('key-id') ?? '';
  if (keyName === '') throw new AdminError('InvalidArgument', 'key-id is missing: name the key');
  requireKeyAccess(call, 'kms:CreateKey', keyName);
  await kms.createKey(keyName);
  return {};
};

/** `GET /key/list?pattern=P`: a prefix, with an optional `*` at its end. Filtered by what the caller may list. */
export const listKeys: AdminHandler = async (call) => {
  const kms = requireKms(call);
  const pattern = call.query.get('pattern');
  if (pattern === null) {
    throw new AdminError('InvalidArgument', 'pattern is missing: use * for all keys');
  }
  const keys = await kms.listKeys(pattern.replace(/\*$/, ''));
  const answer = keys
    .filter((key) => call.parts.isAllowed(call.identity, 'kms:ListKeys', key.name))
    .map(
      (key): KmsKeyAnswer => ({
        name: key.name,
        ...(key.createdAt === undefined ? {} : { createdAt: key.createdAt }),
        ...(key.createdBy === undefined ? {} : { createdBy: key.createdBy }),
        ...(key.state === 'disabled' ? { state: 'disabled' } : {}),
      }),
    );
  return { json: answer };
};

/** `GET /key/status?key-id=K`: makes a data key and opens it again. Failures are part of a 200. */
export const showKeyStatus: AdminHandler = async (call) => {
  const kms = requireKms(call);
  const keyName = call.query.get('key-id') || kms.defaultKeyName;
  requireKeyAccess(call, 'kms:KeyStatus', keyName);
  return { json: await testKey(kms, keyName) };
};

/** `GET /key/usage?key-id=K` (ours): state of the key, and the objects and bytes it protects. */
export const showKeyUsage: AdminHandler = async (call) => {
  const kms = requireKms(call);
  if (!call.parts.store) throw new AdminError('ServerNotInitialized');
  const keyName = call.query.get('key-id') || kms.defaultKeyName;
  requireKeyAccess(call, 'kms:KeyStatus', keyName);
  const [usage, state] = await Promise.all([
    call.parts.store.keyUsage(keyName),
    findState(kms, keyName),
  ]);
  const answer: KmsKeyUsageAnswer = { keyId: keyName, state, ...usage };
  return { json: answer };
};

async function testKey(kms: Kms, keyName: string): Promise<KmsKeyStatusAnswer> {
  const context = { 'key-status': keyName };
  const generated = await attempt(() => kms.generateKey(keyName, context));
  if ('problem' in generated) {
    return { 'key-id': keyName, 'encryption-error': generated.problem };
  }
  const { plaintext, ciphertext } = generated.value;
  const opened = await attempt(() => kms.decrypt(keyName, ciphertext, context));
  if ('problem' in opened) return { 'key-id': keyName, 'decryption-error': opened.problem };
  const isSame = Buffer.from(plaintext).equals(opened.value);
  plaintext.fill(0);
  opened.value.fill(0);
  if (isSame) return { 'key-id': keyName };
  return {
    'key-id': keyName,
    'decryption-error': 'The generated and the decrypted data key do not match',
  };
}

async function attempt<T>(call: () => Promise<T>): Promise<{ value: T } | { problem: string }> {
  try {
    return { value: await call() };
  } catch (error) {
    if (error instanceof KmsError) return { problem: kmsErrorText(error) };
    throw error;
  }
}

async function findState(kms: Kms, keyName: string): Promise<KmsKeyUsageAnswer['state']> {
  try {
    return (await kms.describeKey(keyName)).state;
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    return error.code === 'key-not-found' ? 'absent' : 'unknown';
  }
}

function requireKms(call: AdminCall): Kms {
  if (!call.parts.kms) throw new AdminError('NotImplemented');
  return call.parts.kms;
}

function requireKeyAccess(call: AdminCall, action: AdminAction, keyName: string): void {
  if (!call.parts.isAllowed(call.identity, action, keyName)) throw new AdminError('AccessDenied');
}

const kmsApis: readonly KmsApiAnswer[] = [
  { Method: 'GET', Path: '/version', MaxBody: 0, Timeout: 10 },
  { Method: 'GET', Path: '/v1/status', MaxBody: 0, Timeout: 15 },
  { Method: 'PUT', Path: '/v1/key/create/', MaxBody: 0, Timeout: 15 },
  { Method: 'GET', Path: '/v1/key/describe/', MaxBody: 0, Timeout: 15 },
  { Method: 'GET', Path: '/v1/key/list/', MaxBody: 0, Timeout: 15 },
  { Method: 'PUT', Path: '/v1/key/generate/', MaxBody: 1_000_000, Timeout: 15 },
  { Method: 'PUT', Path: '/v1/key/decrypt/', MaxBody: 1_000_000, Timeout: 15 },
];
