// What went wrong, in the two layers the client shows: `McError` is the cause (a server's answer, a broken
// connection, a missing file, a wrong argument), `Failure` (in `failure.ts`) the sentence of the command
// around it. `detail` is the JSON object that `--json` prints for the cause; it never holds a secret.

/** JSON as this program writes it. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json | undefined };

export type JsonObject = { readonly [name: string]: Json | undefined };

/** True for an object with members. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export type McErrorCode =
  | 'argument'
  | 'config'
  | 'no-alias'
  | 'sse'
  | 'local-missing'
  | 'local'
  | 'bucket-name'
  | 'bucket-missing'
  | 'object-missing'
  | 'access-denied'
  | 'server'
  | 'transport'
  | 'cancelled';

/** A cause. `serverCode` and `status` are set when a server answered. */
export class McError extends Error {
  readonly code: McErrorCode;
  readonly detail: JsonObject;
  readonly serverCode: string | undefined;
  readonly status: number | undefined;
  constructor(
    code: McErrorCode,
    message: string,
    more: { detail?: JsonObject; serverCode?: string; status?: number; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'McError';
    this.code = code;
    this.detail = more.detail ?? {};
    this.serverCode = more.serverCode;
    this.status = more.status;
  }
}

/** The cause of wrong use that the argument count alone does not show. */
export function invalidArguments(): McError {
  return new McError(
    'argument',
    'Invalid arguments provided, please refer `mc <command> -h` for relevant documentation.',
  );
}

/** Any thrown value as a cause: errors of the file system and unknown ones keep their text. */
export function toMcError(error: unknown): McError {
  if (error instanceof McError) return error;
  if (error instanceof Error) {
    const code = (error as NodeJS.ErrnoException).code;
    const isSystem = typeof code === 'string' && /^E[A-Z]+$/.test(code);
    if (error.name === 'AbortError')
      return new McError('cancelled', 'interrupted', { cause: error });
    return new McError(isSystem ? 'local' : 'transport', error.message, { cause: error });
  }
  return new McError('transport', String(error));
}
