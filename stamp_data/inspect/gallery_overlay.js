// Drawing targets over a picture, as SVG in the picture's own pixels: sharp at any size, and the browser finds what is hovered.

const FULL = 254; // label of a patch that is wholly covered
const IGNORE = 255; // label of a patch that does not count
let lastCut = 0;

/** The overlay of some targets of a record, or null where there is nothing to draw. shown: indices of targets. */
function overlay(record, shown, mode, opacity) {
  if (mode === "none" || !record.width) return null;
  const targets = shown.map((index) => ({ ...record.targets[index], index })).filter((target) => target.path);
  targets.sort((a, b) => b.pixels - a.pixels); // the small ones lie on top
  const layer = maskLayer(record, mode);
  const draw = { mask: drawMasks, outline: drawOutlines, cutout: drawCutout, grid: drawGrid, diff: drawDiff }[mode];
  draw(layer, record, targets, opacity);
  return layer;
}

function drawMasks(layer, record, targets, opacity) {
  drawOutlined(layer, targets, opacity, record.overlaps);
  for (const target of targets) {
    if (target.ignore) layer.append(svg("path", { d: target.ignore, "fill-rule": "evenodd", fill: "#888", "fill-opacity": 0.5, class: "ignored" }));
  }
}

/** Nothing is filled, and all of it can be hovered. */
function drawOutlines(layer, record, targets) {
  drawOutlined(layer, targets, 0);
}

/** Everything but the masks fades. A union of shapes cannot be one even-odd path, hence the mask element. */
function drawCutout(layer, record, targets) {
  const id = `hole-${(lastCut += 1)}`;
  const frame = { width: record.width, height: record.height };
  const hole = svg("mask", { id, maskUnits: "userSpaceOnUse", x: 0, y: 0, ...frame }, svg("rect", { ...frame, fill: "white" }));
  for (const target of targets) hole.append(shape(target, { fill: "black" }));
  layer.append(svg("defs", {}, hole), svg("rect", { ...frame, class: "veil", mask: `url(#${id})` }));
}

/** Labels of the patches of a target that are not 0: [row, column, label]. */
function patches(target) {
  const window = target.labels;
  if (!window) return [];
  const bytes = Uint8Array.from(atob(window.data), (letter) => letter.charCodeAt(0));
  const found = [];
  bytes.forEach((label, place) => {
    if (label) found.push([window.top + Math.floor(place / window.width), window.left + (place % window.width), label]);
  });
  return found;
}

function drawGrid(layer, record, targets, opacity) {
  const [rows, columns] = record.grid;
  const [wide, high] = [record.width / columns, record.height / rows];
  const strength = Math.min(1, opacity + 0.35);
  for (const target of targets) {
    for (const [row, column, label] of patches(target)) {
      const place = { x: column * wide, y: row * high, width: wide, height: high };
      const ignored = label === IGNORE;
      const shade = ignored ? 0.5 : strength * (label / FULL);
      layer.append(svg("rect", { ...place, fill: ignored ? "#888" : target.colour, "fill-opacity": shade.toFixed(3), "data-target": target.index }));
    }
  }
  layer.append(gridLines(record));
  for (const target of targets) layer.append(shape(target, { fill: "none", stroke: target.colour, class: "edge" }));
}

function gridLines(record) {
  const [rows, columns] = record.grid;
  let path = "";
  for (let row = 1; row < rows; row += 1) path += `M0 ${(row * record.height) / rows}H${record.width}`;
  for (let column = 1; column < columns; column += 1) path += `M${(column * record.width) / columns} 0V${record.height}`;
  return svg("path", { d: path, class: "lines" });
}

/** Patches that are at least half covered, as one path. Runs within a row are one rectangle, so that no seams show. */
function patchPath(record, target) {
  const [rows, columns] = record.grid;
  const across = (column) => (column * record.width) / columns;
  const down = (row) => (row * record.height) / rows;
  let path = "";
  let run = null;
  const close = () => {
    if (run) path += `M${across(run.start)} ${down(run.row)}H${across(run.end)}V${down(run.row + 1)}H${across(run.start)}z`;
  };
  for (const [row, column, label] of patches(target)) {
    if (label === IGNORE || 2 * label < FULL) continue;
    if (run && run.row === row && run.end === column) run.end += 1;
    else {
      close();
      run = { row, start: column, end: column + 1 };
    }
  }
  close();
  return path;
}

/** What the patches miss of the mask, and what they add to it: each shape clipped by the inverse of the other. */
function drawDiff(layer, record, targets, opacity) {
  const frame = `M0 0H${record.width}V${record.height}H0z`;
  const strength = Math.min(1, opacity + 0.4);
  const defs = svg("defs");
  layer.append(defs);
  const without = (path) => {
    const id = `without-${(lastCut += 1)}`;
    defs.append(svg("clipPath", { id }, svg("path", { d: frame + path, "clip-rule": "evenodd" })));
    return `url(#${id})`;
  };
  for (const target of targets) {
    const blocks = patchPath(record, target);
    layer.append(
      shape(target, { fill: DATA.colours.missed, "fill-opacity": strength, "clip-path": without(blocks) }),
      svg("path", {
        d: blocks, fill: DATA.colours.extra, "fill-opacity": strength, "clip-path": without(target.path),
        "shape-rendering": "crispEdges",
      }),
      shape(target, { fill: "none", class: "edge white" }));
  }
}

/** Coverage of the patch at a point of the picture (0–1 across and down): "patch 12, 20 · 63%", "" if none is covered. */
function patchAt(record, shown, across, down) {
  const [rows, columns] = record.grid;
  const [row, column] = [Math.floor(down * rows), Math.floor(across * columns)];
  const parts = [];
  for (const index of shown) {
    const label = patches(record.targets[index]).find(([i, j]) => i === row && j === column)?.[2];
    if (label) parts.push(label === IGNORE ? "ignored" : `${Math.round((100 * label) / FULL)}%`);
  }
  return `Patch ${row}, ${column}: ${parts.join(" + ") || "0%"}`;
}
