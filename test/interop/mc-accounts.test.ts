// Users, policies and anonymous access with the unmodified mc and with Coffer's own: both print the same,
// and what they set is in force on every worker at once.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { cofferBin, type CofferPair, startCofferPair } from '../support/coffer-pair.ts';
import { s3TestClient } from '../support/s3-test-client.ts';
import { clientPaths, type Ran, runClient } from './clients.ts';
import { documents, type Mc, mcRunner } from './mc-transcript.ts';

const programs = [
  { name: 'mc', command: [clientPaths.mc] },
  { name: 'coffer mc', command: [cofferBin, 'mc'] },
];

/** They leave nothing behind but a policy of the bucket, which is taken away. */
const compared: readonly string[] = [
  'admin user list t',
  'admin user list t --json',
  'admin user add t alice alice-secret',
  'admin user add t bob bob-secret-key --json',
  'admin user add t al alice-secret',
  'admin user add t a=b alice-secret',
  'admin user add t carol short',
  'admin user info t alice',
  'admin user info t alice --json',
  'admin user info t nosuch --json',
  'admin user disable t bob --json',
  'admin user list t',
  'admin user list t --json',
  'admin user enable t bob',
  'admin user enable t nosuch',
  'admin policy list t --json',
  'admin policy info t readonly --json',
  'admin policy info t consoleAdmin',
  'admin policy info t nosuch',
  'admin policy create t mine policy.json',
  'admin policy create t bad bad.json',
  'admin policy create t bad missing.json --json',
  'admin policy create t bad empty.json --json',
  'admin policy create t a,b policy.json',
  'admin policy info t mine',
  'admin policy info t mine --json',
  'admin policy attach t mine readonly --user alice',
  'admin policy attach t mine --user alice --json',
  'admin policy attach t nosuch --user alice --json',
  'admin policy attach t mine --user nosuch',
  'admin policy attach t mine --json',
  'admin policy attach t mine --user alice --group g --json',
  'admin policy attach t mine --group g',
  'admin user info t alice',
  'admin user info t alice --json',
  'admin user list t',
  'admin user list t --json',
  'admin policy entities t --json',
  'admin policy entities t --user alice --policy mine',
  'admin policy entities t --policy nosuch',
  'admin policy remove t mine --json',
  'admin policy remove t writeonly',
  'admin policy detach t readonly --user alice --json',
  'admin policy detach t readonly --user alice --json',
  'admin policy detach t mine --user alice',
  'admin policy remove t mine --json',
  'admin policy remove t nosuch',
  'admin user remove t alice',
  'admin user remove t bob --json',
  'anonymous get t/open',
  'anonymous get t/open --json',
  'anonymous set download t/open',
  'anonymous get t/open',
  'anonymous get t/open --json',
  'anonymous list t/open --json',
  'anonymous links t/open --json',
  'anonymous links --recursive t/open',
  'anonymous set upload t/open/in --json',
  'anonymous set public t/open/pub/',
  'anonymous get t/open/pub',
  'anonymous get t/open/pub/ --json',
  'anonymous list t/open --json',
  'anonymous set private t/open/pub/',
  'anonymous set none t/open/in',
  'anonymous set private t/open',
  'anonymous get-json t/open',
  'anonymous set-json anonymous.json t/open',
  'anonymous get t/open',
  'anonymous get t/open --json',
  'anonymous get-json t/open',
  'anonymous list t/open --json',
  'anonymous set-json missing.json t/open',
  'anonymous set foo t/open --json',
  'anonymous get t/nosuch --json',
  'anonymous get t',
];

const files: Readonly<Record<string, string>> = {
  'policy.json':
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::open/*"]}]}',
  'bad.json': '{"Version":"2012-10-17","Statement":[{"Effect":"Maybe"}]}',
  'empty.json': '',
  'anonymous.json':
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::open/*"],"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8"]}}}]}',
};

/** What succeeds with each policy, of: ls of all, ls, cat, cp, rm, admin info. */
const byPolicy: Readonly<Record<string, readonly string[]>> = {
  readonly: ['buckets', 'get'],
  readwrite: ['buckets', 'list', 'get', 'put', 'remove'],
  writeonly: ['put'],
  diagnostics: ['info'],
  consoleAdmin: ['buckets', 'list', 'get', 'put', 'remove', 'info'],
};

/** Times and ids change; the reference lists in any order, and writes empty members and a placeholder. */
function comparable({ stdout, stderr, exitCode }: Ran): object {
  const clean = (text: string): string[] =>
    text
      .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME')
      .replace(/"(RequestID|HostID)":"[^"]*"/g, '"$1":""')
      .replace('Unable to remove %s', 'Unable to remove nosuch')
      .replaceAll(',"Sid":""', '')
      .split('\n')
      .sort();
  return { stdout: clean(stdout), stderr: clean(stderr), exitCode };
}

await describe('users and policies', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'coffer-accounts-'));
  let started: CofferPair | undefined;
  const pairOf = (): CofferPair => {
    assert.ok(started);
    return started;
  };
  const configDir = path.join(dir, 'mc-config');
  const run = (program: (typeof programs)[number], line: string) =>
    runClient([...program.command, '--config-dir', configDir, ...line.split(' ')], {
      env: { HOME: dir },
      cwd: dir,
    });

  before(async () => {
    started = await startCofferPair(dir, { env: { COFFER_WORKERS: '3' } });
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
    const mc = mcRunner([cofferBin, 'mc'], dir);
    const url = `http://127.0.0.1:${started.port}`;
    await mc(['alias', 'set', 't', url, started.accessKey, started.secretKey]);
    await mc(['mb', 't/open', 't/closed']);
    for (const key of ['a', 'pub/b c', 'in/d']) {
      await mc(['cp', path.join(dir, 'policy.json'), `t/open/${key}`]);
    }
  });
  after(async () => {
    await started?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  await test('both programs print the same', async () => {
    const client = s3TestClient(pairOf());
    const outcomes: Ran[][] = [];
    for (const program of programs) {
      const ran: Ran[] = [];
      for (const line of compared) ran.push(await run(program, line));
      outcomes.push(ran);
      await client.send({ method: 'DELETE', target: '/open?policy' });
    }
    client.close();
    const differing = compared.flatMap((line, index) => {
      const [theirs, ours] = outcomes.map((ran) => comparable(ran[index] as Ran)); // one for each line
      return isDeepStrictEqual(ours, theirs) ? [] : [{ line, theirs, ours }];
    });
    assert.deepEqual(differing, []);
  });

  for (const program of programs) {
    await test(`${program.name}: what each built-in policy allows`, async () => {
      const mc = mcRunner(program.command, dir);
      for (const [policy, allowed] of Object.entries(byPolicy)) {
        await allowedBy(mc, { policy, allowed, url: `http://127.0.0.1:${pairOf().port}` });
      }
    });

    await test(`${program.name}: a disabled and a removed user are out at once`, async () => {
      const pair = pairOf();
      const mc = mcRunner(program.command, dir);
      await mc(['admin', 'user', 'add', 't', 'runner', 'runner-secret']);
      await mc(['admin', 'policy', 'attach', 't', 'readonly', '--user', 'runner']);
      for (const [off, on] of [
        ['disable', 'enable'],
        ['disable', 'enable'],
        ['remove', undefined],
      ] as const) {
        const load = startLoad(pair);
        await load.answered(50);
        load.enter('changing');
        await mc(['admin', 'user', off, 't', 'runner']);
        load.enter('after');
        await load.answered(50);
        assert.deepEqual(await load.stop(), { before: [200], after: [403] });
        if (on !== undefined) await mc(['admin', 'user', on, 't', 'runner']);
      }
    });

    await test(`${program.name}: users and policies outlive a restart`, async () => {
      const mc = mcRunner(program.command, dir);
      await mc(['admin', 'policy', 'create', 't', 'mine', path.join(dir, 'policy.json')]);
      await mc(['admin', 'user', 'add', 't', 'keeper', 'keeper-secret']);
      await mc(['admin', 'policy', 'attach', 't', 'mine', '--user', 'keeper']);
      await mcRunner([cofferBin, 'mc'], dir)(['admin', 'service', 'restart', 't', '--wait']);
      const url = `http://127.0.0.1:${pairOf().port}`;
      await mc(['alias', 'set', 'keeper', url, 'keeper', 'keeper-secret', '--api', 's3v4']);
      await mc(['cat', 'keeper/open/a']);
      const [info] = documents(await mc(['admin', 'user', 'info', 't', 'keeper', '--json']));
      assert.equal(info?.['policyName'], 'mine');
      await mc(['admin', 'user', 'remove', 't', 'keeper']);
      await mc(['admin', 'policy', 'remove', 't', 'mine']);
    });
  }
});

async function allowedBy(
  mc: Mc,
  { policy, allowed, url }: { policy: string; allowed: readonly string[]; url: string },
): Promise<void> {
  const user = `user-${policy}`;
  await mc(['admin', 'user', 'add', 't', user, `${user}-secret`]);
  await mc(['admin', 'policy', 'attach', 't', policy, '--user', user]);
  await mc(['alias', 'set', 'u', url, user, `${user}-secret`, '--api', 's3v4']);
  const file = `open/written-${policy}`;
  const attempts: Readonly<Record<string, readonly string[]>> = {
    buckets: ['ls', 'u'],
    list: ['ls', 'u/open'],
    get: ['cat', 'u/open/a'],
    put: ['pipe', `u/${file}`],
    remove: ['rm', `u/${file}`],
    info: ['admin', 'info', 'u'],
  };
  await mc(['pipe', `t/${file}`], { input: 'x' });
  for (const [name, args] of Object.entries(attempts)) {
    const exitCode = allowed.includes(name) ? 0 : 1;
    await mc(args, { exitCode, ...(name === 'put' ? { input: 'y' } : {}) });
  }
  await mc(['admin', 'user', 'remove', 't', user]);
}

/** Requests of one user without a pause, on connections that go to all workers. */
function startLoad(pair: CofferPair) {
  const client = s3TestClient({ ...pair, accessKey: 'runner', secretKey: 'runner-secret' });
  type Phase = 'before' | 'changing' | 'after';
  const seen = { before: new Set<number>(), changing: new Set<number>(), after: new Set<number>() };
  const now: { phase: Phase; isOver: boolean; answers: number } = {
    phase: 'before',
    isOver: false,
    answers: 0,
  };
  const loop = async (): Promise<void> => {
    while (!now.isOver) {
      const began = now.phase;
      const { status } = await client.send({ method: 'GET', target: '/open/a' });
      // Those that were under way when the change began may be answered either way.
      if (began === 'after' || began === now.phase) seen[began].add(status);
      now.answers += 1;
    }
  };
  const loops = Array.from({ length: 8 }, loop);
  return {
    /** Resolves after so many more answers. */
    async answered(count: number): Promise<void> {
      const until = now.answers + count;
      while (now.answers < until) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    enter: (next: Phase) => {
      now.phase = next;
    },
    async stop(): Promise<{ before: number[]; after: number[] }> {
      now.isOver = true;
      await Promise.all(loops);
      client.close();
      return { before: [...seen.before], after: [...seen.after] };
    },
  };
}
