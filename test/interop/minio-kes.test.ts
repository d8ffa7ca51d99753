// The real MinIO with Coffer's key service as its KES: it starts, writes encrypted, reads, restarts and reads
// again, and is locked by `kes key disable`.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { kmsEnvironment, startKeyService } from '../support/coffer-pair.ts';
import { freePort, type Program, startProgram, waitUntil } from '../support/programs.ts';
import { clientPaths } from './clients.ts';
import { mcRunner } from './mc-transcript.ts';

await test('MinIO uses the key service as its KES', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'coffer-minio-'));
  const service = await startKeyService(path.join(dir, 'kes'));
  const port = await freePort();
  const start = async (): Promise<Program> => {
    const minio = await startProgram({
      name: 'minio',
      command: [
        clientPaths.minio,
        'server',
        path.join(dir, 'data'),
        '--address',
        `127.0.0.1:${port}`,
      ],
      dir,
      env: {
        MINIO_ROOT_USER: 'minioadmin',
        MINIO_ROOT_PASSWORD: 'minioadmin',
        ...kmsEnvironment(service),
      },
    });
    await waitUntil(
      minio,
      async () => (await fetch(`http://127.0.0.1:${port}/minio/health/ready`)).ok,
    );
    return minio;
  };
  let minio = await start();
  try {
    const mc = mcRunner([clientPaths.mc], dir);
    await mc(['alias', 'set', 'm', `http://127.0.0.1:${port}`, 'minioadmin', 'minioadmin']);
    await mc(['mb', 'm/bucket']);
    await mc(['encrypt', 'set', 'sse-s3', 'm/bucket']);
    await mc(['pipe', 'm/bucket/object'], { input: 'kept by MinIO, sealed by Coffer' });
    assert.equal((await mc(['cat', 'm/bucket/object'])).stdout, 'kept by MinIO, sealed by Coffer');
    assert.match((await mc(['stat', 'm/bucket/object'])).stdout, /SSE-S3/);
    await mc(['admin', 'kms', 'key', 'create', 'm', 'made-through-minio']);
    assert.match(await service.kes('key', 'ls', '-k'), /made-through-minio/);
    await mc(['admin', 'kms', 'key', 'status', 'm']);

    await minio.stop();
    minio = await start();
    assert.equal((await mc(['cat', 'm/bucket/object'])).stdout, 'kept by MinIO, sealed by Coffer');

    await service.kes('key', 'disable', service.keyName, '-k');
    await mc(['cat', 'm/bucket/object'], { exitCode: 1 });
    await service.kes('key', 'enable', service.keyName, '-k');
    assert.equal((await mc(['cat', 'm/bucket/object'])).stdout, 'kept by MinIO, sealed by Coffer');
  } finally {
    await minio.stop();
    await service.keyService.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});
