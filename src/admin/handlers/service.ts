// `mc admin service restart|stop|freeze|unfreeze`: answered first, acted on afterwards, because the
// client would otherwise see its connection break.

import type { ServiceAction, ServiceResult } from '../../wire/admin.ts';
import { AdminError } from '../admin-error.ts';
import type { AdminAction, AdminHandler } from '../call.ts';

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
  const afterwards = dryRun ? undefined : () => call.parts.act(action);
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

function parseAction(text: string): ServiceAction {
  if (text === 'restart' || text === 'stop' || text === 'freeze' || text === 'unfreeze') {
    return text;
  }
  throw new AdminError('MalformedPOSTRequest');
}
