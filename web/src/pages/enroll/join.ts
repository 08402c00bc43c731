/** What an operator pastes on the machine that is to join. */

/** The page's own address as hosts reach it; a join link always names its port. */
function hostAndPort(at: { hostname: string; port: string }): string {
  return `${at.hostname}:${at.port || '443'}`;
}

/**
 * The server that hosts are told: the address that it gives out, unless that is known to this machine alone and
 * the page came from elsewhere.
 */
export function serverFor(told: string | null, page: { hostname: string; port: string }): string {
  const given = told === null || !URL.canParse(told) ? null : new URL(told);
  if (given === null || (isLoopback(given.hostname) && !isLoopback(page.hostname))) return hostAndPort(page);
  return hostAndPort(given);
}

/** Whether an address leads each machine to itself. */
export function isLoopback(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  return (
    name === 'localhost' || name.endsWith('.localhost') || name === '::1' || /^127(\.\d+){3}$/.test(name)
  );
}

export function joinLink(server: string, pin: string | null, token: string): string {
  return `muster://${server}/${pin ? `?pin=${pin}` : ''}#${token}`;
}

/** A text as one word of a shell, which would drop what follows the `#` of a link. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** The server's own line that brings the program along, with the address that hosts are told here. */
export function withProgram(line: string | null, told: string | null, server: string): string | null {
  if (line === null || told === null || !URL.canParse(told)) return null;
  return line.replaceAll(hostAndPort(new URL(told)), server);
}

/** Enrolls, and runs the agent as a service from then on. */
export function serviceCommand(link: string): string {
  return `sudo muster agent install ${quoted(link)}`;
}

/** Enrolls, and runs nothing. */
export function enrollCommand(link: string): string {
  return `muster agent enroll ${quoted(link)} --dir /var/lib/muster-agent/identity`;
}

/** Enrolls if there is no identity yet, and runs the agent in the foreground, as a container does. */
export function containerCommand(link: string): string {
  const dir = '/var/lib/muster-agent/identity';
  return `test -e ${dir} || muster agent enroll ${quoted(link)} --dir ${dir} && exec muster agent run --dir ${dir}`;
}
