// The one error of this folder. Its text is for people and holds no secret.

/**
 * `invalid-credentials`: the settings give unusable ones. `corrupt`: a stored entry cannot be read.
 * `malformed-policy`: a policy document is refused; the message names the fault.
 * `invalid-access-key`, `invalid-secret-key`, `invalid-policy-name`, `invalid-owner`: what is asked for is
 * not allowed as one. `root-access-key`: it is root's. `no-such-user`, `no-such-policy`: there is none.
 * `policy-in-use`: it is attached to a user. `built-in-policy`: it cannot be removed. `no-change`: it is so
 * already. `busy`: others kept changing users and policies meanwhile.
 */
export type IamErrorCode =
  | 'invalid-credentials'
  | 'corrupt'
  | 'malformed-policy'
  | 'invalid-access-key'
  | 'invalid-secret-key'
  | 'invalid-policy-name'
  | 'invalid-owner'
  | 'root-access-key'
  | 'no-such-user'
  | 'no-such-policy'
  | 'policy-in-use'
  | 'built-in-policy'
  | 'no-change'
  | 'busy';

export class IamError extends Error {
  readonly code: IamErrorCode;

  constructor(code: IamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'IamError';
    this.code = code;
  }
}
