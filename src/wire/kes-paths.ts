// Where a call of the protocol goes: its method and its percent-encoded path, from the table of routes.
// Servers of any age take POST for what older clients sent that way, and PUT for the rest.

import type { KesRouteName } from './kes.ts';
import { kesRoutes } from './kes.ts';

/** Method and path of one request. */
export type KesTarget = { readonly method: string; readonly path: string };

/** The path of a route up to its resource. Throws TypeError for a name that is no route. */
export function kesRoutePrefix(name: KesRouteName): string {
  const route = kesRoutes.find((each) => each.name === name);
  if (!route) throw new TypeError(`no route ${name}`);
  return route.prefix;
}

/** The path of a route with its resource. */
export function kesPath(name: KesRouteName, resource = ''): string {
  return kesRoutePrefix(name) + encodeURIComponent(resource).replaceAll('*', '%2A');
}

/** A call that asks. */
export function kesGet(name: KesRouteName, resource?: string): KesTarget {
  return { method: 'GET', path: kesPath(name, resource) };
}

/** For create, import, generate, encrypt and decrypt. */
export function kesPost(name: KesRouteName, resource: string): KesTarget {
  return { method: 'POST', path: kesPath(name, resource) };
}

/** For everything else that acts. */
export function kesPut(name: KesRouteName, resource: string): KesTarget {
  return { method: 'PUT', path: kesPath(name, resource) };
}

/** Reads an endpoint; throws TypeError, without any user information, unless it is an https URL without a path. */
export function parseKesEndpoint(text: string): URL {
  const trimmed = text.trim();
  if (trimmed.includes('@')) {
    throw new TypeError('kes: invalid server endpoint: a user name or password is not allowed');
  }
  const url = URL.parse(trimmed);
  if (!url || url.protocol !== 'https:' || url.hostname === '') {
    throw new TypeError(`kes: invalid server endpoint '${trimmed}': expected https://host:port`);
  }
  if (url.search !== '' || url.pathname !== '/') {
    throw new TypeError(
      `kes: invalid server endpoint '${url.origin}': nothing may follow the port`,
    );
  }
  return url;
}
