// The contract of key stores on the AWS adapter, against its double.

import { testKeyStore } from '../../../test/contract/key-store.ts';
import { openAwsContract } from '../../../test/support/doubles/aws-contract.ts';
import { keysOn } from '../../../test/support/doubles/cloud-contract.ts';

testKeyStore('AWS', async () => keysOn(await openAwsContract()), {
  valueBytesMax: 65_536,
  listCount: 40,
});
