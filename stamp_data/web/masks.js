// Masks over a picture, as SVG in the picture's own pixels: an outline with a light fill, and stripes where two of them lie.

import { svg } from "./dom.js";

let lastId = 0;

/** An empty layer over a picture of that size. */
export function maskLayer({ width, height }, name = "mask") {
  const layer = svg("svg", { class: `overlay ${name}`, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", preserveAspectRatio: "xMidYMid meet" });
  layer.addEventListener("pointerover", (event) => isolate(layer, event.target.dataset.target));
  layer.addEventListener("pointerleave", () => isolate(layer));
  return layer;
}

/** One mask's path, with whatever else is to be said of it. index: what it is found by. */
export const shape = (mask, props) => svg("path", { d: mask.path, "fill-rule": "evenodd", "data-target": mask.index, ...props });

/** Draw masks {path, colour, index}. pairs: of indices, of masks that share pixels. */
export function drawOutlined(layer, masks, opacity, pairs = []) {
  for (const mask of masks) layer.append(shape(mask, { fill: "none", class: "halo", "data-target": null, "data-of": mask.index }));
  for (const mask of masks) layer.append(shape(mask, { fill: mask.colour, "fill-opacity": opacity, stroke: mask.colour, class: "edge" }));
  const known = new Map(masks.map((mask) => [mask.index, mask]));
  const shared = pairs.map((pair) => pair.map((index) => known.get(index))).filter(([one, other]) => one && other);
  if (shared.length) layer.append(...shared.flatMap((pair) => stripes(layer.viewBox.baseVal, pair)));
}

/** Stripes of both colours where two masks lie. */
function stripes({ width, height }, [one, other]) {
  const side = Math.max(width, height) / 50, id = (lastId += 1);
  const bar = (colour, x) => svg("rect", { x, width: side / 2, height: side, fill: colour });
  return [
    svg("defs", {},
      svg("pattern", { id: `stripes-${id}`, width: side, height: side, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, bar(one.colour, 0), bar(other.colour, side / 2)),
      svg("clipPath", { id: `within-${id}` }, svg("path", { d: one.path, "clip-rule": "evenodd" }))),
    svg("path", { d: other.path, "fill-rule": "evenodd", fill: `url(#stripes-${id})`, "fill-opacity": 0.45, "clip-path": `url(#within-${id})`, class: "both" }),
  ];
}

/** All pairs of some masks. */
export const allPairs = (masks) => masks.flatMap((one, i) => masks.slice(i + 1).map((other) => [one.index, other.index]));

/** Let one mask stand out, and the others fade; all as they were without an index. */
export function isolate(layer, index = "") {
  const alone = index !== "" && index !== null;
  layer.classList.toggle("isolated", alone);
  for (const path of layer.querySelectorAll("[data-target], [data-of]")) {
    path.classList.toggle("faint", alone && (path.dataset.target ?? path.dataset.of) !== String(index));
  }
}
