// The picture and the masks over it: SVG paths in the picture's own pixels, sharp at any size.

import { byId, svg } from "./dom.js";

const stage = { masks: new Map(), shown: new Set(), all: true, opacity: 0.45 };

/** Called when masks are shown or hidden, with a function that says whether one is shown. */
let watch = () => {};
export const onShown = (listener) => { watch = listener; };

export function showPicture(image, address, alt) {
  const frame = byId("frame");
  frame.style.setProperty("--ratio", image.width / image.height);
  byId("overlay").setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
  Object.assign(byId("picture"), { src: address, alt, width: image.width, height: image.height });
  byId("facts").textContent = `${alt} · ${image.width}×${image.height}`;
  setMasks([]);
}

/**
 * All masks of the conversation: {number, path, colour, area}. last: numbers of those of its last round, which are shown
 * alone when they are new; else what was shown stays, and where nothing of it is left, they stand in.
 */
export function setMasks(masks, last = []) {
  const fresh = last.filter((number) => !stage.masks.has(number));
  stage.masks = new Map(masks.map((mask) => [mask.number, mask]));
  const kept = [...stage.shown].filter((number) => stage.masks.has(number));
  stage.shown = new Set([fresh, kept, last].find((some) => some.length));
  draw();
}

/** A mask of an answer that is still being said; alone: nothing else is shown any more. */
export function addMask(mask, alone) {
  if (alone) stage.shown.clear();
  stage.masks.set(mask.number, mask);
  stage.shown.add(mask.number);
  draw();
}

export function toggleMask(number) {
  if (!stage.masks.has(number)) return;
  if (stage.all && stage.shown.has(number)) stage.shown.delete(number);
  else stage.shown.add(number);
  stage.all = true;
  draw();
}

/** Show or hide all masks at once; which ones were chosen is kept. */
export function toggleAll() {
  stage.all = !stage.all;
  draw();
}

export function setOpacity(share) {
  stage.opacity = share;
  draw();
}

/** Emphasise one mask (null: none), as long as the pointer is on its name. */
export function mark(number) {
  for (const path of byId("overlay").children) path.classList.toggle("faint", number !== null && Number(path.dataset.mask) !== number);
}

const visible = (number) => stage.all && stage.shown.has(number);

function draw() {
  const masks = [...stage.masks.values()].filter((mask) => visible(mask.number) && mask.path);
  masks.sort((a, b) => b.area - a.area); // the small ones lie on top
  byId("overlay").replaceChildren(...masks.map((mask) => svg("path", {
    d: mask.path, fill: mask.colour, stroke: mask.colour, "fill-rule": "evenodd", "fill-opacity": stage.opacity, "data-mask": mask.number,
  })));
  byId("masks").setAttribute("aria-pressed", String(stage.all));
  watch(visible);
}
