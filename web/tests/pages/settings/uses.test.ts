import { expect, test } from 'vitest';

import { typedCap, usesText } from '../../../src/pages/settings/enrollment/uses';

test.each([
  [0, null, 'None yet'],
  [3, null, '3'],
  [0, 5, '0 / 5'],
  [5, 5, '5 / 5'],
])('a secret used %i times, of %s, says so: %s', (uses, max_uses, said) => {
  expect(usesText({ uses, max_uses })).toBe(said);
});

test.each([
  ['', undefined],
  ['  ', undefined],
  ['5', 5],
  [' 5 ', 5],
  ['0', 0],
  ['-1', -1],
  ['five', 'five'],
  ['1.5', '1.5'],
  ['1e3', '1e3'],
])('a cap typed as %j is sent as %j, for the server to judge', (text, sent) => {
  expect(typedCap(text)).toBe(sent);
});
