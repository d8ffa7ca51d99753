// The policies that are always there, and the form in which documents of policies are kept and shown: the
// order of members as clients know it, lists where one text would do.

/** Built-in policies: name → document. */
export const builtInPolicies: ReadonlyMap<string, string> = new Map(
  Object.entries({
    consoleAdmin: [
      { Effect: 'Allow', Action: ['admin:*'] },
      { Effect: 'Allow', Action: ['kms:*'] },
      { Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] },
    ],
    diagnostics: [
      {
        Effect: 'Allow',
        Action: [
          'admin:BandwidthMonitor',
          'admin:ConsoleLog',
          'admin:OBDInfo',
          'admin:Profiling',
          'admin:Prometheus',
          'admin:ServerInfo',
          'admin:ServerTrace',
          'admin:TopLocksInfo',
        ],
        Resource: ['arn:aws:s3:::*'],
      },
    ],
    readonly: [
      {
        Effect: 'Allow',
        Action: ['s3:GetBucketLocation', 's3:GetObject'],
        Resource: ['arn:aws:s3:::*'],
      },
    ],
    readwrite: [{ Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] }],
    writeonly: [{ Effect: 'Allow', Action: ['s3:PutObject'], Resource: ['arn:aws:s3:::*'] }],
  }).map(([name, Statement]) => [name, JSON.stringify({ Version: '2012-10-17', Statement })]),
);

const documentOrder = ['ID', 'Id', 'Version', 'Statement'];
const statementOrder = [
  'Sid',
  'Effect',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
];
const listMembers: ReadonlySet<string> = new Set(statementOrder.slice(2, 6));

type Json = Readonly<Record<string, unknown>>;

/** The document of a policy, which was parsed before, in the form in which it is kept and shown. */
export function formatPolicy(text: string): string {
  const document = JSON.parse(text) as Json;
  const ordered = order(document, documentOrder);
  const statements = listOf(document['Statement']).map((each) => formatStatement(each as Json));
  return JSON.stringify({ ...ordered, Statement: statements });
}

/** The statements of several documents in one, as clients expect the policy of an account. */
export function joinPolicies(texts: readonly string[]): string {
  const statements = texts.flatMap((text) => listOf((JSON.parse(text) as Json)['Statement']));
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}

function formatStatement(statement: Json): Json {
  const ordered = order(statement, statementOrder);
  return Object.fromEntries(
    Object.entries(ordered).map(([name, value]) => [
      name,
      listMembers.has(name) ? listOf(value) : name === 'Condition' ? formatCondition(value) : value,
    ]),
  );
}

function formatCondition(condition: unknown): Json {
  return Object.fromEntries(
    Object.entries(condition as Json).map(([operator, keys]) => [
      operator,
      Object.fromEntries(
        Object.entries(keys as Json).map(([key, values]) => [key, listOf(values)]),
      ),
    ]),
  );
}

function order(members: Json, names: readonly string[]): Json {
  return Object.fromEntries(
    names.filter((name) => members[name] !== undefined).map((name) => [name, members[name]]),
  );
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}
