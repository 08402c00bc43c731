import { expect, test } from 'vitest';

import {
  areaPath,
  axisPlace,
  axisTicks,
  corners,
  linePath,
  midnights,
  overTime,
  survivalSteps,
} from '../../../src/pages/overview/shapes';

const at = (hour: number) => new Date(Date.UTC(2026, 0, 1, hour)).toISOString();
const ms = (hour: number) => Date.UTC(2026, 0, 1, hour);

test('a line has a gap where nobody looked, and the area below it, too', () => {
  const points = [
    { x: 0, y: 10 },
    { x: 5, y: 0 },
    { x: 50, y: 5 },
    { x: 54.26, y: 5 },
  ];
  expect(linePath(points, 10)).toBe('M0 10L5 0M50 5L54.3 5');
  expect(areaPath(points, 10, 20)).toBe('M0 20L0 10L5 0L5 20ZM50 20L50 5L54.3 5L54.3 20Z');
  expect(linePath([{ x: 1, y: 2 }], 10)).toBe('M1 2L1 2');
  expect(linePath([], 10)).toBe('');
  expect(areaPath([], 10, 20)).toBe('');
});

test('counts are placed by time, below the most there were', () => {
  const moments = [
    { at: at(0), online: 2, total: 4 },
    { at: at(5), online: 0, total: 2 },
  ];
  const { online, total, most } = overTime(moments, ms(0), ms(10), { width: 100, height: 40 });
  expect(most).toBe(4);
  expect(online).toEqual([
    { x: 0, y: 20 },
    { x: 50, y: 40 },
  ]);
  expect(total.map(({ y }) => y)).toEqual([0, 20]);
  expect(overTime([], ms(0), ms(1), { width: 1, height: 1 }).most).toBe(1);
});

test('the survival curve begins with all and ends with none', () => {
  expect(survivalSteps([], ms(0))).toEqual([]);
  const steps = survivalSteps([at(1), at(2), at(4)], ms(0));
  expect(steps.map(({ share }) => share)).toEqual([1, 1, 0.5, 0]);
  const line = corners(steps, ms(0), ms(4), { width: 400, height: 100 });
  expect(line.at(0)).toEqual({ x: 0, y: 0 });
  expect(line.at(-1)).toEqual({ x: 400, y: 100 });
  // It falls straight down, and never rises.
  for (const [index, point] of line.entries())
    expect(point.y).toBeGreaterThanOrEqual(line[index - 1]?.y ?? 0);
  // One agent; and one whose end is now.
  expect(survivalSteps([at(1)], ms(0)).at(-1)).toEqual({ at: ms(1), share: 0 });
  expect(corners(survivalSteps([at(0)], ms(0)), ms(0), ms(0), { width: 1, height: 1 }).at(-1)).toEqual({
    x: 0,
    y: 1,
  });
});

test('a week and ten years both have their place on one axis', () => {
  expect(axisPlace(-3, 3650)).toBe(0);
  expect(axisPlace(3650, 3650)).toBe(1);
  expect(axisPlace(7, 3650)).toBeGreaterThan(0.2);
  expect(axisPlace(9999, 3650)).toBe(1);
  expect(axisTicks(400).map(({ label }) => label)).toEqual(['now', '1 week', '60 days', '1 year']);
});

test('days begin at midnight, also where a day has 23 hours', () => {
  const days = midnights(Date.UTC(2026, 2, 27, 12), Date.UTC(2026, 2, 30, 12));
  expect(days.map((day) => new Date(day).getHours())).toEqual([0, 0, 0]);
  expect((days[2] ?? 0) - (days[1] ?? 0)).toBe(23 * 3_600_000);
});
