// What is said and drawn, as lists. They are made anew at every change, but not while somebody writes in them.

import { byId, el } from "./dom.js";
import { area } from "./runs.js";
import { colour } from "./stage.js";

const REASONS = { absent: "no such thing", "wrong attribute": "one, but not such", "wrong relation": "such, but not there", other: "another reason" };
export const reasons = Object.entries(REASONS);

export function showPanel(page) {
  const { phrases, masks, phrase, mask } = page.session;
  byId("no-phrases").hidden = phrases.length > 0;
  byId("no-masks").hidden = masks.length > 0;
  if (document.activeElement !== byId("notes")) byId("notes").value = page.session.document?.notes ?? "";
  const at = page.moving ?? document.activeElement;
  if (at?.matches(".list input:not([type]), .list textarea") || page.moving?.matches(".list button")) {
    for (const row of document.querySelectorAll(".list > .row")) row.toggleAttribute("aria-current", row.dataset.id === phrase || row.dataset.id === mask);
    return;
  }
  byId("phrases").replaceChildren(...phrases.map((one) => phraseRow(page, one)));
  byId("masks").replaceChildren(...masks.map((one, i) => maskRow(page, one, i)));
  page.dialogues.show();
}

function phraseRow(page, phrase) {
  const current = phrase.id === page.session.phrase, { masks } = page.session;
  const number = (id) => masks.findIndex((mask) => mask.id === id) + 1;
  return el("li", { class: "row", "data-id": phrase.id, "aria-current": current ? "true" : null, onclick: () => page.choose("phrase", phrase.id) },
    el("input", {
      id: `text-${phrase.id}`, value: phrase.text, maxlength: 2000, "aria-label": "Phrase", autocomplete: "off",
      oninput: (event) => page.typing(phrase.id, event.target.value), onchange: (event) => page.retext(phrase.id, event.target.value),
      onfocus: () => page.choose("phrase", phrase.id),
    }),
    el("div", { class: "facts" },
      el("span", { class: `status ${(phrase.status ?? "new").replace(" ", "-")}` }, phrase.status ?? "new"),
      phrase.nothing ? el("span", { class: "nothing" }, `nothing: ${REASONS[phrase.nothing]}`) : null,
      ...phrase.masks.map((id) => el("button", {
        class: "chip", css: { "--colour": colour(id) }, title: "Choose this mask", onclick: () => page.choose("mask", id),
      }, String(number(id)))),
      !phrase.nothing && !phrase.masks.length ? el("span", { class: "quiet" }, "no mask yet") : null,
      phrase.made?.by ? el("span", { class: "quiet" }, phrase.made.by) : null),
    el("div", { class: "hints", id: `hints-${phrase.id}` }),
    current ? kept(page, (notes) => page.note("phrases", phrase.id, { notes }), {
      id: `notes-${phrase.id}`, value: phrase.notes ?? "", maxlength: 2000, placeholder: "Notes", "aria-label": "Notes on the phrase",
    }) : null);
}

function maskRow(page, mask, i) {
  const { session } = page, current = mask.id === session.mask, named = session.said?.masks.includes(mask.id) ?? false;
  const pixels = area(session.runs(mask)), ratio = (100 * pixels / (session.image.width * session.image.height)).toPrecision(2);
  const phrases = session.phrases.filter((phrase) => phrase.masks.includes(mask.id)).length;
  return el("li", { class: "row mask", "data-id": mask.id, "aria-current": current ? "true" : null, onclick: () => page.choose("mask", mask.id) },
    el("button", { class: "chip", css: { "--colour": colour(mask.id) }, title: "Choose this mask", "aria-pressed": String(current) }, String(i + 1)),
    el("span", { class: "quiet" }, `${pixels.toLocaleString("en")} px (${ratio} %) · ${phrases === 1 ? "1 phrase" : `${phrases} phrases`}${mask.role === "ignore" ? " · ignored" : ""}${mask.proposal ? ` · ${mask.proposal.rle.counts === mask.rle.counts ? "as" : "after what"} ${mask.proposal.model} proposed` : ""}`),
    session.said && mask.role !== "ignore" ? el("label", { class: "link", onclick: (event) => event.stopPropagation() },
      el("input", { type: "checkbox", checked: named, onchange: () => page.link(mask.id) }), " named") : null,
    current ? kept(page, (text) => page.note("masks", mask.id, { categories: text.split(",").map((word) => word.trim()).filter(Boolean) }), {
      id: `categories-${mask.id}`, value: (mask.categories ?? []).join(", "), maxlength: 500, placeholder: "Categories, with commas",
      "aria-label": "Categories of the mask",
    }) : null,
    current ? kept(page, (notes) => page.note("masks", mask.id, { notes }), {
      id: `notes-${mask.id}`, value: mask.notes ?? "", maxlength: 2000, placeholder: "Notes", "aria-label": "Notes on the mask",
    }) : null);
}

/** A line of text that is kept by `keep` while it is written, and when it is left. */
const kept = (page, keep, more) => el("input", {
  class: "notes", autocomplete: "off", ...more,
  oninput: (event) => page.later(() => keep(event.target.value)), onchange: (event) => keep(event.target.value),
});

const MARKS = { untouched: "○", begun: "◐", done: "●", "needs work": "◆", damaged: "✕" };

/** The list of pictures, of which those whose names hold `text` are shown. */
export function showRows(page, text = "") {
  const { rows, index } = page.session, wanted = text.toLowerCase();
  const shown = rows.map((row, i) => [row, i]).filter(([row]) => `${row.name} ${row.state}`.toLowerCase().includes(wanted));
  byId("rows").replaceChildren(...shown.map(([row, i]) => el("li", {}, el("button", {
    class: `picture ${row.state.replace(" ", "-")}`, "aria-current": i === index ? "true" : null, title: row.fault || row.name, onclick: () => page.go(i),
  }, el("span", { "aria-hidden": "true" }, MARKS[row.state]), el("span", { class: "name" }, row.name),
  el("span", { class: "quiet" }, row.phrases ? `${row.accepted}/${row.phrases}` : row.state)))));
}
