// One call of the admin API for a command, with the sentences around its errors.

import type { AdminPayload, AdminQuery } from './admin-client.ts';
import { type McContext, openAdmin } from './context.ts';
import { toMcError } from './error.ts';
import { Failure } from './failure.ts';

export type AdminCall = AdminPayload & {
  readonly method: string;
  /** Absolute. */
  readonly path: string;
  readonly query?: AdminQuery;
  /** The sentence of the command around an error. */
  readonly problem: string;
};

/** The answer of the server as JSON, undefined for an empty one. Throws `Failure`. */
export async function callAdmin(
  context: McContext,
  target: string,
  call: AdminCall,
): Promise<unknown> {
  let admin;
  try {
    admin = await openAdmin(context, target);
  } catch (error) {
    throw new Failure('Unable to initialize admin connection.', toMcError(error));
  }
  try {
    return await admin.call(call.method, call.path, call.query, call);
  } catch (error) {
    throw new Failure(call.problem, toMcError(error));
  }
}
