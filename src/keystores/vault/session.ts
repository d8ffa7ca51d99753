// The token of the key service in Vault: got by a login, renewed at 80 % of its life, replaced by another
// login when it cannot be renewed. Timers do not keep the process alive, every failure arms the next try,
// and while Vault is sealed there is nothing to do but wait.

import { readFile } from 'node:fs/promises';
import type { Log } from '../../base/log.ts';
import { KeyStoreError } from '../../keys/key-store.ts';
import type { HttpAnswer } from '../http.ts';
import type { RenewalClock } from '../vendors/renewed-token.ts';
import { bodyOf, membersOf, refusal, vaultPath } from './answers.ts';
import type { VaultClient, VaultTokens } from './client.ts';

type Text = string | undefined;

export type VaultLogin =
  | {
      readonly method: 'approle';
      readonly engine: string;
      readonly namespace: string;
      readonly id: string;
      readonly secret: string;
    }
  | {
      readonly method: 'kubernetes';
      readonly engine: string;
      readonly namespace: string;
      readonly role: string;
      /** The token, or the path of its file (it has a slash), read at every login. */
      readonly jwt: string;
    };

export type VaultSessionDeps = {
  readonly client: VaultClient;
  readonly login: VaultLogin;
  readonly log: Log;
  readonly clock: RenewalClock;
};

/** `lifeMs` 0: never ends. */
type Auth = { readonly token: string; readonly lifeMs: number; readonly isRenewable: boolean };
type Held = Auth & { readonly sinceMs: number };

/** Tokens that live shorter are not renewed but replaced all the time. */
const shortLifeMs = 30_000;
const retryMs = 3_000;
const sealedWaitMs = 1_000;
const renewTriesMax = 3;
/** At most this often a refused call makes a login, as long as none helped. */
const replaceEveryMs = 3_000;
/** A new token is used this late at most, so that every replica of Vault knows it. */
const adoptDelayMaxMs = 30_000;
/** Longest delay that a timer takes. */
const delayMaxMs = 2_147_483_647;

/** Holds the token of one client. */
export class VaultSession implements VaultTokens {
  readonly #deps: VaultSessionDeps;
  #held: Held | undefined;
  #isShortLived = false;
  #replacing: Promise<boolean> | undefined;
  #replacedAtMs = Number.NEGATIVE_INFINITY;
  #cancelTimer: () => void = () => {};
  #cancelAdoption: () => void = () => {};
  #isClosed = false;

  constructor(deps: VaultSessionDeps) {
    this.#deps = deps;
  }

  get token(): string {
    return this.#held?.token ?? '';
  }

  /** Logs in for the first time. Throws `KeyStoreError`. */
  async open(): Promise<void> {
    const auth = await this.#logIn();
    this.#held = { ...auth, sinceMs: this.#deps.clock.now() };
    this.#schedule(auth);
  }

  noteAccepted(): void {
    this.#replacedAtMs = Number.NEGATIVE_INFINITY;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
    this.#cancelAdoption();
    this.#held = undefined;
  }

  replace(refused: string): Promise<boolean> {
    if (refused !== this.token) return Promise.resolve(true);
    this.#replacing ??= this.#replace(refused).finally(() => {
      this.#replacing = undefined;
    });
    return this.#replacing;
  }

  /** A refused token may just lack the right: only one that may not even look at itself is replaced. */
  async #replace(refused: string): Promise<boolean> {
    const { clock, client, log } = this.#deps;
    if (clock.now() - this.#replacedAtMs < replaceEveryMs) return false;
    this.#replacedAtMs = clock.now();
    try {
      const path = vaultPath('auth/token/lookup-self');
      const answer = await client.send({ method: 'GET', path }, { token: refused });
      if (answer.status !== 403) return false;
      this.#adopt(await this.#logIn());
      return true;
    } catch (error) {
      log.warn('vault: cannot replace a token that is no longer good', reasonOf(error));
      return false;
    }
  }

  #adopt(auth: Auth): void {
    if (this.#isClosed) return;
    this.#cancelAdoption();
    this.#held = { ...auth, sinceMs: this.#deps.clock.now() };
    this.#schedule(auth);
  }

  /** Sets the timer for what comes next in the life of a token. */
  #schedule(auth: Auth): void {
    if (auth.lifeMs === 0) return this.#arm(undefined);
    if (auth.lifeMs >= shortLifeMs) {
      this.#isShortLived = false;
      return this.#arm({ delayMs: auth.lifeMs * 0.8, run: () => this.#renewOrLogIn(auth) });
    }
    const delayMs = this.#isShortLived ? retryMs : 0;
    this.#isShortLived = true;
    this.#arm({ delayMs, run: () => this.#logInAgain(auth) });
  }

  #arm(next: { readonly delayMs: number; readonly run: () => Promise<void> } | undefined): void {
    this.#cancelTimer();
    if (this.#isClosed || next === undefined) return;
    const { clock, client } = this.#deps;
    this.#cancelTimer = clock.after(Math.min(Math.max(next.delayMs, 1), delayMaxMs), () => {
      if (client.isSealed) this.#arm({ ...next, delayMs: sealedWaitMs });
      else void next.run();
    });
  }

  async #renewOrLogIn(auth: Auth): Promise<void> {
    const renewed = auth.isRenewable ? await this.#renew(auth) : undefined;
    if (renewed === undefined) return this.#logInAgain(auth);
    this.#adopt(renewed);
  }

  /** Undefined when it cannot be renewed. */
  async #renew(auth: Auth): Promise<Auth | undefined> {
    const { client, log } = this.#deps;
    for (let tries = 1; tries <= renewTriesMax; tries += 1) {
      try {
        const answer = await client.send(
          { method: 'PUT', path: vaultPath('auth/token/renew-self'), json: { increment: 0 } },
          { token: auth.token },
        );
        if (answer.status === 200) return parseAuth('renew token', answer);
        log.warn('vault: cannot renew the token', { status: answer.status });
        if (answer.status < 500) return undefined;
      } catch (error) {
        log.warn('vault: cannot renew the token', reasonOf(error));
      }
    }
    return undefined;
  }

  async #logInAgain(old: Auth): Promise<void> {
    const { log, clock } = this.#deps;
    let auth: Auth;
    try {
      auth = await this.#logIn();
    } catch (error) {
      log.warn(`vault: cannot log in, next try in ${retryMs / 1000} s`, reasonOf(error));
      return this.#arm({ delayMs: retryMs, run: () => this.#logInAgain(old) });
    }
    const delayMs = Math.min((old.lifeMs * 0.2) / 2, adoptDelayMaxMs);
    const endMs = (this.#held?.sinceMs ?? 0) + (this.#held?.lifeMs ?? 0);
    if (this.#isShortLived || endMs <= clock.now() + delayMs) return this.#adopt(auth);
    this.#cancelAdoption();
    const sinceMs = clock.now();
    this.#cancelAdoption = clock.after(delayMs, () => {
      if (!this.#isClosed) this.#held = { ...auth, sinceMs };
    });
    this.#schedule(auth);
  }

  async #logIn(): Promise<Auth> {
    const { client, login } = this.#deps;
    const { json, secrets } = await loginBody(login);
    const answer = await client.send(
      { method: 'PUT', path: vaultPath('auth', login.engine, 'login'), json, isRepeatable: true },
      { namespace: login.namespace },
    );
    if (answer.status !== 200) throw refusal(`${login.method} login`, answer, secrets);
    return parseAuth(`${login.method} login`, answer);
  }
}

async function loginBody(login: VaultLogin): Promise<{ json: object; secrets: string[] }> {
  if (login.method === 'approle') {
    const json = { role_id: login.id, secret_id: login.secret };
    return { json, secrets: [login.id, login.secret] };
  }
  const jwt = login.jwt.includes('/') ? await readJwt(login.jwt) : login.jwt;
  return { json: { role: login.role, jwt }, secrets: [jwt] };
}

async function readJwt(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new KeyStoreError('failed', `vault: cannot read kubernetes.jwt: ${file} (${code})`);
  }
}

function parseAuth(what: string, answer: HttpAnswer): Auth {
  const auth = membersOf(bodyOf(what, answer)['auth']);
  const { client_token: token, lease_duration: life, renewable } = auth;
  if (typeof token !== 'string' || token === '' || typeof life !== 'number' || life < 0) {
    throw new KeyStoreError('failed', `vault: ${what}: its answer holds no token`);
  }
  return { token, lifeMs: life * 1000, isRenewable: renewable === true };
}

function reasonOf(error: unknown): { readonly reason: Text } {
  return { reason: error instanceof Error ? error.message : undefined };
}
