// Where the path and the query of a request target are. Routing and signatures use this one rule: were
// there two, a request could be signed for one path and served for another.

/** The two parts of a request target, as received. */
export type SplitTarget = {
  /** Begins with `/`. */
  readonly path: string;
  /** Without `?`. */
  readonly query: string;
};

/**
 * Splits a request target: a path with an optional query, or the same behind `http://host` or
 * `https://host`. Undefined for every other form (`*`, `host:port`, other schemes).
 */
export function splitTarget(target: string): SplitTarget | undefined {
  let start = 0;
  if (!target.startsWith('/')) {
    const origin = /^https?:\/\/[^/?]*/i.exec(target)?.[0];
    if (origin === undefined) return undefined;
    start = origin.length;
  }
  const mark = target.indexOf('?', start);
  const path = target.slice(start, mark < 0 ? undefined : mark);
  return { path: path === '' ? '/' : path, query: mark < 0 ? '' : target.slice(mark + 1) };
}
