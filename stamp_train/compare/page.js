// Scenes of a comparison: one of them large.

import { byId, el } from "./dom.js";
import { listenToKeys } from "./report.js";
import { Viewer, viewKeys } from "./view.js";

const scenes = [...document.querySelectorAll(".scene")];
const view = { at: -1, viewer: null };

function open(place) {
  if (!scenes[place]) return;
  view.at = place;
  const dialog = byId("large"), before = scenes[place].querySelector("img"), image = el("img", { src: before.src, alt: before.alt });
  const shown = el("span", { class: "frame" }, image), box = el("div", { class: "canvas", tabindex: 0, role: "application", "aria-label": "Picture: the wheel, = and - zoom, Shift and arrows move it, v shows all of it" }, shown);
  const step = (words, key, by, sign) => el("button", { class: "action", "aria-label": words, title: `${words} (${key})`, onclick: () => open(view.at + by) }, sign);
  dialog.replaceChildren(box, el("aside", {},
    el("p", { class: "actions" }, step("Scene before", "k", -1, "‹"), step("Next scene", "j", 1, "›"), el("button", { class: "action", "aria-label": "Close", title: "Close (Esc)", onclick: () => dialog.close() }, "×")),
    ...[...scenes[place].querySelector("figcaption").children].map((node) => el("p", { class: node.className }, node.textContent))));
  if (!dialog.open) dialog.showModal();
  view.viewer = new Viewer(box, shown, { width: before.naturalWidth, height: before.naturalHeight });
  box.focus({ preventScroll: true });
}

const inLarge = (by) => () => { if (byId("large").open) open(view.at + by); };
scenes.forEach((scene, place) => scene.querySelector("button").addEventListener("click", () => open(place)));
byId("large").addEventListener("close", () => {
  scenes[view.at]?.querySelector("button").focus();
  view.viewer = null;
});
listenToKeys({
  j: [inLarge(1), "next scene; so does →"], k: [inLarge(-1), "scene before; so does ←"], ArrowRight: [inLarge(1), ""], ArrowLeft: [inLarge(-1), ""],
  ...viewKeys(() => view.viewer),
});
