// An AES key in a PKCS#11 token (a hardware security module, a smart card, SoftHSM) as wrapping key, with
// AES-GCM, the context as additional data and a random nonce of ours. The key must be one that cannot leave
// the token; another one is refused with how to make it.
//
// The calls are synchronous, as PKCS#11 is: the process waits for the token. Each is a few dozen bytes. The
// library is initialised once per process and never finalised here, because another store of the process
// may be using it; a session that is lost is opened again. A PIN that was refused is not tried again, so
// that the token is not locked.

import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { KeyStoreError } from '../../keys/key-store.ts';
import { loadPackage } from '../load-package.ts';
import { checkRoundTrip, parseStoredId } from './check.ts';
import type { WrappingKey } from './wrapping-key.ts';

/** `library`: path of the token's PKCS#11 library; `token` and `key`: their labels. */
export type Pkcs11Settings = {
  readonly library?: string | undefined;
  readonly token?: string | undefined;
  readonly pin?: string | undefined;
  readonly key?: string | undefined;
};

/** `moduleDir`: a directory whose `node_modules` holds `pkcs11js`; the one of this program by default. */
export type Pkcs11Deps = { readonly moduleDir?: string };

type Handle = Buffer;
type Attribute = { readonly type: number; readonly value?: Buffer | string | number | boolean };
type Mechanism = { readonly mechanism: number; readonly parameter: unknown };

/** The part of `pkcs11js` used here. Calls throw errors with the number and the name of the result. */
type Pkcs11 = {
  load(path: string): void;
  C_Initialize(): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): { readonly label: string };
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_Login(session: Handle, userType: number, pin: string): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, max: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: readonly Attribute[],
  ): { readonly type: number; readonly value: Buffer }[];
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Encrypt(session: Handle, input: Buffer, output: Buffer): Buffer;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Decrypt(session: Handle, input: Buffer, output: Buffer): Buffer;
};

type Pkcs11Module = { readonly PKCS11: new () => Pkcs11; readonly CK_PARAMS_AES_GCM: number };

// Numbers of the PKCS#11 standard.
const secretKeyClass = 4;
const attributes = {
  class: 0x0000,
  label: 0x0003,
  keyType: 0x0100,
  sensitive: 0x0103,
  valueLength: 0x0161,
  extractable: 0x0162,
} as const;
const aesKeyType = 0x1f;
const aesGcm = 0x1087;
const serialSession = 4;
const normalUser = 1;

const system = 'pkcs11';
const nonceBytes = 12;
const tagBytes = 16;
const keyBytes = 32;

/** Logs in to the token, checks the key, wraps and unwraps once; rejects with `KeyStoreError` when that fails. */
export async function openPkcs11(
  settings: Pkcs11Settings,
  deps: Pkcs11Deps = {},
): Promise<WrappingKey> {
  const { library = '', token = '', pin = '', key = '' } = settings;
  const module = await loadModule(deps.moduleDir);
  const api = new module.PKCS11();
  initialize(api, library);
  const wrappingKey = new Pkcs11Key(api, module.CK_PARAMS_AES_GCM, { token, pin, key });
  try {
    await wrappingKey.check();
    return wrappingKey;
  } catch (error) {
    await wrappingKey.close();
    throw error;
  }
}

async function loadModule(moduleDir: string | undefined): Promise<Pkcs11Module> {
  const name: string = 'pkcs11js'; // widened: the package is not there when types are checked
  try {
    if (moduleDir !== undefined) {
      return createRequire(join(moduleDir, 'package.json'))(name) as Pkcs11Module;
    }
    const loaded = await loadPackage(
      name,
      () => import(name) as Promise<{ default: Pkcs11Module }>,
    );
    return loaded.default;
  } catch (error) {
    if (error instanceof KeyStoreError) throw error;
    throw new KeyStoreError(
      'failed',
      'the package pkcs11js is installed, but not built for this machine: run npm rebuild pkcs11js ' +
        '(needs python3, make and g++)',
      { cause: error },
    );
  }
}

function initialize(api: Pkcs11, library: string): void {
  try {
    api.load(library);
  } catch (error) {
    throw new KeyStoreError('failed', `PKCS#11: cannot load the library ${library}`, {
      cause: error,
    });
  }
  try {
    api.C_Initialize();
  } catch (error) {
    if (resultOf(error) === 'CKR_CRYPTOKI_ALREADY_INITIALIZED') return;
    throw failed(`cannot initialize the library ${library}`, error);
  }
}

type Names = { readonly token: string; readonly pin: string; readonly key: string };
type Session = { readonly handle: Handle; readonly keys: Map<string, Handle> };

class Pkcs11Key implements WrappingKey {
  readonly id: string;
  readonly #api: Pkcs11;
  readonly #gcmType: number;
  readonly #names: Names;
  readonly #idPrefix: string;
  #session: Session | undefined;
  #isPinRefused = false;

  constructor(api: Pkcs11, gcmType: number, names: Names) {
    this.#api = api;
    this.#gcmType = gcmType;
    this.#names = names;
    this.#idPrefix = `token=${encodeURIComponent(names.token)};object=`;
    this.id = `${system}:${this.#idPrefix}${encodeURIComponent(names.key)}`;
  }

  async wrap(plaintext: Uint8Array, context: Uint8Array): Promise<Buffer> {
    return this.#use('wrap', this.#names.key, (session, key) => {
      const nonce = randomBytes(nonceBytes);
      this.#api.C_EncryptInit(session, this.#mechanism(nonce, context), key);
      const output = Buffer.alloc(plaintext.length + tagBytes);
      return Buffer.concat([nonce, this.#api.C_Encrypt(session, bufferOf(plaintext), output)]);
    });
  }

  /** Of the same token, also with another key than the configured one: one that was used before. */
  async unwrap(wrapped: Uint8Array, context: Uint8Array, id: string): Promise<Buffer> {
    const rest = parseStoredId(id, system, /^token=[^;]+;object=[^;]+$/);
    if (!rest.startsWith(this.#idPrefix)) {
      throw new KeyStoreError(
        'failed',
        `a stored key was wrapped by ${id}, not in the configured token`,
      );
    }
    if (wrapped.length <= nonceBytes + tagBytes) {
      throw new KeyStoreError('failed', 'PKCS#11: a stored key is damaged');
    }
    const keyLabel = decodeLabel(rest.slice(this.#idPrefix.length));
    return this.#use('unwrap', keyLabel, (session, key) => {
      const nonce = bufferOf(wrapped.subarray(0, nonceBytes));
      const sealed = bufferOf(wrapped.subarray(nonceBytes));
      this.#api.C_DecryptInit(session, this.#mechanism(nonce, context), key);
      return this.#api.C_Decrypt(session, sealed, Buffer.alloc(sealed.length));
    });
  }

  check(): Promise<void> {
    return checkRoundTrip(this);
  }

  async close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    if (session) this.#endSession(session.handle);
  }

  #mechanism(nonce: Buffer, context: Uint8Array): Mechanism {
    return {
      mechanism: aesGcm,
      parameter: {
        type: this.#gcmType,
        iv: nonce,
        aad: bufferOf(context),
        ivBits: nonceBytes * 8,
        tagBits: tagBytes * 8,
      },
    };
  }

  /** Runs `work` in a session; once more in a new one when the old one is lost. */
  #use<T>(action: string, keyLabel: string, work: (session: Handle, key: Handle) => T): T {
    for (let isRetry = false; ; isRetry = true) {
      try {
        this.#session ??= this.#openSession();
        return work(this.#session.handle, this.#keyOf(this.#session, keyLabel));
      } catch (error) {
        const isLost = lostResults.has(resultOf(error));
        if (isLost && this.#session) {
          this.#endSession(this.#session.handle);
          this.#session = undefined;
        }
        if (isLost && !isRetry) continue;
        if (error instanceof KeyStoreError) throw error;
        throw failed(`cannot ${action} with key ${keyLabel}`, error);
      }
    }
  }

  #openSession(): Session {
    const { token, pin } = this.#names;
    if (this.#isPinRefused) {
      throw new KeyStoreError(
        'failed',
        `PKCS#11: token ${token} refused the PIN, which is not tried again so that the token is not ` +
          'locked: correct the PIN and reload the configuration',
      );
    }
    const handle = this.#api.C_OpenSession(this.#findSlot(), serialSession);
    try {
      this.#api.C_Login(handle, normalUser, pin);
    } catch (error) {
      const result = resultOf(error);
      if (result !== 'CKR_USER_ALREADY_LOGGED_IN') {
        this.#isPinRefused = result.startsWith('CKR_PIN_');
        this.#endSession(handle);
        throw failed(`cannot log in to token ${token}`, error);
      }
    }
    return { handle, keys: new Map() };
  }

  #findSlot(): Handle {
    const { token } = this.#names;
    // Labels are padded with blanks.
    const slots = this.#api
      .C_GetSlotList(true)
      .filter((slot) => this.#api.C_GetTokenInfo(slot).label.trimEnd() === token);
    const [slot] = slots;
    if (!slot) {
      throw new KeyStoreError('unreachable', `PKCS#11: token ${token} is not present`);
    }
    if (slots.length > 1) {
      throw new KeyStoreError('failed', `PKCS#11: ${slots.length} tokens have the label ${token}`);
    }
    return slot;
  }

  #keyOf(session: Session, keyLabel: string): Handle {
    const known = session.keys.get(keyLabel);
    if (known) return known;
    this.#api.C_FindObjectsInit(session.handle, [
      { type: attributes.class, value: secretKeyClass },
      { type: attributes.keyType, value: aesKeyType },
      { type: attributes.label, value: keyLabel },
    ]);
    let found: Handle[];
    try {
      found = this.#api.C_FindObjects(session.handle, 2);
    } finally {
      this.#api.C_FindObjectsFinal(session.handle);
    }
    const [key] = found;
    if (!key || found.length > 1) {
      const count = key ? 'more than one AES key' : 'no AES key';
      throw new KeyStoreError(
        'failed',
        `PKCS#11: token ${this.#names.token} has ${count} with the label ${keyLabel}${howToMake}`,
      );
    }
    this.#requireProtected(session.handle, key, keyLabel);
    session.keys.set(keyLabel, key);
    return key;
  }

  /** Refuses a key that could be read out of the token. */
  #requireProtected(session: Handle, key: Handle, keyLabel: string): void {
    const valueOf = (type: number): number => {
      const [attribute] = this.#api.C_GetAttributeValue(session, key, [{ type }]);
      const bytes = attribute?.value ?? Buffer.alloc(0);
      return bytes.length === 0 ? -1 : (bytes[0] ?? -1);
    };
    const isProtected =
      valueOf(attributes.sensitive) === 1 &&
      valueOf(attributes.extractable) === 0 &&
      valueOf(attributes.valueLength) === keyBytes;
    if (isProtected) return;
    throw new KeyStoreError(
      'failed',
      `PKCS#11: key ${keyLabel} must be an AES key of 256 bits that is sensitive and not extractable${howToMake}`,
    );
  }

  #endSession(handle: Handle): void {
    try {
      this.#api.C_CloseSession(handle);
    } catch {
      // A session that is lost cannot be closed, which is as good.
    }
  }
}

/** Throws `failed` for what `encodeURIComponent` never makes. */
function decodeLabel(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new KeyStoreError('failed', `PKCS#11: a stored key names a key that cannot be: ${text}`);
  }
}

const howToMake =
  ': make one with `pkcs11-tool --module LIBRARY --login --token-label TOKEN --keygen ' +
  '--key-type AES:32 --sensitive --label KEY`';

/** Results after which a new session is worth a try. */
const lostResults: ReadonlySet<string> = new Set([
  'CKR_SESSION_HANDLE_INVALID',
  'CKR_SESSION_CLOSED',
  'CKR_KEY_HANDLE_INVALID',
  'CKR_OBJECT_HANDLE_INVALID',
  'CKR_OPERATION_ACTIVE',
  'CKR_OPERATION_NOT_INITIALIZED',
  'CKR_USER_NOT_LOGGED_IN',
  'CKR_DEVICE_ERROR',
  'CKR_DEVICE_REMOVED',
  'CKR_TOKEN_NOT_PRESENT',
]);

const unreachableResults: ReadonlySet<string> = new Set([
  'CKR_DEVICE_ERROR',
  'CKR_DEVICE_REMOVED',
  'CKR_TOKEN_NOT_PRESENT',
]);

const hints: Readonly<Record<string, string>> = {
  CKR_PIN_INCORRECT: ' (check the PIN)',
  CKR_PIN_LOCKED: ' (unlock the PIN of the token)',
  CKR_ENCRYPTED_DATA_INVALID: ' (the stored key was changed or moved to another name)',
  CKR_GENERAL_ERROR:
    ' (while other keys open: the stored key was changed or moved to another name)',
  CKR_KEY_FUNCTION_NOT_PERMITTED: ' (the key must allow encrypt and decrypt)',
  CKR_MECHANISM_INVALID: ' (the token must know CKM_AES_GCM with a nonce of the caller)',
};

/** `CKR_…`, or the name of any other error. */
function resultOf(error: unknown): string {
  const { message, name } = error as Error;
  return /CKR_\w+/.exec(message)?.[0] ?? name;
}

function failed(what: string, error: unknown): KeyStoreError {
  const result = resultOf(error);
  const code = unreachableResults.has(result) ? 'unreachable' : 'failed';
  return new KeyStoreError(code, `PKCS#11: ${what}: ${result}${hints[result] ?? ''}`);
}

/** The same bytes as the `Buffer` that the package asks for. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
