/** Which page an address leads to. */

export type Found<R> =
  | { kind: 'page'; route: R }
  | { kind: 'host'; id: string }
  /** The settings have no page of their own: the first one that the user may see stands for them. */
  | { kind: 'settings' }
  | { kind: 'nothing' };

/** A host's page, `/hosts/{id}`. */
const HOST = /^\/hosts\/([^/]+)$/;

export function pageAt<R extends { path: string }>(address: string, routes: readonly R[]): Found<R> {
  const path = address.length > 1 ? address.replace(/\/+$/, '') : address;
  if (path === '/settings') return { kind: 'settings' };
  const route = routes.find((route) => route.path === path);
  if (route) return { kind: 'page', route };
  const id = HOST.exec(path)?.[1];
  return id === undefined ? { kind: 'nothing' } : { kind: 'host', id: decoded(id) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
