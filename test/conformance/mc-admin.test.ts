// Admin commands of the client that are not in the recorded runs, against a stub.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { runCommand, StubServer } from './mc-stub.ts';
import type { Outcome } from './mc-stub.ts';

describe('admin commands', () => {
  let stub: StubServer;
  let host = '';
  let home = '';
  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'mc-admin-'));
    stub = new StubServer();
    host = await stub.listen();
  });
  after(async () => {
    await stub.close();
    await rm(home, { recursive: true });
  });
  beforeEach(() => {
    stub.seen.length = 0;
  });

  const mc = (argv: readonly string[], isTerminal = false): Promise<Outcome> =>
    runCommand(argv, {
      env: { HOME: home, MC_HOST_t: `http://someone:something@${host}`, NO_COLOR: '1' },
      isTerminal,
    });

  const answerJson = (value: unknown, status = 200) => {
    stub.answer = (_seen, response) => {
      response.writeHead(status).end(JSON.stringify(value));
    };
  };

  it('show what a master key protects', async () => {
    answerJson({ keyId: 'my-key', state: 'disabled', objects: 1, bytes: 2048 });
    assert.deepEqual(await mc(['admin', 'kms', 'key', 'info', 't', 'my-key']), {
      code: 0,
      stdout: 'Key: my-key\n   - State    disabled\n   - Protects 1 object, 2.0 KiB\n',
      stderr: '',
    });
    const json = await mc(['admin', 'kms', 'key', 'info', 't', 'my-key', '--json']);
    assert.equal(
      json.stdout,
      '{"status":"success","keyId":"my-key","state":"disabled","objects":1,"bytes":2048}\n',
    );
    assert.equal(stub.seen[0]?.path, '/minio/kms/v1/key/usage');
    assert.equal(stub.seen[0]?.query, 'key-id=my-key');
    assert.match(stub.seen[0]?.headers['authorization'] ?? '', /\/\d{8}\/\/s3\/aws4_request/);
  });

  it('print a document for a created key, and a line on a terminal', async () => {
    stub.answer = (_seen, response) => {
      response.end();
    };
    const create = ['admin', 'kms', 'key', 'create', 't', 'k'];
    assert.equal((await mc(create)).stdout, '');
    assert.equal((await mc(create, true)).stdout, 'Created master key `k` successfully\n');
    const json = await mc([...create, '--json']);
    assert.equal(json.stdout, '{"status":"success","target":"t","keyId":"k"}\n');
  });

  it('restart without a terminal, and wait until the server is ready', async () => {
    let probes = 0;
    stub.answer = (seen, response) => {
      if (seen.path === '/minio/health/cluster') response.writeHead(++probes < 2 ? 503 : 200).end();
      else response.end('{"action":"restart","results":[{"host":"h:1"}]}');
    };
    const plain = await mc(['admin', 'service', 'restart', 't']);
    assert.equal(plain.code, 0);
    assert.match(plain.stdout, /^Restarted `t` successfully in \S+\.\n$/);
    const waited = await mc(['admin', 'service', 'restart', 't', '--wait']);
    assert.match(waited.stdout, /^Restarted `t` successfully in \S+, ready after \S+\.\n$/);
    assert.equal(probes, 2);
  });

  it('do not wait for ever', async () => {
    stub.answer = (seen, response) => {
      response.writeHead(seen.path === '/minio/health/cluster' ? 404 : 200).end('{}');
    };
    const argv = ['admin', 'service', 'restart', 't', '--wait', '--wait-timeout', '1ms'];
    const outcome = await mc(argv);
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /Failed to restart server\. It was not ready/);
  });

  it('report a refusal once, without repeating the request', async () => {
    answerJson({ Code: 'AccessDenied', Message: 'Access Denied.' }, 403);
    const outcome = await mc(['admin', 'info', 't', '--json']);
    assert.equal(outcome.code, 1);
    assert.equal(outcome.stdout, '{"status":"error","error":"Access Denied.","info":{}}\n');
    assert.equal(stub.seen.length, 1);
  });

  it('show whatever a minimal server tells about itself', async () => {
    answerJson({
      mode: 'online',
      servers: [{ state: 'online', endpoint: 'h:1', drives: [] }],
      backend: { backendType: 'FS' },
    });
    const outcome = await mc(['admin', 'info', 't']);
    assert.equal(outcome.code, 0);
    assert.equal(outcome.stdout, '●  h:1\n   Uptime: now \n   Version: \n\n');
  });

  it('name an alias that does not exist, and a command that is not there', async () => {
    assert.equal(
      (await mc(['admin', 'info', 'nosuch'])).stderr,
      "mc: <ERROR> Unable to initialize admin connection. No valid configuration found for 'nosuch' host alias.\n",
    );
    const absent = await mc(['admin', 'group', 'list', 't']);
    assert.equal(absent.code, 1);
    assert.match(absent.stderr, /`group` is not available/);
    const unknown = await mc(['foo']);
    assert.equal(
      unknown.stderr,
      'mc: <ERROR> `foo` is not a recognized command. Get help using `--help` flag. \n',
    );
  });
});
