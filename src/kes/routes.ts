// From a path to a route. The table itself is `kesRoutes`; here it gets what a configuration changes about
// single routes, and a lookup that costs two map reads.

import { kesRoutes, type KesRouteName, type KesRouteSpec } from '../wire/kes.ts';
import type { KesApiConfig } from './config/config.ts';

export type KesRoute = KesRouteSpec & {
  readonly timeoutMs: number;
  /** Whether requests are counted and timed in the metrics. */
  readonly isCounted: boolean;
};

export type RouteMatch =
  | {
      readonly kind: 'route';
      readonly route: KesRoute;
      readonly path: string;
      readonly resource: string;
    }
  | { readonly kind: 'redirect'; readonly location: string }
  | { readonly kind: 'none' };

const notFound: RouteMatch = { kind: 'none' };

export class RouteTable {
  readonly routes: readonly KesRoute[];
  readonly #byPrefix: ReadonlyMap<string, KesRoute>;
  readonly #byName: ReadonlyMap<KesRouteName, KesRoute>;

  constructor(api: ReadonlyMap<string, KesApiConfig>) {
    this.routes = kesRoutes.map((spec) => withConfig(spec, api.get(spec.prefix)));
    this.#byPrefix = new Map(this.routes.map((route) => [route.prefix, route]));
    this.#byName = new Map(this.routes.map((route) => [route.name, route]));
  }

  /** The route of a name; undefined when this service does not have it. */
  find(name: KesRouteName): KesRoute | undefined {
    return this.#byName.get(name);
  }

  /** Finds the route of a request target, which may carry a query. */
  match(target: string): RouteMatch {
    const decoded = decodePath(target);
    if (decoded === undefined) return notFound;
    const cleaned = cleanPath(decoded);
    if (cleaned !== decoded) return { kind: 'redirect', location: encodeURI(cleaned) };
    return this.#matchClean(decoded);
  }

  #matchClean(path: string): RouteMatch {
    const exact = this.#byPrefix.get(path);
    if (exact !== undefined) return { kind: 'route', route: exact, path, resource: '' };
    // A resource route is three elements and a slash, or four: /v1/key/create/, /v1/key/bulk/decrypt/
    const third = endOfElements(path, 3);
    const found =
      this.#resourceRoute(path, third) ?? this.#resourceRoute(path, path.indexOf('/', third + 1));
    if (found !== undefined) return found;
    const withSlash = this.#byPrefix.get(`${path}/`);
    if (withSlash === undefined) return notFound;
    // Listing everything is asked for like this by the SDK; it is served as if it had the slash.
    if (withSlash.name.endsWith('-list')) {
      return { kind: 'route', route: withSlash, path: `${path}/`, resource: '' };
    }
    return { kind: 'redirect', location: `${encodeURI(path)}/` };
  }

  #resourceRoute(path: string, slash: number): RouteMatch | undefined {
    const route = slash < 0 ? undefined : this.#byPrefix.get(path.slice(0, slash + 1));
    return route && { kind: 'route', route, path, resource: path.slice(slash + 1) };
  }
}

/** The place of the slash after so many elements; -1 when there are fewer. */
function endOfElements(path: string, count: number): number {
  let end = 0;
  for (let slashes = 0; slashes < count && end >= 0; slashes += 1) end = path.indexOf('/', end + 1);
  return end;
}

function withConfig(spec: KesRouteSpec, config: KesApiConfig | undefined): KesRoute {
  const isCounted = /^(?:key|policy|identity)-/.test(spec.name) && spec.name !== 'key-batch';
  const timeoutMs = config?.timeoutMs ? config.timeoutMs : spec.timeoutSeconds * 1000;
  const auth = config?.skipAuth === true && spec.auth === 'policy' ? 'identify' : spec.auth;
  return { ...spec, timeoutMs, auth, isCounted };
}

function decodePath(target: string): string | undefined {
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

/** The path without empty, `.` and `..` elements; a final slash stays. */
function cleanPath(path: string): string {
  if (path.startsWith('/') && !path.includes('//') && !path.includes('/.')) return path;
  const kept: string[] = [];
  for (const element of path.split('/')) {
    if (element === '..') kept.pop();
    else if (element !== '' && element !== '.') kept.push(element);
  }
  const slash = kept.length > 0 && path.endsWith('/') ? '/' : '';
  return `/${kept.join('/')}${slash}`;
}
