import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kesConnectionError, trustRemedyOf } from './kes-error.ts';

void test('a server that is not trusted is told apart by what mends it', () => {
  const remedies = {
    DEPTH_ZERO_SELF_SIGNED_CERT: 'trust',
    SELF_SIGNED_CERT_IN_CHAIN: 'trust',
    CERT_HAS_EXPIRED: 'renew',
    CERT_NOT_YET_VALID: 'renew',
    ERR_TLS_CERT_ALTNAME_INVALID: 'rename',
  };
  for (const [code, remedy] of Object.entries(remedies)) {
    const cause = Object.assign(new Error('TLS'), { code });
    const error = kesConnectionError(cause, { wasSent: false });
    assert.equal(error.code, 'untrusted');
    assert.equal(trustRemedyOf(error), remedy, code);
  }
});
