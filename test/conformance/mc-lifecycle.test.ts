// `ilm rule` of the client: against the S3 edge, with the texts that the reference client printed for the same
// commands, and against a server whose rules hold more than this client knows.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Outcome, runCommand, StubServer } from './mc-stub.ts';
import { accessKey, freshBucket, type Harness, secretKey, startHarness } from './s3-harness.ts';

const ruleDocument = {
  Rules: [
    {
      AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
      ID: 'i5',
      Filter: { Prefix: 'u/' },
      Status: 'Enabled',
    },
    {
      ID: 'i3',
      Filter: {
        And: {
          Prefix: 'q',
          Tags: [
            { Key: 'a', Value: 'b c' },
            { Key: 'k', Value: 'v' },
          ],
          ObjectSizeLessThan: 50,
          ObjectSizeGreaterThan: 5,
        },
      },
      NoncurrentVersionExpiration: { NoncurrentDays: 3, NewerNoncurrentVersions: 2 },
      Status: 'Disabled',
    },
    {
      Expiration: { Date: '2030-01-01T00:00:00Z' },
      ID: 'i2',
      Filter: { Tag: { Key: 'a', Value: '1' } },
      Status: 'Enabled',
    },
    { Expiration: { Days: 3 }, ID: 'i1', Prefix: 'x', Status: 'Enabled' },
    { Expiration: { ExpiredObjectDeleteMarker: true }, ID: 'i4', Status: 'Enabled' },
  ],
};

describe('lifecycle rules with the client', () => {
  let at: Harness;
  before(async () => {
    at = await startHarness();
  });
  after(() => at.close());

  const mc = (argv: readonly string[], stdin?: string): Promise<Outcome> =>
    runCommand(['ilm', 'rule', ...argv], {
      env: { HOME: '/nonexistent', MC_HOST_t: `http://${accessKey}:${secretKey}@${at.host}` },
      ...(stdin === undefined ? {} : { stdin: Buffer.from(stdin) }),
    });
  const ok = async (argv: readonly string[], stdin?: string): Promise<string> => {
    const outcome = await mc(argv, stdin);
    assert.equal(outcome.code, 0, outcome.stderr + outcome.stdout);
    return outcome.stdout;
  };
  const makeBucket = async (): Promise<string> => {
    const bucket = freshBucket();
    assert.equal(await at.outcome('PUT', `/${bucket}`), '200');
    return `t/${bucket}`;
  };

  it('adds, lists and removes rules', async () => {
    const place = await makeBucket();
    const add = async (...flags: readonly string[]): Promise<string> => {
      const text = await ok(['add', place, ...flags]);
      const id = /ID `([0-9a-v]{20})`/.exec(text)?.[1] ?? '';
      assert.equal(text, `Lifecycle configuration rule added with ID \`${id}\` to ${place}.\n`);
      return id;
    };
    const first = await add('--prefix', 'logs/', '--expire-days', '1');
    const second = await add('--tags', 'a=1&b=2', '--expire-days', '30', '--size-lt', '10MiB');
    const older = ['--noncurrent-expire-days', '1', '--noncurrent-expire-newer', '2'];
    const third = await add('--expire-delete-marker', ...older);
    const expected = [
      '┌──────────────────────────────────────────────────────────────────────────────────────────┐',
      '│ Expiration for latest version (Expiration)                                               │',
      '├──────────────────────┬─────────┬────────┬─────────┬────────────────┬─────────────────────┤',
      '│ ID                   │ STATUS  │ PREFIX │ TAGS    │ DAYS TO EXPIRE │ EXPIRE DELETEMARKER │',
      '├──────────────────────┼─────────┼────────┼─────────┼────────────────┼─────────────────────┤',
      `│ ${first} │ Enabled │ logs/  │ -       │              1 │ false               │`,
      `│ ${second} │ Enabled │ -      │ a=1&b=2 │             30 │ false               │`,
      `│ ${third} │ Enabled │ -      │ -       │              0 │ true                │`,
      '└──────────────────────┴─────────┴────────┴─────────┴────────────────┴─────────────────────┘',
      '┌─────────────────────────────────────────────────────────────────────────────────┐',
      '│ Expiration for older versions (NoncurrentVersionExpiration)                     │',
      '├──────────────────────┬─────────┬────────┬──────┬────────────────┬───────────────┤',
      '│ ID                   │ STATUS  │ PREFIX │ TAGS │ DAYS TO EXPIRE │ KEEP VERSIONS │',
      '├──────────────────────┼─────────┼────────┼──────┼────────────────┼───────────────┤',
      `│ ${third} │ Enabled │ -      │ -    │              1 │             2 │`,
      '└──────────────────────┴─────────┴────────┴──────┴────────────────┴───────────────┘',
    ];
    assert.equal(await ok(['ls', place]), `${expected.join('\n')}\n`);
    assert.equal(await ok(['list', '--transition', place]), '');
    assert.equal(
      await ok(['rm', '--id', first, place]),
      `Rule ID \`${first}\` from target ${place} removed.\n`,
    );
    assert.doesNotMatch(await ok(['ls', place]), /logs/);
    assert.equal(
      await ok(['rm', '--all', '--force', '--json', place]),
      `{"status":"success","id":"","target":"${place}","all":true}\n`,
    );
    const { code, stderr } = await mc(['ls', place]);
    assert.equal(code, 1);
    assert.match(stderr, /Unable to get lifecycle\. The lifecycle configuration does not exist\./);
  });

  it('takes in what it gave out', async () => {
    const place = await makeBucket();
    const text = JSON.stringify(ruleDocument);
    assert.equal(
      await ok(['import', place], text),
      `Lifecycle configuration imported successfully to \`${place}\`.\n`,
    );
    const escaped = text.replaceAll('&', '\\u0026');
    assert.equal(await ok(['export', place]), `${escaped}\n`);
    assert.equal(
      await ok(['ls', '--json', place]),
      `{"status":"success","target":"${place}","config":${escaped},"updatedAt":"0001-01-01T00:00:00Z"}\n`,
    );
  });

  it('makes the prefix of what stands behind the bucket, and leaves empty values out', async () => {
    const place = await makeBucket();
    await ok(['add', `${place}/pre`, '--expire-days', '5']);
    await ok(['add', `${place}/pre`, '--expire-days', '5', '--prefix', 'other']);
    await ok(['add', place, '--expire-days', '1', '--tags', 'a', '--size-gt', '0']);
    const { Rules } = JSON.parse(await ok(['export', place])) as {
      Rules: readonly { readonly Filter: unknown }[];
    };
    assert.deepEqual(
      Rules.map((rule) => rule.Filter),
      [{ Prefix: 'pre' }, { Prefix: 'other' }, { Tag: { Key: 'a' } }],
    );
  });

  it('refuses what cannot be a rule', async () => {
    const place = await makeBucket();
    const generate = 'Unable to generate new lifecycle rules for the input: ';
    const wrong =
      'Invalid arguments provided, please refer `mc <command> -h` for relevant documentation.';
    const cases: readonly (readonly [readonly string[], string, string?])[] = [
      [['add', place, '--expire-days', '0'], `${generate}expiration days cannot be set to zero.`],
      [
        ['add', place, '--expire-days', 'x'],
        `${generate}strconv.Atoi: parsing "x": invalid syntax.`,
      ],
      [
        ['add', place, '--expire-days', '1', '--size-lt', 'abc'],
        `${generate}size-lt value abc is invalid.`,
      ],
      [
        ['add', place, '--expire-days', '1', '--expire-delete-marker'],
        `${generate}only one parameter under Expiration can be specified.`,
      ],
      [
        ['add', place, '--noncurrent-expire-days', '0'],
        `${generate}at least one of Expiry, Transition, NoncurrentExpiry, NoncurrentVersionTransition actions should be specified in a rule.`,
      ],
      [
        ['add', 't/nobucket', '--expire-days', '1'],
        'Unable to fetch lifecycle rules for t/nobucket. The specified bucket does not exist.',
      ],
      [
        ['ls', '/tmp'],
        'Unable to get lifecycle: `GetLifecycle` is not supported for `filesystem`.',
      ],
      [['rm', place], `ilm ID cannot be empty. ${wrong}`],
      [
        ['rm', '--all', place],
        `It is mandatory to specify --all and --force flag together for mc rule remove. ${wrong}`,
      ],
      [['import', place], 'Unable to read ILM configuration. EOF.', ''],
      [['import', place], 'Unable to read ILM configuration: the text is not JSON.', 'garbage'],
      [
        ['import', place],
        'Unable to read ILM configuration: the value of Days is not what a rule can have.',
        '{"Rules":[{"Status":"Enabled","Expiration":{"Days":"x"}}]}',
      ],
      [
        ['import', place],
        'The provided ILM configuration does not contain any rule, aborting. ',
        '{"Rules":[]}',
      ],
    ];
    for (const [argv, text, stdin] of cases) {
      const { code, stderr } = await mc(argv, stdin);
      assert.equal(code, 1, argv.join(' '));
      assert.equal(stderr, `mc: <ERROR> ${text}\n`, argv.join(' '));
    }
    await ok(['add', place, '--expire-days', '1']);
    const { stderr } = await mc(['rm', '--id', 'zzz', place]);
    const missing = "Unable to remove rule by id: lifecycle rule for id 'zzz' not found.";
    assert.equal(stderr, `mc: <ERROR> ${missing}\n`);
  });
});

describe('rules of another server', () => {
  it('are given back as they came when another one is added or removed', async (t) => {
    const stub = new StubServer();
    const host = await stub.listen();
    t.after(() => stub.close());
    const rule = (inner: string) => `<Rule>${inner}<Status>Enabled</Status></Rule>`;
    const known = rule(
      '<ID>known</ID><Filter><Prefix></Prefix></Filter><Expiration><Days>1</Days></Expiration>',
    );
    const strange = rule(
      '<ID>strange</ID><Prefix>a&amp;b</Prefix><Transition><Days>1</Days><StorageClass>COLD</StorageClass><New><Thing>1</Thing></New></Transition>',
    );
    const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
    stub.answer = ({ method, query }, response) => {
      if (method !== 'GET') return void response.writeHead(200).end();
      const text = query.includes('location')
        ? `<LocationConstraint ${namespace}></LocationConstraint>`
        : `<LifecycleConfiguration ${namespace}>${known}${strange}</LifecycleConfiguration>`;
      const headers = { 'x-minio-lifecycleconfig-updatedat': '20260102T030405Z' };
      response.writeHead(200, headers).end(`<?xml version="1.0"?>${text}`);
    };
    const env = { HOME: '/nonexistent', MC_HOST_t: `http://key:secretsecret@${host}` };
    const run = async (...argv: readonly string[]): Promise<string> => {
      const outcome = await runCommand(['ilm', 'rule', ...argv], { env });
      assert.equal(outcome.code, 0, outcome.stderr);
      return outcome.stdout;
    };
    const sent = (): string | undefined =>
      stub.seen.findLast(({ method }) => method === 'PUT')?.body.toString();
    await run('rm', 't/bucket', '--id', 'known');
    assert.equal(sent(), `<LifecycleConfiguration>${strange}</LifecycleConfiguration>`);
    const text = await run('add', 't/bucket', '--expire-days', '9');
    const id = /`([0-9a-v]{20})`/.exec(text)?.[1] ?? '';
    const added = `<Rule><Expiration><Days>9</Days></Expiration><ID>${id}</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status></Rule>`;
    assert.equal(
      sent(),
      `<LifecycleConfiguration>${known}${strange}${added}</LifecycleConfiguration>`,
    );
    const shown = JSON.parse(await run('ls', 't/bucket', '--json')) as Record<string, unknown>;
    assert.equal(shown['updatedAt'], '2026-01-02T03:04:05Z');
    assert.deepEqual(shown['config'], {
      Rules: [
        { Expiration: { Days: 1 }, ID: 'known', Status: 'Enabled' },
        {
          ID: 'strange',
          Prefix: 'a&b',
          Status: 'Enabled',
          Transition: { StorageClass: 'COLD', Days: 1 },
        },
      ],
    });
  });
});
