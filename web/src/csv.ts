/** Comma-separated values (RFC 4180) that a spreadsheet opens without harm. */

/** Machines and people name themselves: what begins as a formula would be run by whoever opens the file. */
const FORMULA = /^[=+\-@\t\r]/;

function field(text: string | null): string {
  const plain = text ?? '';
  const safe = FORMULA.test(plain) ? `'${plain}` : plain;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function line(fields: readonly (string | null)[]): string {
  return `${fields.map(field).join(',')}\r\n`;
}
