// Runs Coffer against the real programs it has to please: mc, MinIO as a client of the key service, the Go SDK
// of the key service, the AWS SDK for JavaScript, minio in npm, Python and Go, boto3 (new and old), awscli 1 and 2,
// s3cmd, rclone, restic, s3fs, DuckDB, pyarrow, age, PyKMIP and Vault. What is missing
// is installed once, outside the tree (COFFER_INTEROP_DIR, default ~/.cache/coffer-interop). A client that
// cannot be installed is a failure, never a skip. Arguments narrow it down: `npm run interop -- mc`.

import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

const dir = process.env['COFFER_INTEROP_DIR'] ?? path.join(homedir(), '.cache/coffer-interop');
const bin = path.join(dir, 'bin');
const venv = path.join(dir, 'venv');
mkdirSync(bin, { recursive: true });

/** Exact versions, so that a run tomorrow tests what today's did; only what apt brings is the distribution's own. */
const versions = {
  mc: 'v0.0.0-20251106162529-77f82e18b540',
  minio: 'v0.0.0-20260212201848-7aac2a2c5b7c',
  age: 'v1.3.2',
  /** With libraries it is known to run on; by itself it asks for any version. */
  pykmip: ['pykmip==0.11.0', 'cryptography==50.0.2', 'sqlalchemy==2.1.9'],
  /** Independent servers of AWS Secrets Manager and KMS, and of Google Secret Manager. */
  moto: ['moto[server,secretsmanager,kms]==5.2.5'],
  drongo: ['drongo==0.8.0'],
  /** Built where it is installed: needs python3, make and g++. */
  pkcs11js: 'pkcs11js@2.1.7',
  python: [
    'boto3[crt]==1.44.5',
    'awscli==1.46.3',
    's3cmd==2.4.0',
    'minio==7.2.20',
    'pyarrow==26.0.1',
    'duckdb==1.5.5',
    'duckdb-extension-httpfs==1.5.5',
    'duckdb-extensions==1.5.5',
  ],
  /** What the SDK keeps in packages of their own. */
  awsJs: [
    '@aws-sdk/client-s3@3.1173.0',
    '@aws-sdk/lib-storage@3.1169.0',
    '@aws-sdk/s3-presigned-post@3.1164.0',
    '@aws-sdk/s3-request-presigner@3.1162.0',
  ],
  /** The last before SDKs added checksums of their own to every request. */
  oldBoto3: ['boto3==1.26.165'],
};

type Step = {
  readonly what: string;
  readonly isThere: () => boolean;
  readonly commands: readonly (readonly string[])[];
  readonly env?: Readonly<Record<string, string>>;
};

const steps: readonly Step[] = [
  {
    what: 'mc',
    isThere: () => existsSync(path.join(bin, 'mc')),
    commands: [['go', 'install', `github.com/minio/mc@${versions.mc}`]],
    env: { GOBIN: bin },
  },
  {
    what: 'minio',
    isThere: () => existsSync(path.join(bin, 'minio')),
    commands: [['go', 'install', `github.com/minio/minio@${versions.minio}`]],
    env: { GOBIN: bin },
  },
  {
    what: 'age',
    isThere: () => ['age', 'age-keygen'].every((name) => existsSync(path.join(bin, name))),
    commands: ['age', 'age-keygen'].map((name) => [
      'go',
      'install',
      `filippo.io/age/cmd/${name}@${versions.age}`,
    ]),
    env: { GOBIN: bin },
  },
  {
    what: 'Vault',
    isThere: () => existsSync(path.join(bin, 'vault-server')),
    commands: [
      [
        'go',
        'build',
        '-C',
        'test/interop/vault-server',
        '-ldflags=-s -w',
        '-o',
        path.join(bin, 'vault-server'),
        '.',
      ],
    ],
  },
  {
    what: 'boto3, awscli, s3cmd, minio (Python), pyarrow and DuckDB',
    isThere: () =>
      ['aws', 's3cmd'].every((name) => existsSync(path.join(venv, 'bin', name))) &&
      spawnSync(path.join(venv, 'bin/python'), [
        '-c',
        'import boto3, awscrt, minio, pyarrow, duckdb, duckdb_extension_httpfs',
      ]).status === 0,
    commands: [
      ['python3', '-m', 'venv', venv],
      [path.join(venv, 'bin/pip'), 'install', '--quiet', ...versions.python],
    ],
  },
  {
    what: 'uploads, presigning and forms of the AWS SDK for JavaScript',
    isThere: () =>
      ['lib-storage', 's3-presigned-post', 's3-request-presigner'].every((name) =>
        existsSync(path.join(dir, 'aws-js/node_modules/@aws-sdk', name)),
      ),
    commands: [
      ['npm', 'install', '--no-save', '--prefix', path.join(dir, 'aws-js'), ...versions.awsJs],
    ],
  },
  {
    what: 'boto3 1.26',
    isThere: () =>
      spawnSync(path.join(dir, 'boto3-1.26/bin/python'), ['-c', 'import boto3']).status === 0,
    commands: [
      ['python3', '-m', 'venv', path.join(dir, 'boto3-1.26')],
      [path.join(dir, 'boto3-1.26/bin/pip'), 'install', '--quiet', ...versions.oldBoto3],
    ],
  },
  {
    // Built each time, from the tree: it is ours, and Go keeps what has not changed.
    what: 'the program with minio-go',
    isThere: () => false,
    commands: [
      ['go', 'build', '-C', 'test/interop/minio-go', '-o', path.join(bin, 'minio-go-driver'), '.'],
    ],
  },
  {
    what: 'PyKMIP',
    isThere: () => existsSync(path.join(dir, 'pykmip/bin/pykmip-server')),
    commands: [
      ['python3', '-m', 'venv', path.join(dir, 'pykmip')],
      [path.join(dir, 'pykmip/bin/pip'), 'install', '--quiet', ...versions.pykmip],
    ],
  },
  ...(['moto', 'drongo'] as const).map((what) => ({
    what,
    isThere: () =>
      existsSync(path.join(dir, what, 'bin', what === 'moto' ? 'moto_server' : 'drongo')),
    commands: [
      ['python3', '-m', 'venv', path.join(dir, what)],
      [path.join(dir, what, 'bin/pip'), 'install', '--quiet', ...versions[what]],
    ],
  })),
  {
    what: 'SoftHSM2 and pkcs11-tool',
    isThere: () =>
      ['softhsm2-util', 'pkcs11-tool'].every(
        (name) => spawnSync(name, ['--help']).error === undefined,
      ),
    commands: [
      ['apt-get', 'update', '-qq'],
      ['apt-get', 'install', '-y', '-qq', 'softhsm2', 'opensc'],
    ],
    env: { DEBIAN_FRONTEND: 'noninteractive' },
  },
  {
    what: 'pkcs11js',
    isThere: () => existsSync(path.join(dir, 'pkcs11js/node_modules/pkcs11js/build/Release')),
    commands: [
      ['npm', 'install', '--no-save', '--prefix', path.join(dir, 'pkcs11js'), versions.pkcs11js],
    ],
  },
  {
    // The distribution's awscli is version 2, which is on no package index.
    what: 'rclone, restic, s3fs and awscli 2',
    isThere: () =>
      ['/usr/bin/rclone', '/usr/bin/restic', '/usr/bin/s3fs', '/usr/bin/aws'].every(existsSync),
    commands: [
      ['apt-get', 'update', '-qq'],
      [
        'apt-get',
        'install',
        '-y',
        '-qq',
        '--no-install-recommends',
        'rclone',
        'restic',
        's3fs',
        'awscli',
        'fuse',
      ],
    ],
    env: { DEBIAN_FRONTEND: 'noninteractive' },
  },
];

for (const step of steps) {
  if (step.isThere()) continue;
  console.log(`installing ${step.what}`);
  for (const [program = '', ...args] of step.commands) {
    const run = spawnSync(program, args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, ...step.env },
    });
    if (run.status !== 0) {
      console.error(
        `cannot install ${step.what}: ${program} ${args.join(' ')} failed (${run.error?.message ?? run.status})`,
      );
      process.exit(1);
    }
  }
}

const wanted = process.argv.slice(2);
const files = globSync('test/interop/*.test.ts')
  .filter((file) => wanted.length === 0 || wanted.some((text) => file.includes(text)))
  .toSorted();
if (files.length === 0) {
  console.error('no interop test matches');
  process.exit(1);
}
const run = spawnSync(
  process.execPath,
  [
    '--disable-warning=ExperimentalWarning',
    '--test',
    '--test-concurrency=1',
    '--test-timeout=600000',
    ...files,
  ],
  { stdio: 'inherit', env: { ...process.env, COFFER_INTEROP_DIR: dir } },
);
process.exit(run.status ?? 1);
