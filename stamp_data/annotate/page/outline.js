// The outline of a mask as a path, sharp at any zoom: edges of pixels with the mask on the right hand, chained into loops.

import { eachColumn } from "./runs.js";

/** A Path2D in pixels of the picture, to be filled by `evenodd`. */
export function outline(runs, height) {
  const path = new Path2D();
  const edges = edgesOf(runs, height);
  for (const start of [...edges.keys()]) {
    while (edges.has(start)) {
      let at = start, before = null;
      path.moveTo(Math.floor(at / (height + 1)), at % (height + 1));
      do {
        const next = taken(edges, at);
        if (before !== null && !isStraight(before, at, next, height)) path.lineTo(Math.floor(at / (height + 1)), at % (height + 1));
        before = at;
        at = next;
      } while (at !== start);
      path.closePath();
    }
  }
  return path;
}

function taken(edges, at) {
  const ends = edges.get(at), next = ends.pop();
  if (!ends.length) edges.delete(at);
  return next;
}

/** Corners are x · (height + 1) + y, so that steps across and down differ. */
function isStraight(a, b, c, height) {
  const across = (p, q) => Math.floor(p / (height + 1)) - Math.floor(q / (height + 1));
  return (across(a, b) === 0) === (across(b, c) === 0);
}

function edgesOf(runs, height) {
  const edges = new Map();
  const add = (x, y, toX, toY) => {
    const from = x * (height + 1) + y, to = toX * (height + 1) + toY;
    if (edges.has(from)) edges.get(from).push(to);
    else edges.set(from, [to]);
  };
  let column = -1, places = [], before = [];
  const close = (next) => {
    if (column < 0) return;
    upright(before, places, column, add);
    if (next !== column + 1) upright(places, [], column + 1, add);
    before = next === column + 1 ? places : [];
    places = [];
  };
  eachColumn(runs, height, (x, top, bottom) => {
    if (x !== column) {
      close(x);
      column = x;
    }
    places.push(top, bottom);
    add(x, top, x + 1, top);
    add(x + 1, bottom, x, bottom);
  });
  close(-1);
  return edges;
}

/** Edges between a column and the one before it: up where the mask begins, down where it ends. */
function upright(left, right, x, add) {
  let i = 0, j = 0, from = 0, side = 0;
  while (i < left.length || j < right.length) {
    const y = Math.min(i < left.length ? left[i] : Infinity, j < right.length ? right[j] : Infinity);
    if (left[i] === y) i += 1;
    if (right[j] === y) j += 1;
    const now = (i % 2) - (j % 2);
    if (now === side) continue;
    if (side > 0) add(x, from, x, y);
    if (side < 0) add(x, y, x, from);
    side = now;
    from = y;
  }
}
