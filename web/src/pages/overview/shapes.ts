/** Numbers as places in a drawing. Pure: what is drawn can be tried without a browser. */

export interface Point {
  x: number;
  y: number;
}

/** A drawing's inner size. */
export interface Box {
  width: number;
  height: number;
}

const round = (value: number) => Math.round(value * 10) / 10;

/** A line through points; a gap where two are further apart than `gap`. */
export function linePath(points: readonly Point[], gap: number): string {
  return points
    .map((point, at) => {
      const before = points[at - 1];
      const begins = before === undefined || point.x - before.x > gap;
      const after = points[at + 1];
      const alone = begins && (after === undefined || after.x - point.x > gap);
      const place = `${round(point.x)} ${round(point.y)}`;
      // A point by itself is drawn as a line to itself, which round ends make a dot.
      return `${begins ? 'M' : 'L'}${place}${alone ? `L${place}` : ''}`;
    })
    .join('');
}

/** The same, filled down to the bottom, piece by piece. */
export function areaPath(points: readonly Point[], gap: number, bottom: number): string {
  const pieces: Point[][] = [];
  for (const point of points) {
    const piece = pieces.at(-1);
    const last = piece?.at(-1);
    if (piece && last && point.x - last.x <= gap) piece.push(point);
    else pieces.push([point]);
  }
  return pieces
    .map((piece) => {
      const first = piece[0];
      const last = piece.at(-1);
      if (!first || !last) return '';
      const top = piece.map(({ x, y }) => `L${round(x)} ${round(y)}`).join('');
      return `M${round(first.x)} ${bottom}${top}L${round(last.x)} ${bottom}Z`;
    })
    .join('');
}

/** The beginnings of the days within a span, by the browser's zone. */
export function midnights(from: number, until: number): number[] {
  const found: number[] = [];
  const day = new Date(until);
  for (day.setHours(0, 0, 0, 0); day.getTime() > from; day.setDate(day.getDate() - 1))
    found.push(day.getTime());
  return found.reverse();
}

export interface Moment {
  at: string;
  online: number;
  total: number;
}

/** The line of those online, and of all there were, over a span of time. */
export function overTime(
  moments: readonly Moment[],
  from: number,
  until: number,
  { width, height }: Box,
): { online: Point[]; total: Point[]; most: number } {
  const most = Math.max(1, ...moments.map(({ total }) => total));
  const place = (at: string, count: number): Point => ({
    x: ((Date.parse(at) - from) / (until - from)) * width,
    y: height - (count / most) * height,
  });
  return {
    online: moments.map(({ at, online }) => place(at, online)),
    total: moments.map(({ at, total }) => place(at, total)),
    most,
  };
}

/** Which share of the agents would still be let in, step by step, if the server stopped now. */
export function survivalSteps(survival: readonly string[], now: number): { at: number; share: number }[] {
  const steps = survival.length - 1;
  if (steps < 0) return [];
  const falls = survival.map((at, step) => ({
    at: Math.max(now, Date.parse(at)),
    share: steps === 0 ? 0 : 1 - step / steps,
  }));
  return [{ at: now, share: 1 }, ...falls];
}

/** Steps as the corners of a line that falls where something happens and is level between. */
export function corners(
  steps: readonly { at: number; share: number }[],
  from: number,
  until: number,
  { width, height }: Box,
): Point[] {
  const x = (at: number) => (until > from ? ((at - from) / (until - from)) * width : 0);
  const y = (share: number) => height - share * height;
  return steps.flatMap(({ at, share }, index) => {
    const before = steps[index - 1];
    const here = { x: x(at), y: y(share) };
    return before ? [{ x: x(at), y: y(before.share) }, here] : [here];
  });
}

/** Days from now on an axis on which a week and ten years both can be seen, from 0 to 1. */
export function axisPlace(days: number, most: number): number {
  if (days <= 0) return 0;
  return Math.min(1, Math.log1p(days) / Math.log1p(most));
}

/** The marks of that axis that are within it. */
export function axisTicks(most: number): { days: number; label: string }[] {
  const all = [
    { days: 0, label: 'now' },
    { days: 7, label: '1 week' },
    { days: 60, label: '60 days' },
    { days: 365, label: '1 year' },
    { days: 3650, label: '10 years' },
  ];
  return all.filter(({ days }) => days <= most * 1.02);
}
