import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import {
  containerCommand,
  enrollCommand,
  isLoopback,
  joinLink,
  serverFor,
  serviceCommand,
  withProgram,
} from '../../../src/pages/enroll/join';

describe('hosts are told a server that they can reach', () => {
  const away = { hostname: 'muster.example', port: '8443' };
  const here = { hostname: 'localhost', port: '8443' };
  test.each([
    ['the address that the server gives out', 'https://fleet.example:9443', away, 'fleet.example:9443'],
    ['with its port even where that is the usual one', 'https://fleet.example', away, 'fleet.example:443'],
    ['in brackets where it is one of IPv6', 'https://[2001:db8::1]:8443', away, '[2001:db8::1]:8443'],
    ['the page’s own where the server knows none', null, away, 'muster.example:8443'],
    ['the page’s own where what it gives out is none', 'fleet', away, 'muster.example:8443'],
    [
      'the page’s own instead of one that leads nowhere',
      'https://127.0.0.1:8443',
      away,
      'muster.example:8443',
    ],
    ['the machine itself when that is all there is', 'https://127.0.0.1:9443', here, '127.0.0.1:9443'],
    [
      'the page’s own with the usual port',
      null,
      { hostname: 'muster.example', port: '' },
      'muster.example:443',
    ],
  ])('%s', (_, told, page, server) => {
    expect(serverFor(told, page)).toBe(server);
  });
});

test.each([
  ['localhost', true],
  ['LOCALHOST', true],
  ['web.localhost', true],
  ['127.0.0.1', true],
  ['127.8.0.1', true],
  ['[::1]', true],
  ['::1', true],
  ['10.0.0.1', false],
  ['localhost.example', false],
  ['127.example', false],
  ['[::2]', false],
])('%s leads each machine to itself: %s', (hostname, loopback) => {
  expect(isLoopback(hostname)).toBe(loopback);
});

test('a join link carries the server’s pin where there is one', () => {
  expect(joinLink('muster.example:8443', 'ab12', 'mjt_x')).toBe(
    'muster://muster.example:8443/?pin=ab12#mjt_x',
  );
  expect(joinLink('muster.example:8443', null, 'mjt_x')).toBe('muster://muster.example:8443/#mjt_x');
});

/** Runs a command where `muster` and `sudo` say what they were given, a word a line; `muster agent enroll` may fail. */
function saidBy(command: string, { enrolled = false, enrolls = true } = {}): string[] {
  const dir = mkdtempSync(join(tmpdir(), 'muster-join-'));
  try {
    const double = `#!/bin/sh\nprintf '%s\\n' "$@"\n[ "$2" = run ] || ${enrolls}\n`;
    for (const name of ['muster', 'sudo']) writeFileSync(join(dir, name), double, { mode: 0o755 });
    const identity = join(dir, 'identity');
    if (enrolled) mkdirSync(identity);
    const here = command.replaceAll('/var/lib/muster-agent/identity', identity);
    const { stdout } = spawnSync('sh', ['-c', here], {
      encoding: 'utf8',
      env: { PATH: `${dir}:${process.env.PATH}` },
    });
    return stdout.trim().split('\n');
  } finally {
    rmSync(dir, { recursive: true });
  }
}

describe('a pasted command hands the whole link to the program, whatever stands in it', () => {
  const LINKS = ['muster://h:1/?pin=a#mjt_x', "muster://h:1/#it's", 'muster://h:1/#$(false) `x` "y" \\ !z'];
  const COMMANDS = { serviceCommand, enrollCommand, containerCommand };
  test.each(
    Object.entries(COMMANDS).flatMap(([name, made]) => LINKS.map((link) => [name, link, made] as const)),
  )('%s of %s', (_, link, made) => {
    expect(saidBy(made(link))).toContain(link);
  });
});

test('a container enrolls once, and runs the agent unless that failed', () => {
  const verbs = (state: { enrolled?: boolean; enrolls?: boolean }) =>
    saidBy(containerCommand('muster://h:1/#x'), state).filter((word) => /^(enroll|run)$/.test(word));
  expect(verbs({ enrolled: false })).toEqual(['enroll', 'run']);
  expect(verbs({ enrolled: true })).toEqual(['run']);
  expect(verbs({ enrolls: false })).toEqual(['enroll']);
});

describe('the line that brings the program along', () => {
  const LINE = 'curl -k https://127.0.0.1:8443/get | sh -s -- muster://127.0.0.1:8443/#x';
  test('names the server as hosts reach it, everywhere', () => {
    expect(withProgram(LINE, 'https://127.0.0.1:8443', 'muster.example:8443')).toBe(
      'curl -k https://muster.example:8443/get | sh -s -- muster://muster.example:8443/#x',
    );
  });
  test.each([
    ['the server has none', null, 'https://127.0.0.1:8443'],
    ['it is not known whom it names', LINE, null],
    ['what it names is no address', LINE, 'muster'],
  ])('is not offered where %s', (_, line, told) => {
    expect(withProgram(line, told, 'muster.example:8443')).toBeNull();
  });
});
