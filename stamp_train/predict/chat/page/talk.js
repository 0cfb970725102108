// Rounds of the conversation. An answer is its text with a button in the place of every `<|seg|>`.

import { byId, el } from "./dom.js";
import { mark, toggleMask } from "./stage.js";

const NOTES = { stopped: "stopped", length: "cut off: the answer reached its longest length" };

/** What the page does for a mask, by its number. */
export const act = { copy: () => null, address: () => "" };

const chip = (mask) => el("button", {
  type: "button", class: "chip", "data-mask": mask.number, "aria-pressed": "true", css: { "--colour": mask.colour },
  title: mask.area > 0 ? "Show or hide this mask" : "This mask is empty",
  onclick: () => toggleMask(mask.number),
  onmouseenter: () => mark(mask.number), onmouseleave: () => mark(null), onfocus: () => mark(mask.number), onblur: () => mark(null),
}, el("span", { class: "swatch" }), `mask ${mask.number}`, el("span", { class: "share" }, percent(mask.area)));

const waiting = () => el("span", { class: "chip waiting" }, el("span", { class: "swatch" }), "mask");

const percent = (share) => (share === 0 ? "empty" : share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`);

const follow = () => { byId("rounds").scrollTop = byId("rounds").scrollHeight; };

function bubble(role, ...children) {
  return el("div", { class: `turn ${role}` }, el("span", { class: "role" }, role === "user" ? "You" : "STAMP"), el("p", { class: "bubble" }, ...children));
}

/** The pieces of a finished answer. Masks of an answer that was stopped were never drawn. */
function pieces(round) {
  return round.pieces.map((piece) => {
    if (typeof piece === "string") return piece;
    const mask = round.masks[piece];
    return mask ? chip(mask) : waiting();
  });
}

/** What can be done with the masks of an answer. */
const tools = (masks) => masks.map((mask) => el("span", { class: "mask-tools" }, `mask ${mask.number}`,
  el("button", { type: "button", class: "link", title: `Copy mask ${mask.number} as a picture`, onclick: () => act.copy(mask.number) }, "Copy"),
  el("a", { class: "link", href: act.address(mask.number), download: `mask-${mask.number}.png`, title: `Download mask ${mask.number} as PNG` }, "PNG")));

function round(one) {
  const answer = bubble("assistant", ...pieces(one));
  if (!one.pieces.length) answer.querySelector(".bubble").append(el("em", { class: "quiet" }, "no words"));
  const notes = [NOTES[one.finish], !one.masks.length && one.finish !== "stopped" && "no mask"];
  return el("article", {}, bubble("user", one.question), answer, el("p", { class: "note" }, notes.filter(Boolean).join(" · ")),
    one.masks.length > 0 && el("p", { class: "masks-row" }, ...tools(one.masks)));
}

/** Show all rounds; without any, what may be asked. */
export function showRounds(rounds, examples) {
  if (rounds.length) byId("rounds").replaceChildren(...rounds.map(round));
  else byId("rounds").replaceChildren(el("div", { class: "start" }, el("p", {}, "Ask anything about the picture, or name what is to be outlined."), ...examples));
  follow();
}

/** An answer in the making. What arrives within a frame is drawn at once: models may be faster than screens. */
export class Answering {
  constructor(question) {
    const answer = bubble("assistant");
    answer.classList.add("going");
    this.said = answer.querySelector(".bubble");
    this.waiting = [];
    this.node = el("article", {}, bubble("user", question), answer);
    byId("rounds").querySelector(".start")?.remove();
    byId("rounds").append(this.node);
    follow();
  }

  add(event) {
    if (!this.waiting.length) requestAnimationFrame(() => this.draw());
    this.waiting.push(event);
  }

  draw() {
    const box = byId("rounds");
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
    for (const event of this.waiting.splice(0)) {
      if (event.kind === "mask") this.said.querySelector(".waiting")?.replaceWith(chip(event.mask));
      else if (event.kind !== "text") this.said.append(waiting());
      else if (this.said.lastChild instanceof Text) this.said.lastChild.appendData(event.text);
      else this.said.append(event.text);
    }
    if (atEnd) follow();
  }

  remove() {
    this.node.remove();
  }
}

export function markChips(shown) {
  for (const button of document.querySelectorAll("button.chip")) button.setAttribute("aria-pressed", String(shown(Number(button.dataset.mask))));
}
