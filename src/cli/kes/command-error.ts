// How a command of this folder ends when it cannot do what it was asked.

/** `usage`: wrong arguments. `failed`: the work itself. The text is shown after `Error: `. */
export type KesCommandErrorCode = 'usage' | 'failed';

export class KesCommandError extends Error {
  readonly code: KesCommandErrorCode;
  constructor(code: KesCommandErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KesCommandError';
    this.code = code;
  }
}
