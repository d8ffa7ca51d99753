// Proves who sent an admin call: a Signature V4 header of any region, also the empty one, over the hash
// of the body. Presigned and anonymous calls, and bodies without a hash, are refused.

import type { IncomingMessage } from 'node:http';

import type { AdminCaller } from '../admin/admin-handler.ts';
import { AdminError, isAdminErrorCode } from '../admin/admin-error.ts';
import type { CredentialsSource } from '../iam/identity.ts';
import { authenticate } from '../s3/auth/authenticate.ts';
import { AuthError } from '../sigv4/errors.ts';
import { SigningKeyCache } from '../sigv4/signing-key.ts';

export type AdminAuthDeps = {
  readonly credentials: CredentialsSource;
  /** False while only the credentials of the settings are known. */
  isReady(): boolean;
  now(): number;
};

/** Verifies admin calls. The function throws `AdminError`. */
export function createAdminAuthenticator(
  deps: AdminAuthDeps,
): (req: IncomingMessage) => Promise<AdminCaller> {
  const signingKeys = new SigningKeyCache();
  return async (req) => {
    const request = {
      method: req.method ?? '',
      rawTarget: req.url ?? '',
      headers: req.headers,
      rawHeaders: req.rawHeaders,
    };
    let secretKey = '';
    const credentials: CredentialsSource = {
      find: async (accessKey) => {
        const found = await deps.credentials.find(accessKey);
        secretKey = found?.secretKey ?? '';
        return found;
      },
    };
    const context = { ...deps, credentials, signingKeys, region: '' };
    try {
      const proven = await authenticate(request, context, { acceptsAnyRegion: true });
      if (proven.method !== 'header' || proven.payload.kind !== 'hashed') {
        throw new AdminError(
          'AccessDenied',
          'Admin calls need a signature header and a body hash.',
        );
      }
      return { identity: proven.identity, bodySha256: proven.payload.sha256, secretKey };
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
      if (error.code === 'InvalidAccessKeyId' && !deps.isReady()) {
        throw new AdminError(
          'ServerNotInitialized',
          'The server waits for its key service and knows only the credentials of its settings.',
        );
      }
      const code = isAdminErrorCode(error.code) ? error.code : 'AccessDenied';
      throw new AdminError(code, error.message, { cause: error });
    }
  };
}
