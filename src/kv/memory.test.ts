import { testKv } from '../../test/contract/kv.ts';
import { openMemoryKv } from './memory.ts';

testKv('memory', async () => openMemoryKv());
