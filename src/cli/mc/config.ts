// The configuration file: version 10, the same file, folder and text as the reference client, so that
// both programs can be used side by side. Rules: fields that are not known here are written back as they
// were read; the file has mode 0600 and its folder 0700, since it holds secret keys; the earlier text is
// kept as `config.json.old`; the new text replaces the file in one step.

import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

import { McError } from './error.ts';

/** One alias. Empty keys mean anonymous access. */
export type AliasConfig = {
  readonly url: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly sessionToken?: string;
  readonly api: string;
  readonly path: string;
};

/** An alias, with where it was defined: the file's path, or `env`. */
export type Alias = AliasConfig & { readonly name: string; readonly source: string };

type Document = { version: string; aliases: Record<string, Record<string, unknown>> };

const version = '10';
const firstAliases: Readonly<Record<string, AliasConfig>> = {
  gcs: {
    url: 'https://storage.googleapis.com',
    accessKey: '',
    secretKey: '',
    api: 'S3v2',
    path: 'dns',
  },
  local: { url: 'http://localhost:9000', accessKey: '', secretKey: '', api: 'S3v4', path: 'auto' },
  s3: { url: 'https://s3.amazonaws.com', accessKey: '', secretKey: '', api: 'S3v4', path: 'dns' },
};

/** The folder to use: the flag, else `~/.mc`. */
export function configFolder(
  flag: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string {
  if (flag !== undefined && flag !== '') return path.resolve(flag);
  return path.join(env['HOME'] ?? homedir(), '.mc');
}

/** The aliases of the file and of the environment. Reads once, lazily; every change is written at once. */
export class AliasStore {
  readonly folder: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  #document: Document | undefined;
  #envFile: Readonly<Record<string, string>> | undefined;

  constructor(folder: string, env: Readonly<Record<string, string | undefined>>) {
    this.folder = folder;
    this.#env = env;
  }

  get file(): string {
    return path.join(this.folder, 'config.json');
  }

  get caFolder(): string {
    return path.join(this.folder, 'certs', 'CAs');
  }

  /** Every alias, sorted by name. Those of the environment win. */
  async list(): Promise<readonly Alias[]> {
    const document = await this.#load();
    const names = new Set(Object.keys(document.aliases));
    for (const name of Object.keys({ ...this.#env, ...(await this.#hostsFile()) })) {
      if (name.startsWith('MC_HOST_')) names.add(name.slice('MC_HOST_'.length));
    }
    const aliases: Alias[] = [];
    for (const name of [...names].sort()) {
      const alias = await this.find(name);
      if (alias !== undefined) aliases.push(alias);
    }
    return aliases;
  }

  async find(name: string): Promise<Alias | undefined> {
    const fromEnv = this.#env[`MC_HOST_${name}`] ?? (await this.#hostsFile())[`MC_HOST_${name}`];
    if (fromEnv !== undefined) return parseHostVariable(name, fromEnv);
    const stored = (await this.#load()).aliases[name];
    if (stored === undefined || !isAliasName(name)) return undefined;
    const token = text(stored['sessionToken']);
    return {
      name,
      source: this.file,
      url: text(stored['url']),
      accessKey: text(stored['accessKey']),
      secretKey: text(stored['secretKey']),
      ...(token === '' ? {} : { sessionToken: token }),
      api: text(stored['api']),
      path: text(stored['path']),
    };
  }

  /** Makes the folder and its first file, if there are none. */
  async prepare(): Promise<void> {
    await this.#load();
  }

  /** Adds or replaces an alias; other fields of an earlier one are kept. */
  async set(name: string, alias: AliasConfig): Promise<void> {
    const document = await this.#load();
    const { sessionToken: _, ...kept } = document.aliases[name] ?? {};
    document.aliases[name] = { ...kept, ...alias };
    await this.#save(document);
  }

  /** False when the file has no such alias. */
  async remove(name: string): Promise<boolean> {
    const document = await this.#load();
    if (!Object.hasOwn(document.aliases, name)) return false;
    delete document.aliases[name];
    await this.#save(document);
    return true;
  }

  async #load(): Promise<Document> {
    if (this.#document !== undefined) return this.#document;
    let content: string;
    try {
      content = await readFile(this.file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      const fresh: Document = { version, aliases: structuredClone(firstAliases) };
      await this.#save(fresh);
      return fresh;
    }
    this.#document = parseDocument(content, this.file);
    return this.#document;
  }

  async #save(document: Document): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await mkdir(this.caFolder, { recursive: true, mode: 0o700 });
    await mkdir(path.join(this.folder, 'share'), { recursive: true, mode: 0o700 });
    const sorted = Object.fromEntries(
      Object.entries(document.aliases).sort(([left], [right]) => (left < right ? -1 : 1)),
    );
    const content = JSON.stringify({ ...document, aliases: sorted }, undefined, '\t');
    try {
      await copyFile(this.file, `${this.file}.old`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    const temporary = `${this.file}.${process.pid}.tmp`;
    await writeFile(temporary, content, { mode: 0o600 });
    await rename(temporary, this.file);
    this.#document = document;
  }

  async #hostsFile(): Promise<Readonly<Record<string, string>>> {
    if (this.#envFile !== undefined) return this.#envFile;
    const name = this.#env['MC_CONFIG_ENV_FILE'];
    const hosts: Record<string, string> = {};
    if (name !== undefined && name !== '') {
      for (const line of (await readFile(name, 'utf8')).split('\n')) {
        const match = /^\s*(?:export\s+)?(MC_HOST_\w[\w-]*)=(.*)$/.exec(line);
        if (match !== null)
          hosts[match[1] ?? ''] = (match[2] ?? '').trim().replace(/^(["'])(.*)\1$/, '$2');
      }
    }
    this.#envFile = hosts;
    return hosts;
  }
}

/** Whether a name can be an alias: a letter, then letters, digits, `-` and `_`. */
export function isAliasName(name: string): boolean {
  return /^[a-zA-Z][a-zA-Z0-9-_]*$/.test(name);
}

/** Whether a URL is `http(s)://host[:port]` with an empty path. */
export function isHostUrl(url: string): boolean {
  return /^https?:\/\/[^/?#\s@]+\/?$/.test(url) && URL.canParse(url);
}

/** `scheme://AK:SK[:TOKEN]@host`, taken apart by pattern: nothing is percent-decoded, the last `@` splits. */
export function parseHostVariable(name: string, value: string): Alias {
  const match = /^(https?:\/\/)(?:([^:]+):([^:]+)(?::(.+))?@)?([^@]+)$/.exec(value.trim());
  const url = `${match?.[1] ?? ''}${match?.[5] ?? ''}`;
  if (match === null || !isHostUrl(url)) {
    throw new McError(
      'config',
      `MC_HOST_${name} must be of the form scheme://ACCESSKEY:SECRETKEY@host[:port]`,
    );
  }
  return {
    name,
    source: 'env',
    url: url.replace(/\/$/, ''),
    accessKey: match[2] ?? '',
    secretKey: match[3] ?? '',
    ...(match[4] === undefined ? {} : { sessionToken: match[4] }),
    api: 'S3v4',
    path: '',
  };
}

function parseDocument(content: string, file: string): Document {
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch (cause) {
    throw new McError('config', `\`${file}\` is not valid JSON.`, { cause });
  }
  const document = parsed as Partial<Document> | null;
  if (typeof document !== 'object' || document === null || document.version !== version) {
    throw new McError(
      'config',
      `\`${file}\` has not version ${version}: move it away to start afresh.`,
    );
  }
  const aliases = document.aliases;
  if (typeof aliases !== 'object' || aliases === null) return { ...document, version, aliases: {} };
  return { ...document, version, aliases };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
