/** What an operator pastes on the machine that is to join. */

/** The server as hosts reach it: the page's own address, which always names its port in a join link. */
export function hostAndPort(at: { hostname: string; port: string }): string {
  return `${at.hostname}:${at.port || '443'}`;
}

export function joinLink(server: string, pin: string | null, token: string): string {
  return `muster://${server}/${pin ? `?pin=${pin}` : ''}#${token}`;
}

/** Quoted, because the shell would drop what follows the `#`. */
export function enrollCommand(link: string): string {
  return `muster agent enroll '${link}' --dir /var/lib/muster-agent/identity`;
}
