// What is drawn, as runs. A pixel belongs to a shape if its middle does; points are {x, y} in pixels of the picture.

import { fromIntervals } from "./runs.js";

/** The pixels [top, bottom) of a column whose middles lie between two heights. */
function column(intervals, x, from, to, height) {
  const top = Math.max(Math.ceil(from - 0.5), 0), bottom = Math.min(Math.floor(to - 0.5) + 1, height);
  if (top < bottom) intervals.push([x * height + top, x * height + bottom]);
}

/** A stroke of a round brush along points. radius: 0.5 paints single pixels. */
export function stroke(points, radius, height, width) {
  const path = radius < 1 ? points.map(({ x, y }) => ({ x: Math.floor(x) + 0.5, y: Math.floor(y) + 0.5 })) : points;
  const intervals = [];
  if (path.length === 1) capsule(intervals, path[0], path[0], radius, height, width);
  for (let i = 1; i < path.length; i += 1) capsule(intervals, path[i - 1], path[i], radius, height, width);
  return fromIntervals(intervals);
}

/** Everything within `radius` of the line from p to q. */
function capsule(intervals, p, q, radius, height, width) {
  const length = Math.hypot(q.x - p.x, q.y - p.y) || 1;
  const across = { x: -(q.y - p.y) / length * radius, y: (q.x - p.x) / length * radius };
  const sides = p === q ? [] : [-1, 1].map((sign) => [
    { x: p.x + sign * across.x, y: p.y + sign * across.y }, { x: q.x + sign * across.x, y: q.y + sign * across.y },
  ]);
  const first = Math.max(Math.ceil(Math.min(p.x, q.x) - radius - 0.5), 0);
  const last = Math.min(Math.floor(Math.max(p.x, q.x) + radius - 0.5), width - 1);
  for (let x = first; x <= last; x += 1) {
    let from = Infinity, to = -Infinity;
    for (const end of [p, q]) {
      const reach = radius * radius - (x + 0.5 - end.x) ** 2;
      if (reach < 0) continue;
      from = Math.min(from, end.y - Math.sqrt(reach));
      to = Math.max(to, end.y + Math.sqrt(reach));
    }
    for (const [a, b] of sides) {
      const along = (x + 0.5 - a.x) / (b.x - a.x);
      if (!(along >= 0 && along <= 1)) continue;
      from = Math.min(from, a.y + along * (b.y - a.y));
      to = Math.max(to, a.y + along * (b.y - a.y));
    }
    column(intervals, x, from, to, height);
  }
}

/** The inside of a closed outline; where it crosses itself, by turns. */
export function polygon(points, height, width) {
  const intervals = [];
  const xs = points.map((point) => point.x);
  const first = Math.max(Math.ceil(Math.min(...xs) - 0.5), 0), last = Math.min(Math.floor(Math.max(...xs) - 0.5), width - 1);
  for (let x = first; x <= last; x += 1) {
    const crossings = [];
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      if (a.x <= x + 0.5 !== b.x <= x + 0.5) crossings.push(a.y + (x + 0.5 - a.x) / (b.x - a.x) * (b.y - a.y));
    });
    crossings.sort((one, other) => one - other);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const top = Math.max(Math.ceil(crossings[i] - 0.5), 0), bottom = Math.min(Math.ceil(crossings[i + 1] - 0.5), height);
      if (top < bottom) intervals.push([x * height + top, x * height + bottom]);
    }
  }
  return fromIntervals(intervals);
}

/** Whole pixels from one corner to the other, both included. */
export function box(p, q, height, width) {
  const left = Math.max(Math.floor(Math.min(p.x, q.x)), 0), right = Math.min(Math.floor(Math.max(p.x, q.x)), width - 1);
  const top = Math.max(Math.floor(Math.min(p.y, q.y)), 0), bottom = Math.min(Math.floor(Math.max(p.y, q.y)), height - 1);
  const intervals = [];
  for (let x = left; x <= right; x += 1) intervals.push([x * height + top, x * height + bottom + 1]);
  return fromIntervals(intervals);
}
