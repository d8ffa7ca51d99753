// `mc admin service restart|stop|freeze|unfreeze`. A restart is answered when it has taken effect, so that
// the next command finds the new settings, or is told why it was refused; no connection breaks meanwhile.
// The others are answered first and acted on afterwards, because a stop would break the connection.

import type { ServiceAction, ServiceResult } from '../../wire/admin.ts';
import { AdminError } from '../admin-error.ts';
import type { AdminAction, AdminCall, AdminHandler } from '../call.ts';

const actions: Readonly<Record<ServiceAction, AdminAction>> = {
  restart: 'admin:ServiceRestart',
  stop: 'admin:ServiceStop',
  freeze: 'admin:ServiceFreeze',
  unfreeze: 'admin:ServiceFreeze',
};

/** `POST /service`. The second form of the call (`type=2`) wants JSON, the first an empty answer. */
export const controlService: AdminHandler = async (call) => {
  const action = parseAction(call.query.get('action') ?? '');
  if (!call.parts.isAllowed(call.identity, actions[action])) throw new AdminError('AccessDenied');
  const dryRun = call.query.get('dry-run') === 'true';
  if (action === 'restart' && !dryRun) await restart(call);
  const afterwards = action === 'restart' || dryRun ? undefined : () => call.parts.act(action);
  const hasResults = action === 'restart' || action === 'stop';
  const result: ServiceResult = {
    action,
    dryRun,
    ...(hasResults ? { results: [{ host: call.host }] } : {}),
  };
  return {
    ...(call.query.get('type') === '2' ? { json: result } : {}),
    ...(afterwards ? { afterwards } : {}),
  };
};

async function restart({ parts }: AdminCall): Promise<void> {
  const refusal = await parts.restart();
  if (refusal !== undefined) {
    throw new AdminError(
      'XCofferRestartRefused',
      `The restart was refused and the server goes on as before: ${refusal}`,
    );
  }
}

function parseAction(text: string): ServiceAction {
  if (text === 'restart' || text === 'stop' || text === 'freeze' || text === 'unfreeze') {
    return text;
  }
  throw new AdminError('MalformedPOSTRequest');
}
