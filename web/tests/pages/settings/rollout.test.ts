import { expect, test } from 'vitest';

import { recipes } from '../../../src/pages/settings/enrollment/rollout';

const LINK = "muster://m.example:8443/?pin=ab#mes_a_b'c";

test('each way has the link, and none has it on a command line that others see', () => {
  const all = recipes(LINK);
  expect(all.map(({ name }) => name)).toEqual(['Shell', 'Ansible', 'cloud-init', 'Container']);
  for (const { text } of all) {
    for (const line of text.split('\n')) {
      if (/muster agent (install|enroll)/.test(line)) expect(line).toMatch(/--link-file/);
    }
  }
  // `printf` is the shell's own, so no other user sees its words.
  expect(all[0]?.text).toBe(
    `printf '%s\\n' 'muster://m.example:8443/?pin=ab#mes_a_b'\\''c' | sudo muster agent install --link-file -`,
  );
  expect(all[2]?.text).toContain(`\n      ${LINK}\n`);
});
