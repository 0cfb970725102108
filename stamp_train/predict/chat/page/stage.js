// The picture and the masks over it: SVG paths in the picture's own pixels, sharp at any size.

import { byId } from "./dom.js";
import { allPairs, drawOutlined, isolate, maskLayer } from "./masks.js";
import { Viewer } from "./view.js";

const stage = { masks: new Map(), shown: new Set(), all: true, opacity: 0.16, image: { width: 3, height: 2 } };

/** What the picture is looked at with. */
export const viewer = new Viewer(byId("canvas"), byId("frame"), stage.image);

/** Called when masks are shown or hidden, with a function that says whether one is shown. */
let watch = () => {};
export const onShown = (listener) => { watch = listener; };

export function showPicture(image, address, alt) {
  stage.image = image;
  Object.assign(byId("picture"), { src: address, alt, width: image.width, height: image.height });
  Object.assign(viewer, { width: image.width, height: image.height });
  viewer.fit();
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
export const mark = (number) => isolate(byId("overlay"), number);

const visible = (number) => stage.all && stage.shown.has(number);

function draw() {
  const masks = [...stage.masks.values()].filter((mask) => visible(mask.number) && mask.path);
  masks.sort((a, b) => b.area - a.area); // the small ones lie on top
  const layer = maskLayer(stage.image), drawn = masks.map((mask) => ({ ...mask, index: mask.number }));
  layer.id = "overlay";
  drawOutlined(layer, drawn, stage.opacity, allPairs(drawn));
  byId("overlay").replaceWith(layer);
  byId("masks").setAttribute("aria-pressed", String(stage.all));
  watch(visible);
}
