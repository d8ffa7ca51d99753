// The AWS adapter on its double, as the contracts want it.

import { silentLog } from '../../../src/base/log.ts';
import { type AwsSecretsSettings, openAwsSecrets } from '../../../src/keystores/aws/secrets.ts';
import type { CloudDeps } from '../../../src/keystores/cloud-calls.ts';
import type { OpenedSecrets } from '../../contract/secret-store.ts';
import { type AwsSecretsDouble, startAwsSecretsDouble } from './aws-secrets.ts';

/** Repeats at once. */
export const awsDeps: CloudDeps = { log: silentLog, limits: { retryDelayMs: 1 } };
/** The secret key that the double knows from its start. */
export const awsSecretKey = 'double/secret+key';

/** Settings for the double, with static credentials. */
export function awsSettings(double: AwsSecretsDouble): AwsSecretsSettings {
  return {
    endpoint: double.server.origin,
    region: double.region,
    credentials: { accesskey: 'AKIADOUBLE', secretkey: awsSecretKey },
  };
}

/** A fresh double and a store on it. */
export async function openAwsContract(): Promise<OpenedSecrets> {
  const double = await startAwsSecretsDouble();
  const open = () => openAwsSecrets(awsSettings(double), awsDeps);
  return {
    store: await open(),
    openAgain: open,
    credentials: [awsSecretKey],
    faults: double.server,
    close: () => double.server.close(),
  };
}
