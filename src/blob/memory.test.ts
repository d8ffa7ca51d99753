// Blobs in memory keep the contract of every blob store.

import { testBlobStore } from '../../test/contract/blob-store.ts';
import { openMemoryBlobStore } from './memory.ts';

testBlobStore('memory', async () => openMemoryBlobStore());
