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

/** All masks of the conversation: {id, path, colour, area}. Those of its last round are shown, others if they were. */
export function setMasks(masks, last = []) {
  const old = stage.masks;
  stage.masks = new Map(masks.map((mask) => [mask.id, mask]));
  const fresh = last.some((id) => !old.has(id));
  const kept = fresh ? [] : [...stage.shown].filter((id) => stage.masks.has(id));
  stage.shown = new Set([...kept, ...(fresh || !kept.length ? last : [])]);
  draw();
}

export function toggleMask(id) {
  if (!stage.masks.has(id)) return;
  if (stage.all && stage.shown.has(id)) stage.shown.delete(id);
  else stage.shown.add(id);
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
export function mark(id) {
  for (const path of byId("overlay").children) path.classList.toggle("faint", id !== null && path.dataset.mask !== id);
}

const visible = (id) => stage.all && stage.shown.has(id);

function draw() {
  const masks = [...stage.masks.values()].filter((mask) => visible(mask.id) && mask.path);
  masks.sort((a, b) => b.area - a.area); // the small ones lie on top
  byId("overlay").replaceChildren(...masks.map((mask) => svg("path", {
    d: mask.path, fill: mask.colour, stroke: mask.colour, "fill-rule": "evenodd", "fill-opacity": stage.opacity, "data-mask": mask.id,
  })));
  byId("masks").setAttribute("aria-pressed", String(stage.all));
  watch(visible);
}
