// The engine in memory keeps the contract of every engine.

import { testKv } from '../../test/contract/kv.ts';
import { openMemoryKv } from './memory.ts';

testKv('memory', async () => openMemoryKv());
