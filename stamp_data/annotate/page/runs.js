// Masks as runs: [start, end, start, end, …] of places x · height + y, rising and apart, as in COCO's run lengths. Everything costs by
// the number of runs, not of pixels, so that pictures of 20 megapixels are no trouble.

/** The runs of {size: [height, width], counts}. */
export function decode({ counts }) {
  const runs = [];
  const lengths = [];
  for (let at = 0, place = 0; at < counts.length;) {
    let value = 0, digits = 0, more = true;
    while (more) {
      const code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << (5 * digits++);
      more = (code & 32) !== 0;
      if (!more && code & 16) value |= -1 << (5 * digits);
    }
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
    if (lengths.length % 2 === 0) runs.push([place, place + value]);
    place += value;
  }
  return fromIntervals(runs);
}

/** {size: [height, width], counts} of runs. */
export function encode(runs, height, width) {
  const lengths = [];
  let place = 0;
  for (let i = 0; i < runs.length; i += 2) {
    lengths.push(runs[i] - place, runs[i + 1] - runs[i]);
    place = runs[i + 1];
  }
  if (place < height * width) lengths.push(height * width - place);
  let counts = "";
  lengths.forEach((length, i) => {
    let value = i > 2 ? length - lengths[i - 2] : length, more = true;
    while (more) {
      const digit = value & 31;
      value >>= 5;
      more = digit & 16 ? value !== -1 : value !== 0;
      counts += String.fromCharCode(48 + digit + (more ? 32 : 0));
    }
  });
  return { size: [height, width], counts };
}

/** What is in either, in the first alone, in both. */
export const union = (a, b) => combined(a, b, (one, other) => one || other);
export const without = (a, b) => combined(a, b, (one, other) => one && !other);
export const common = (a, b) => combined(a, b, (one, other) => one && other);
export const rest = (runs, height, width) => without([0, height * width], runs);

function combined(a, b, keep) {
  const out = [];
  let i = 0, j = 0, inside = false;
  while (i < a.length || j < b.length) {
    const place = Math.min(i < a.length ? a[i] : Infinity, j < b.length ? b[j] : Infinity);
    if (a[i] === place) i += 1;
    if (b[j] === place) j += 1;
    if (keep(i % 2 === 1, j % 2 === 1) !== inside) {
      inside = !inside;
      out.push(place);
    }
  }
  return out;
}

/** Runs of intervals [start, end) in any order, overlapping or not. */
export function fromIntervals(intervals) {
  intervals.sort((one, other) => one[0] - other[0]);
  const runs = [];
  for (const [start, end] of intervals) {
    if (end <= start) continue;
    if (runs.length && start <= runs[runs.length - 1]) runs[runs.length - 1] = Math.max(runs[runs.length - 1], end);
    else runs.push(start, end);
  }
  return runs;
}

/** Call visit(x, top, bottom) for the part of every run in every column, in order. */
export function eachColumn(runs, height, visit) {
  for (let i = 0; i < runs.length; i += 2) {
    for (let start = runs[i]; start < runs[i + 1];) {
      const x = Math.floor(start / height), end = Math.min(runs[i + 1], (x + 1) * height);
      visit(x, start - x * height, end - x * height);
      start = end;
    }
  }
}

export function area(runs) {
  let pixels = 0;
  for (let i = 0; i < runs.length; i += 2) pixels += runs[i + 1] - runs[i];
  return pixels;
}

/** {left, top, right, bottom} in pixels, null of nothing. */
export function bounds(runs, height) {
  if (!runs.length) return null;
  const box = { left: Infinity, top: Infinity, right: 0, bottom: 0 };
  eachColumn(runs, height, (x, top, bottom) => {
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x + 1);
    box.top = Math.min(box.top, top);
    box.bottom = Math.max(box.bottom, bottom);
  });
  return box;
}

export function has(runs, x, y, height) {
  const place = x * height + y;
  let low = 0, high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle] <= place) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

/** A pixel more on every side. */
export function grown(runs, height, width) {
  const intervals = [], total = height * width;
  for (let i = 0; i < runs.length; i += 2) {
    intervals.push([Math.max(runs[i] - height, 0), runs[i + 1] - height], [runs[i] + height, Math.min(runs[i + 1] + height, total)]);
  }
  eachColumn(runs, height, (x, top, bottom) => {
    intervals.push([x * height + Math.max(top - 1, 0), x * height + Math.min(bottom + 1, height)]);
  });
  return fromIntervals(intervals);
}

/** A pixel less on every side, but for those of the picture. */
export const shrunk = (runs, height, width) => rest(grown(rest(runs, height, width), height, width), height, width);

/** The connected part (by sides of pixels) that holds (x, y), [] if that is outside. */
export function part(runs, x, y, height) {
  if (!has(runs, x, y, height)) return [];
  const columns = new Map();
  eachColumn(runs, height, (column, top, bottom) => {
    if (!columns.has(column)) columns.set(column, []);
    columns.get(column).push({ x: column, top, bottom, met: false });
  });
  const first = columns.get(x).find((run) => run.top <= y && y < run.bottom);
  first.met = true;
  const todo = [first], found = [];
  while (todo.length) {
    const run = todo.pop();
    found.push([run.x * height + run.top, run.x * height + run.bottom]);
    for (const beside of [run.x - 1, run.x + 1]) {
      for (const other of columns.get(beside) ?? []) {
        if (!other.met && other.top < run.bottom && run.top < other.bottom) {
          other.met = true;
          todo.push(other);
        }
      }
    }
  }
  return fromIntervals(found);
}

/** The hole of a mask that holds (x, y), or [] if that reaches the edge of the picture. */
export function hole(runs, x, y, height, width) {
  const found = part(rest(runs, height, width), x, y, height);
  const box = bounds(found, height);
  return !box || box.left === 0 || box.top === 0 || box.right === width || box.bottom === height ? [] : found;
}
