// The one error of this folder. Its text is for people and holds no secret.

/**
 * `invalid-credentials`: the settings give unusable ones. `corrupt`: a stored entry cannot be read.
 * `malformed-policy`: a policy document is refused; the message names the fault.
 */
export type IamErrorCode = 'invalid-credentials' | 'corrupt' | 'malformed-policy';

export class IamError extends Error {
  readonly code: IamErrorCode;

  constructor(code: IamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'IamError';
    this.code = code;
  }
}
