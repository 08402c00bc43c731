/** The life of a host's certificate, and what follows from where it is: pure, so that it can be tried at any time. */
import type { Host } from '../../api/types';
import { fromNow } from '../../times';

/** Agents renew after two thirds of a certificate's life. */
const RENEWS_AT = 2 / 3;
/** From here on the server calls it overdue. */
const OVERDUE_AT = 3 / 4;

export interface Life {
  issued: number;
  renews: number;
  overdue: number;
  ends: number;
  /** Where the present is, from 0 at the issue to 1 at the end; beyond 1 it is over. */
  now: number;
}

export function life(host: Host, now: number): Life | null {
  const issued = Date.parse(host.svid_issued_at);
  const ends = Date.parse(host.svid_not_after);
  const span = ends - issued;
  if (!(span > 0)) return null;
  return {
    issued,
    renews: issued + span * RENEWS_AT,
    overdue: issued + span * OVERDUE_AT,
    ends,
    now: (now - issued) / span,
  };
}

export interface Explanation {
  kind: 'info' | 'warning' | 'failure';
  /** What is the matter. */
  title: string;
  /** Whether it comes back by itself, and what to do if not. */
  text: string;
  /** Whether a join token that names it is what brings it back. */
  token: boolean;
}

/** Why a host is not there, and whether it can come back by itself. Nothing, where there is nothing to explain. */
export function explain(host: Host, now: number): Explanation | null {
  if (host.state === 'decommissioned' || host.state === 'revoked') return null;
  const at = life(host, now);
  const over = at !== null && at.now >= 1;
  if (host.state === 'never_reported') {
    return {
      kind: over ? 'failure' : 'warning',
      title: 'It has a certificate, and no agent has ever reported from there.',
      text: over
        ? 'That certificate has expired meanwhile. Enroll the machine again, and let the agent run as a service.'
        : 'Start the agent on the machine: “muster agent install” makes it a service.',
      token: over,
    };
  }
  if (host.status === 'online') {
    if (at === null || at.now < OVERDUE_AT || over) return null;
    return {
      kind: 'warning',
      title: 'It reports, and has not renewed its certificate although it was time.',
      text: `Something refuses it: “muster agent status” on the machine says what. Unless it renews, it is left outside ${fromNow(host.svid_not_after, now)}.`,
      token: false,
    };
  }
  const silent = host.last_seen === null ? '' : ` It was heard of last ${fromNow(host.last_seen, now)}.`;
  if (over) {
    return {
      kind: 'failure',
      title: 'It is offline, and can’t come back by itself.',
      text: `Its certificate expired ${fromNow(host.svid_not_after, now)}.${silent} A join token that names it brings it back, unless the server itself was the cause: then it may renew all the same.`,
      token: true,
    };
  }
  return {
    kind: 'info',
    title: 'It is offline, and comes back by itself once it runs.',
    text: `Its certificate is good until then: it ends ${fromNow(host.svid_not_after, now)}.${silent} Look whether the machine is on, the agent runs, and the network reaches this server.`,
    token: false,
  };
}

/** A text as a shell takes it as one word. */
export function quoted(text: string): string {
  return /^[\w.:/@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The same from the shell. */
export function commands(host: Host): { what: string; line: string }[] {
  const id = quoted(host.id);
  const token = {
    what: 'A token that lets it in again',
    line: `muster enroll-token --agent ${quoted(host.agent_id)}`,
  };
  const rest =
    host.decommissioned_at === null
      ? [{ what: 'Take it out of service', line: `muster host decommission ${id}` }, token]
      : [{ what: 'Let it come back', line: `muster host re-enable ${id}` }, token];
  return [
    { what: 'This page', line: `muster host show ${id}` },
    { what: 'Its certificates', line: `muster enrollment list ${id}` },
    { what: 'Tag it', line: `muster host tag ${id} --add role:web` },
    ...rest,
  ];
}
