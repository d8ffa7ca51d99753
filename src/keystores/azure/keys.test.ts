// The contract of key stores on the Azure adapter, against its double.

import { testKeyStore } from '../../../test/contract/key-store.ts';
import { openAzureContract } from '../../../test/support/doubles/azure-contract.ts';
import { keysOn } from '../../../test/support/doubles/cloud-contract.ts';

testKeyStore('Azure', async () => keysOn(await openAzureContract()), {
  valueBytesMax: 25_600,
  listCount: 40,
});
