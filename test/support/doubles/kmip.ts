// Stands in for a KMIP server: TLS with a client certificate, TTLV messages, the objects and their states. As
// strict as the standard allows a server to be: the attributes in the form of the version, required fields, batch
// ids, the largest response, who asks, and what a state permits. Where servers differ it can be told to behave
// either way. It shares the codec of the store; that this speaks real KMIP is proven elsewhere, on another server.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as tls from 'node:tls';
import {
  findChild,
  type KmipOperation,
  kmipOperations,
  type KmipReason,
  kmipReasons,
  kmipTags as tags,
} from '../../../src/keystores/kmip/messages.ts';
import {
  decodeTtlv,
  encodeTtlv,
  type Ttlv,
  ttlvHeaderBytes,
  ttlvSize,
} from '../../../src/keystores/kmip/ttlv.ts';
import { createSelfSigned } from '../../../src/wire/kes-certificate.ts';

export type KmipDoubleOptions = {
  /** All of 1.2 to 2.1 by default. */
  readonly versions?: readonly string[];
  /** A second object of one name is refused. */
  readonly isUnique?: boolean;
  /** Destroyed objects stay, without their value. */
  readonly keepsDestroyed?: boolean;
  /** Breaks the standard: active objects can be destroyed. */
  readonly destroysActive?: boolean;
  /** Largest number of ids in one answer. */
  readonly pageMax?: number;
  /** One call per message only. */
  readonly hasNoBatches?: boolean;
  readonly credentials?: { readonly username: string; readonly password: string };
};

export type KmipDoubleObject = {
  readonly id: string;
  readonly names: readonly string[];
  readonly groups: readonly string[];
  readonly createdAt: bigint;
  state: number;
  value: Buffer | undefined;
};

type FaultKind = 'refuse' | 'drop' | 'lose' | 'hang' | 'garbage';
type Fault = {
  left: number;
  readonly kind: FaultKind;
  readonly operation?: KmipOperation;
  readonly reason?: KmipReason;
  readonly text?: string;
};

export type KmipDouble = {
  /** `127.0.0.1:PORT`. */
  readonly endpoint: string;
  /** Files of a client certificate the server knows, and of its own. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string };
  /** Another client certificate, unknown to the server. */
  readonly strangerTls: { readonly key: string; readonly cert: string; readonly ca: string };
  /** Operation and version of every call that arrived, in order: `Locate 1.4`. */
  readonly calls: string[];
  readonly objects: Map<string, KmipDoubleObject>;
  /** Connections accepted so far. */
  connections: number;
  /** The next `count` calls (of `operation`, if given) go wrong: refused, connection lost before or after doing it, never answered, answered with no sense. */
  fault(
    kind: FaultKind,
    options?: {
      readonly count?: number;
      readonly operation?: KmipOperation;
      readonly reason?: KmipReason;
      readonly text?: string;
    },
  ): void;
  /** Called before each call is done. */
  before: ((operation: KmipOperation, payload: readonly Ttlv[]) => Promise<void>) | undefined;
  /** Adds an object as another client would. */
  add(object: {
    readonly name: string;
    readonly value: string;
    readonly state?: number;
    readonly group?: string;
    readonly createdAt?: bigint;
  }): string;
  /** Ends all connections and refuses new ones. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
};

const states = { preActive: 1, active: 2, deactivated: 3, compromised: 4, destroyed: 5 };
const secretDataType = 7;

class Refusal extends Error {
  readonly reason: KmipReason;
  constructor(reason: KmipReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

const structure = (tag: number, value: readonly Ttlv[]): Ttlv => ({
  tag,
  type: 'structure',
  value,
});
const text = (tag: number, value: string): Ttlv => ({ tag, type: 'text-string', value });
const integer = (tag: number, value: number): Ttlv => ({ tag, type: 'integer', value });
const enumeration = (tag: number, value: number): Ttlv => ({ tag, type: 'enumeration', value });

type ValueOf<T extends Ttlv['type']> = T extends 'integer' | 'enumeration' | 'interval'
  ? number
  : Extract<Ttlv, { readonly type: T }>['value'];

function need<T extends Ttlv['type']>(items: readonly Ttlv[], tag: number, type: T): ValueOf<T> {
  const item = findChild(items, tag);
  if (item === undefined) throw new Refusal('MissingData', `${tag.toString(16)} is missing`);
  if (item.type !== type) {
    throw new Refusal('InvalidField', `${tag.toString(16)} is a ${item.type}`);
  }
  return item.value as ValueOf<T>; // its type was just compared
}

/** Refuses what may not stand in a structure. */
function onlyThese(items: readonly Ttlv[], allowed: readonly number[]): void {
  const wrong = items.find(({ tag }) => !allowed.includes(tag));
  if (wrong !== undefined)
    throw new Refusal('InvalidMessage', `${wrong.tag.toString(16)} may not stand here`);
}

const attributeNames: Readonly<Record<string, number>> = {
  Name: tags.name,
  'Object Group': tags.objectGroup,
  'Cryptographic Usage Mask': tags.cryptographicUsageMask,
  State: tags.state,
  'Initial Date': tags.initialDate,
};

/** Attributes of a request, in the form of the version and no other. */
function attributesIn(
  payload: readonly Ttlv[],
  version: string,
  holder: number | undefined,
): Ttlv[] {
  if (version.startsWith('2.')) return [...need(payload, tags.attributes, 'structure')];
  const items = holder === undefined ? payload : need(payload, holder, 'structure');
  return items
    .filter(({ tag }) => tag === tags.attribute)
    .map((attribute) => {
      const fields = need([attribute], tags.attribute, 'structure');
      const name = need(fields, tags.attributeName, 'text-string');
      const tag = attributeNames[name];
      if (tag === undefined) throw new Refusal('InvalidField', `${name} is no attribute`);
      const value = findChild(fields, tags.attributeValue);
      if (value === undefined) throw new Refusal('MissingData', 'an attribute has no value');
      return { ...value, tag };
    });
}

function namesIn(attributes: readonly Ttlv[]): string[] {
  return attributes
    .filter(({ tag }) => tag === tags.name)
    .map((item) => {
      const fields = need([item], tags.name, 'structure');
      if (need(fields, tags.nameType, 'enumeration') !== 1)
        throw new Refusal('InvalidField', 'name type');
      return need(fields, tags.nameValue, 'text-string');
    });
}

function groupsIn(attributes: readonly Ttlv[]): string[] {
  return attributes.flatMap((item) =>
    item.tag === tags.objectGroup && item.type === 'text-string' ? [item.value] : [],
  );
}

class Server {
  readonly objects = new Map<string, KmipDoubleObject>();
  readonly calls: string[] = [];
  readonly faults: Fault[] = [];
  readonly options: KmipDoubleOptions;
  before: KmipDouble['before'];
  #registered = 0;

  constructor(options: KmipDoubleOptions) {
    this.options = options;
  }

  add(object: Omit<KmipDoubleObject, 'id'>): string {
    this.#registered += 1;
    // Like a UUID: the order of ids says nothing about the order of registration.
    const id = createHash('sha256').update(`${this.#registered}`).digest('hex').slice(0, 32);
    this.objects.set(id, { ...object, id });
    return id;
  }

  takeFault(operation: KmipOperation): Fault | undefined {
    const fault = this.faults.find(
      (one) => one.left > 0 && (one.operation ?? operation) === operation,
    );
    if (fault !== undefined) fault.left -= 1;
    return fault;
  }

  /** The payload of the answer. Throws `Refusal`. */
  run(operation: KmipOperation, payload: readonly Ttlv[], version: string): Ttlv[] {
    switch (operation) {
      case 'DiscoverVersions':
        return this.#discover(payload);
      case 'Register':
        return this.#register(payload, version);
      case 'Locate':
        return this.#locate(payload, version);
      case 'Get':
        return this.#get(payload);
      case 'GetAttributes':
        return this.#getAttributes(payload, version);
      case 'Activate':
        return this.#move(payload, (object) => {
          if (object.state !== states.preActive) {
            throw new Refusal(
              version.startsWith('2.') ? 'WrongKeyLifecycleState' : 'PermissionDenied',
              'the object is not pre-active',
            );
          }
          object.state = states.active;
        });
      case 'Revoke':
        return this.#revoke(payload);
      case 'Destroy':
        return this.#destroy(payload);
    }
  }

  versions(): readonly string[] {
    return this.options.versions ?? ['2.1', '2.0', '1.4', '1.3', '1.2'];
  }

  #discover(payload: readonly Ttlv[]): Ttlv[] {
    onlyThese(payload, [tags.protocolVersion]);
    const asked = payload.map((item) =>
      versionText(need([item], tags.protocolVersion, 'structure')),
    );
    const known = this.versions();
    return (asked.length === 0 ? known : asked.filter((one) => known.includes(one))).map(
      versionItem,
    );
  }

  #register(payload: readonly Ttlv[], version: string): Ttlv[] {
    const holder = version.startsWith('2.') ? tags.attributes : tags.templateAttribute;
    onlyThese(payload, [tags.objectType, holder, tags.secretData]);
    if (need(payload, tags.objectType, 'enumeration') !== secretDataType)
      throw new Refusal('InvalidField', 'object type');
    const attributes = attributesIn(payload, version, tags.templateAttribute);
    need(attributes, tags.cryptographicUsageMask, 'integer');
    const names = namesIn(attributes);
    const secret = need(payload, tags.secretData, 'structure');
    need(secret, tags.secretDataType, 'enumeration');
    const block = need(secret, tags.keyBlock, 'structure');
    if (![1, 2].includes(need(block, tags.keyFormatType, 'enumeration')))
      throw new Refusal('InvalidField', 'format');
    const value = need(need(block, tags.keyValue, 'structure'), tags.keyMaterial, 'byte-string');
    const isTaken = [...this.objects.values()].some(
      (object) =>
        object.names.some((name) => names.includes(name)) && object.state < states.destroyed,
    );
    if (this.options.isUnique && isTaken)
      throw new Refusal(
        version.startsWith('2.') ? 'NonUniqueNameAttribute' : 'InvalidField',
        'the name is taken',
      );
    const id = this.add({
      names,
      groups: groupsIn(attributes),
      createdAt: BigInt(Math.floor(Date.now() / 1000)),
      state: states.preActive,
      value: Buffer.from(value),
    });
    return [text(tags.uniqueIdentifier, id)];
  }

  #locate(payload: readonly Ttlv[], version: string): Ttlv[] {
    const isNew = version.startsWith('2.');
    const paging = version === '1.2' ? [] : [tags.offsetItems];
    onlyThese(payload, [tags.maximumItems, ...paging, isNew ? tags.attributes : tags.attribute]);
    const attributes = attributesIn(payload, version, undefined);
    const names = namesIn(attributes);
    const groups = groupsIn(attributes);
    const found = [...this.objects.values()].filter(
      (object) =>
        names.every((name) => object.names.includes(name)) &&
        groups.every((group) => object.groups.includes(group)),
    );
    const offset = findChild(payload, tags.offsetItems);
    const start = offset?.type === 'integer' ? offset.value : 0;
    const page = found.slice(start, start + (this.options.pageMax ?? found.length));
    return [
      ...(version === '1.2' && this.options.pageMax === undefined
        ? []
        : [integer(tags.locatedItems, found.length)]),
      ...page.map(({ id }) => text(tags.uniqueIdentifier, id)),
    ];
  }

  #object(payload: readonly Ttlv[]): KmipDoubleObject {
    const object = this.objects.get(need(payload, tags.uniqueIdentifier, 'text-string'));
    if (object === undefined) throw new Refusal('ItemNotFound', 'no such object');
    return object;
  }

  #get(payload: readonly Ttlv[]): Ttlv[] {
    onlyThese(payload, [tags.uniqueIdentifier]);
    const { id, value } = this.#object(payload);
    if (value === undefined) throw new Refusal('ObjectDestroyed', 'the object is destroyed');
    return [
      enumeration(tags.objectType, secretDataType),
      text(tags.uniqueIdentifier, id),
      structure(tags.secretData, [
        enumeration(tags.secretDataType, 1),
        structure(tags.keyBlock, [
          enumeration(tags.keyFormatType, 2),
          structure(tags.keyValue, [{ tag: tags.keyMaterial, type: 'byte-string', value }]),
        ]),
      ]),
    ];
  }

  #getAttributes(payload: readonly Ttlv[], version: string): Ttlv[] {
    const isNew = version.startsWith('2.');
    onlyThese(payload, [
      tags.uniqueIdentifier,
      isNew ? tags.attributeReference : tags.attributeName,
    ]);
    const object = this.#object(payload);
    const wanted = new Set(
      payload.slice(1).map((item) => {
        if (isNew && item.type === 'enumeration') return item.value;
        if (!isNew && item.type === 'text-string') return attributeNames[item.value];
        throw new Refusal('InvalidField', 'a name of an attribute');
      }),
    );
    const items = attributeItems(object).filter(({ tag }) => wanted.has(tag));
    const found = isNew ? [structure(tags.attributes, items)] : items.map(namedAttribute);
    return [text(tags.uniqueIdentifier, object.id), ...found];
  }

  #move(payload: readonly Ttlv[], change: (object: KmipDoubleObject) => void): Ttlv[] {
    onlyThese(payload, [tags.uniqueIdentifier]);
    const object = this.#object(payload);
    change(object);
    return [text(tags.uniqueIdentifier, object.id)];
  }

  #revoke(payload: readonly Ttlv[]): Ttlv[] {
    const reason = need(payload, tags.revocationReason, 'structure');
    if (need(reason, tags.revocationReasonCode, 'enumeration') !== 6)
      throw new Refusal('InvalidField', 'reason');
    return this.#move(
      payload.filter(({ tag }) => tag !== tags.revocationReason),
      (object) => {
        if (object.state !== states.active)
          throw new Refusal('IllegalOperation', 'the object is not active');
        object.state = states.deactivated;
      },
    );
  }

  #destroy(payload: readonly Ttlv[]): Ttlv[] {
    return this.#move(payload, (object) => {
      if (object.state >= states.destroyed)
        throw new Refusal('ObjectDestroyed', 'the object is destroyed');
      if (object.state === states.active && !this.options.destroysActive) {
        throw new Refusal('PermissionDenied', 'the object is active');
      }
      object.value = undefined;
      object.state = states.destroyed;
      if (!this.options.keepsDestroyed) this.objects.delete(object.id);
    });
  }
}

function attributeItems(object: KmipDoubleObject): Ttlv[] {
  return [
    enumeration(tags.state, object.state),
    ...object.names.map((name) =>
      structure(tags.name, [text(tags.nameValue, name), enumeration(tags.nameType, 1)]),
    ),
    ...object.groups.map((group) => text(tags.objectGroup, group)),
    { tag: tags.initialDate, type: 'date-time', value: object.createdAt },
  ];
}

function namedAttribute(item: Ttlv): Ttlv {
  const name = Object.entries(attributeNames).find(([, tag]) => tag === item.tag)?.[0] ?? '';
  return structure(tags.attribute, [
    text(tags.attributeName, name),
    { ...item, tag: tags.attributeValue },
  ]);
}

function versionText(fields: readonly Ttlv[]): string {
  return `${need(fields, tags.protocolVersionMajor, 'integer')}.${need(fields, tags.protocolVersionMinor, 'integer')}`;
}

function versionItem(version: string): Ttlv {
  const [major, minor] = version.split('.');
  return structure(tags.protocolVersion, [
    integer(tags.protocolVersionMajor, Number(major)),
    integer(tags.protocolVersionMinor, Number(minor)),
  ]);
}

const operationsByCode = new Map(
  // Object.entries forgets that the keys are the operations.
  Object.entries(kmipOperations).map(([name, code]) => [code as number, name as KmipOperation]),
);

type Answer = { readonly bytes: Buffer } | 'drop' | 'hang';

/** Answers one request message. */
async function answer(server: Server, request: Ttlv): Promise<Answer> {
  const [header, ...items] = need([request], tags.requestMessage, 'structure');
  const fields = need(header === undefined ? [] : [header], tags.requestHeader, 'structure');
  const version = versionText(need(fields, tags.protocolVersion, 'structure'));
  try {
    checkHeader(server, fields, items.length, version);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { bytes: message(version, [failure([], error)]) };
  }
  const results: Ttlv[] = [];
  for (const item of items) {
    const result = await answerItem(server, need([item], tags.batchItem, 'structure'), {
      version,
      isBatch: items.length > 1,
    });
    if (typeof result === 'string') return result;
    results.push(result);
  }
  const bytes = message(version, results);
  const most = findChild(fields, tags.maximumResponseSize);
  if (most?.type === 'integer' && bytes.length > most.value) {
    return { bytes: message(version, [failure([], new Refusal('ResponseTooLarge', 'too large'))]) };
  }
  return { bytes };
}

function checkHeader(
  server: Server,
  fields: readonly Ttlv[],
  count: number,
  version: string,
): void {
  const { credentials, hasNoBatches } = server.options;
  if (!server.versions().includes(version)) {
    throw new Refusal('InvalidMessage', `KMIP ${version} is not supported`);
  }
  if (credentials !== undefined) {
    const given = need(
      need(need(fields, tags.authentication, 'structure'), tags.credential, 'structure'),
      tags.credentialValue,
      'structure',
    );
    const isRight =
      need(given, tags.username, 'text-string') === credentials.username &&
      need(given, tags.password, 'text-string') === credentials.password;
    if (!isRight) throw new Refusal('AuthenticationNotSuccessful', 'wrong credentials');
  }
  if (need(fields, tags.batchCount, 'integer') !== count || count === 0)
    throw new Refusal('InvalidMessage', 'batch count');
  if (hasNoBatches && count > 1) throw new Refusal('FeatureNotSupported', 'one call at a time');
}

async function answerItem(
  server: Server,
  fields: readonly Ttlv[],
  { version, isBatch }: { readonly version: string; readonly isBatch: boolean },
): Promise<Ttlv | 'drop' | 'hang'> {
  const operation = operationsByCode.get(need(fields, tags.operation, 'enumeration'));
  const id = findChild(fields, tags.uniqueBatchItemId);
  const echo = [
    ...fields.filter(({ tag }) => tag === tags.operation),
    ...(id === undefined ? [] : [id]),
  ];
  if (operation === undefined)
    return failure(echo, new Refusal('OperationNotSupported', 'unknown operation'));
  if (isBatch && id === undefined)
    return failure(echo, new Refusal('InvalidMessage', 'no batch id'));
  const payload = need(fields, tags.requestPayload, 'structure');
  server.calls.push(`${operation} ${version}`);
  await server.before?.(operation, payload);
  const fault = server.takeFault(operation);
  if (fault?.kind === 'drop' || fault?.kind === 'hang') return fault.kind;
  if (fault?.kind === 'garbage') return enumeration(tags.batchItem, 0);
  try {
    if (fault?.kind === 'refuse')
      throw new Refusal(fault.reason ?? 'GeneralFailure', fault.text ?? 'told to');
    const result = server.run(operation, payload, version);
    if (fault?.kind === 'lose') return 'drop';
    return structure(tags.batchItem, [
      ...echo,
      enumeration(tags.resultStatus, 0),
      structure(tags.responsePayload, result),
    ]);
  } catch (error) {
    if (error instanceof Refusal) return failure(echo, error);
    throw error;
  }
}

function failure(echo: readonly Ttlv[], error: Refusal): Ttlv {
  return structure(tags.batchItem, [
    ...echo,
    enumeration(tags.resultStatus, 1),
    enumeration(tags.resultReason, kmipReasons[error.reason]),
    text(tags.resultMessage, error.message),
  ]);
}

function message(version: string, items: readonly Ttlv[]): Buffer {
  return encodeTtlv(
    structure(tags.responseMessage, [
      structure(tags.responseHeader, [
        versionItem(version),
        { tag: tags.timeStamp, type: 'date-time', value: BigInt(Math.floor(Date.now() / 1000)) },
        integer(tags.batchCount, items.length),
      ]),
      ...items,
    ]),
  );
}

/** Reads messages off a connection and answers them one after another. */
async function serve(server: Server, socket: tls.TLSSocket): Promise<void> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= ttlvHeaderBytes && bytes.length >= ttlvSize(bytes)) {
      const size = ttlvSize(bytes);
      const result = await answer(server, decodeTtlv(bytes.subarray(0, size)));
      bytes = bytes.subarray(size);
      if (result === 'hang') continue;
      if (result === 'drop') socket.destroy();
      else socket.write(result.bytes);
    }
  }
}

async function makeCertificate(
  dir: string,
  name: string,
): Promise<{ readonly key: string; readonly cert: string }> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const certificate = await createSelfSigned(privateKey, {
    commonName: name,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 86_400_000),
    ipAddresses: ['127.0.0.1'],
    isClient: true,
    isServer: true,
  });
  const files = { key: path.join(dir, `${name}.key`), cert: path.join(dir, `${name}.crt`) };
  writeFileSync(files.key, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
  writeFileSync(files.cert, certificate);
  return files;
}

/** Starts the double on a free loopback port. */
export async function startKmipDouble(options: KmipDoubleOptions = {}): Promise<KmipDouble> {
  const dir = mkdtempSync(path.join(tmpdir(), 'kmip-double-'));
  const [own, client, stranger] = [
    await makeCertificate(dir, 'server'),
    await makeCertificate(dir, 'client'),
    await makeCertificate(dir, 'stranger'),
  ];
  const server = new Server(options);
  const sockets = new Set<tls.TLSSocket>();
  const listener = tls.createServer({
    key: readFileSync(own.key),
    cert: readFileSync(own.cert),
    ca: readFileSync(client.cert),
    requestCert: true,
    rejectUnauthorized: true,
  });
  const double: KmipDouble = {
    endpoint: '',
    tls: { ...client, ca: own.cert },
    strangerTls: { ...stranger, ca: own.cert },
    calls: server.calls,
    objects: server.objects,
    connections: 0,
    get before() {
      return server.before;
    },
    set before(work) {
      server.before = work;
    },
    fault(kind, { count = 1, ...rest } = {}) {
      server.faults.push({ kind, left: count, ...rest });
    },
    add: ({ name, value, state = states.preActive, group = 'coffer', createdAt = 1n }) =>
      server.add({ names: [name], groups: [group], createdAt, state, value: Buffer.from(value) }),
    async down() {
      const closed = new Promise<void>((resolve) => {
        listener.close(() => {
          resolve();
        });
      });
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    async up() {
      await listen(listener, port);
    },
    async close() {
      if (listener.listening) await double.down();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  listener.on('secureConnection', (socket) => {
    double.connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    void serve(server, socket).catch(() => socket.destroy());
  });
  listener.on('tlsClientError', () => undefined);
  const port = await listen(listener, 0);
  return Object.defineProperty(double, 'endpoint', { value: `127.0.0.1:${port}` });
}

async function listen(listener: tls.Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(port, '127.0.0.1', () => {
      listener.removeListener('error', reject);
      resolve();
    });
  });
  return (listener.address() as AddressInfo).port; // a TCP listener has one
}
