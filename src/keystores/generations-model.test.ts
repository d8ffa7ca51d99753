// Random operations of three nodes that share one product, every call to it a point where another node may
// go on, a node may die, and time passes. What the nodes were told must fit one order of whole operations
// (linearizability), whatever a dead node had begun taking place once or not at all.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MemorySecrets } from '../../test/support/memory-secrets.ts';
import { KeyStoreError } from '../keys/key-store.ts';
import { openGenerations } from './generations.ts';
import type { SecretStore } from './secret-store.ts';

type Action = 'create' | 'get' | 'replace' | 'erase' | 'delete' | 'list';
type Step = { readonly action: Action; readonly key: string };
type Plan = {
  readonly seed: number;
  /** Milliseconds that pass at most at each turn. */
  readonly paceMs: number;
  readonly nodes: readonly { readonly steps: readonly Step[]; readonly diesAfter: number }[];
};

type Event = {
  readonly key: string;
  readonly action: Action;
  readonly start: number;
  /** Infinity when the node died. */
  end: number;
  readonly expected?: string;
  readonly value?: string;
  result?: string;
};

/** Lets one waiting call go on at a time, chosen at random, and keeps the time they see. */
class World {
  readonly events: Event[] = [];
  now = 0;
  turn = 0;
  readonly #waiting: { readonly at: number; readonly go: () => void }[] = [];
  #seed: number;
  readonly #paceMs: number;

  constructor(plan: Plan) {
    this.#seed = plan.seed;
    this.#paceMs = plan.paceMs;
  }

  random(below: number): number {
    this.#seed = (Math.imul(this.#seed ^ (this.#seed >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return (this.#seed >>> 8) % below;
  }

  wait(ms: number): Promise<void> {
    return new Promise((go) => this.#waiting.push({ at: this.now + ms, go }));
  }

  /** Runs until nothing waits. */
  async run(): Promise<void> {
    for (;;) {
      for (let settle = 0; settle < 12; settle += 1) await Promise.resolve();
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#waiting.length === 0) return;
      this.turn += 1;
      this.now += this.random(this.#paceMs + 1);
      let ready = this.#waiting.filter(({ at }) => at <= this.now);
      if (ready.length === 0) {
        this.now = Math.min(...this.#waiting.map(({ at }) => at));
        ready = this.#waiting.filter(({ at }) => at <= this.now);
      }
      const chosen = ready[this.random(ready.length)];
      if (chosen === undefined) continue;
      this.#waiting.splice(this.#waiting.indexOf(chosen), 1);
      chosen.go();
    }
  }
}

/** The product as one node sees it: every call takes two turns, and after `diesAfter` calls none returns. */
function nodeSecrets(world: World, entries: Map<string, string>, diesAfter: number): SecretStore {
  const memory = new MemorySecrets(entries);
  let calls = 0;
  const slowly = async <T>(call: () => Promise<T>): Promise<T> => {
    calls += 1;
    const isLast = calls === diesAfter;
    if (calls > diesAfter) return new Promise<never>(() => {});
    await world.wait(0);
    // Of the call it dies in, nobody knows whether it arrived.
    if (isLast && world.random(2) === 0) return new Promise<never>(() => {});
    const outcome = call();
    outcome.catch(() => {});
    if (isLast) return new Promise<never>(() => {});
    await world.wait(0);
    return outcome;
  };
  return {
    create: (name, value) => slowly(() => memory.create(name, value)),
    get: (name) => slowly(() => memory.get(name)),
    delete: (name) => slowly(() => memory.delete(name)),
    list: () => slowly(() => memory.list()),
    status: () => memory.status(),
    close: async () => {},
  };
}

async function runNode(
  world: World,
  entries: Map<string, string>,
  node: { readonly steps: readonly Step[]; readonly diesAfter: number; readonly label: string },
): Promise<void> {
  const store = openGenerations(nodeSecrets(world, entries, node.diesAfter), {
    now: () => world.now,
    sleep: (ms) => world.wait(ms),
  });
  const known = new Map<string, string>();
  for (const [index, { action, key }] of node.steps.entries()) {
    await world.wait(0);
    const value = `${node.label}${index}`;
    const expected = known.get(key) ?? 'unknown';
    const event: Event = { key, action, start: world.turn, end: Infinity, expected, value };
    world.events.push(event);
    Object.assign(
      event,
      await perform(action, async () => {
        switch (action) {
          case 'create':
            await store.create(key, value);
            known.set(key, value);
            return 'ok';
          case 'get':
            known.set(key, await store.get(key));
            return known.get(key) ?? '';
          case 'replace':
          case 'erase':
            await store.replace(key, { expected, value, isErasing: action === 'erase' });
            known.set(key, value);
            return 'ok';
          case 'delete':
            await store.delete(key);
            return 'ok';
          default:
            await store.list({ prefix: '' });
            return 'ok';
        }
      }),
    );
    event.end = world.turn;
  }
}

/** Undefined when the outcome is unknown: what was written could not be read back. */
async function perform(
  action: Action,
  work: () => Promise<string>,
): Promise<{ readonly result?: string }> {
  try {
    return { result: await work() };
  } catch (error) {
    if (!(error instanceof KeyStoreError)) throw error;
    if (error.code !== 'failed') return { result: error.code };
    if (['create', 'replace', 'erase'].includes(action)) return {};
    throw error;
  }
}

type State =
  | { readonly is: 'none' }
  | { readonly is: 'live'; readonly value: string }
  | { readonly is: 'destroyed'; readonly value: string; readonly expected: string };

/** The states in which the event may leave the key, given what its node was told; none when it does not fit. */
function after(state: State, event: Event, all: readonly Event[]): readonly State[] {
  const meets = (kinds: readonly Action[]) =>
    all.some(
      (other) =>
        other !== event &&
        kinds.includes(other.action) &&
        other.start <= event.end &&
        event.start <= other.end,
    );
  const meetsDeletion = meets(['delete']);
  const meetsEnd = meets(['delete', 'erase']);
  const { expected = '', value = '', result } = event;
  const isPending = result === undefined;
  const isExpected = state.is === 'live' && state.value === expected;
  const next = (to: State): readonly State[] => (isPending ? [to, state] : [to]);
  switch (event.action) {
    case 'get': {
      if (isPending) return [state];
      const seen = state.is === 'none' ? 'not-found' : state.value;
      return seen === result ? [state] : [];
    }
    case 'create':
      if (result === 'ok' || isPending) {
        if (state.is === 'none') return next({ is: 'live', value });
        return isPending ? [state] : [];
      }
      // While a deletion is under way the name may still be taken.
      return state.is === 'none' && !meetsDeletion ? [] : [state];
    case 'replace':
      if (result === 'ok' || isPending) {
        if (isExpected) return next({ is: 'live', value });
        return isPending ? [state] : [];
      }
      // Told that the key is gone: the change may have come just before what removed it.
      if (isExpected) return meetsEnd ? [{ is: 'live', value }] : [];
      return [state];
    case 'erase':
      if (result === 'ok' || isPending) {
        if (isExpected) return next({ is: 'destroyed', value, expected });
        // The same erasing again, by whoever finds it unfinished.
        const isSame = state.is === 'destroyed' && state.expected === expected;
        return isPending || isSame ? [state] : [];
      }
      return isExpected ? [] : [state];
    case 'delete':
      // Of deletions that meet each other or an erasing, the later one may be told it was done.
      if (result === 'ok' || isPending) return state.is === 'live' ? next({ is: 'none' }) : [state];
      if (result === 'not-found') return state.is === 'none' ? [state] : [];
      return state.is === 'destroyed' ? [state] : [];
    default:
      return [state];
  }
}

/** Whether the events of one key fit some order; a depth-first search that remembers where it has been. */
function fits(events: readonly Event[]): boolean {
  const seen = new Set<string>();
  const search = (left: readonly Event[], state: State): boolean => {
    if (left.every(({ result }) => result === undefined)) return true;
    const mark = `${left.map((event) => events.indexOf(event)).join()} ${JSON.stringify(state)}`;
    if (seen.has(mark)) return false;
    seen.add(mark);
    const firstEnd = Math.min(...left.map(({ end }) => end));
    return left
      .filter(({ start }) => start <= firstEnd)
      .some((event) =>
        after(state, event, events).some((next) =>
          search(
            left.filter((each) => each !== event),
            next,
          ),
        ),
      );
  };
  return search(events, { is: 'none' });
}

const actions: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Action>('create') },
  { weight: 5, arbitrary: fc.constant<Action>('get') },
  { weight: 5, arbitrary: fc.constant<Action>('replace') },
  { weight: 2, arbitrary: fc.constant<Action>('erase') },
  { weight: 3, arbitrary: fc.constant<Action>('delete') },
  { weight: 1, arbitrary: fc.constant<Action>('list') },
);
const steps = fc.array(fc.record({ action: actions, key: fc.constantFrom('a', 'a', 'b') }), {
  minLength: 1,
  maxLength: 9,
});
const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat(),
  paceMs: fc.constantFrom(1, 40, 400),
  nodes: fc.array(
    fc.record({ steps, diesAfter: fc.oneof(fc.constant(1e9), fc.integer({ min: 1, max: 40 })) }),
    { minLength: 3, maxLength: 3 },
  ),
});

async function check(plan: Plan): Promise<void> {
  const world = new World(plan);
  const entries = new Map<string, string>();
  for (const [index, node] of plan.nodes.entries()) {
    void runNode(world, entries, { ...node, label: `n${index}-` });
  }
  await world.run();
  // A node that starts afterwards reads what is there now, cleans up, and reads the same again.
  const finals: Step[] = ['get', 'list', 'list', 'list', 'get'].flatMap((action) =>
    ['a', 'b'].map((key) => ({ action: action as Action, key })),
  );
  void runNode(world, entries, { steps: finals, diesAfter: 1e9, label: 'last-' });
  await world.run();
  for (const key of ['a', 'b']) {
    const events = world.events.filter((event) => event.key === key && event.action !== 'list');
    assert.ok(fits(events), `no order fits: ${JSON.stringify(events, null, 1)}`);
  }
  checkClean(entries);
}

/** After the last list nothing lies there but keys with all their changes, and what destroyed keys left. */
function checkClean(entries: ReadonlyMap<string, string>): void {
  for (const entry of entries.keys()) {
    const [, name = '', companion] = /^(.)(--.*-)?$/.exec(entry) ?? [];
    const isDestroyed = entries.has(`${name}--destroyed-`);
    if (companion === undefined) assert.ok(!isDestroyed, `${entry} beside its destroyed entry`);
    else if (companion !== '--destroyed-') assert.ok(entries.has(name) && !isDestroyed, entry);
  }
}

test('whatever three nodes do and wherever they die, no key forks, comes back or falls back', async () => {
  const seed = Number(process.env['COFFER_SEED'] ?? Date.now() & 0x7fffffff);
  console.log(`seed ${seed}`);
  const numRuns = Number(process.env['COFFER_RUNS'] ?? 400);
  await fc.assert(fc.asyncProperty(plans, check), { seed, numRuns, endOnFailure: false });
});
