// The contract of key stores on the Google adapter, against its double.

import { testKeyStore } from '../../../test/contract/key-store.ts';
import { openGcpContract } from '../../../test/support/doubles/gcp-contract.ts';
import { keysOn } from '../../../test/support/doubles/cloud-contract.ts';
import { makeAccountKey } from '../../../test/support/doubles/gcp-secrets.ts';

const accountKey = makeAccountKey();

testKeyStore('Google', async () => keysOn(await openGcpContract(accountKey)), {
  valueBytesMax: 65_536,
  listCount: 40,
});
