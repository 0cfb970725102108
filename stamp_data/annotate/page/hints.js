// What the model will make of it, while somebody is at it: flags, tokens, and the mask in patches.

import * as api from "./api.js";
import { byId, el } from "./dom.js";

const WAIT = 250; // milliseconds without a change
const FULL = 254; // label of a patch that is wholly covered

export class Hints {
  constructor(session) {
    Object.assign(this, { session, timer: 0, written: {}, known: null, shown: false, paint: () => null });
  }

  /** Ask anew soon. written: texts by phrase, that are not kept yet. */
  ask(written = {}) {
    Object.assign(this.written, written);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), WAIT);
  }

  async look() {
    const { session } = this;
    await session.sending;
    if (!session.document || session.stopped || session.unsent.length) return;
    const { index, mask } = session;
    const phrases = session.phrases.map(({ made, ...phrase }) => ({ ...phrase, status: "new", text: this.written[phrase.id] ?? phrase.text }));
    try {
      const known = await api.hints(index, phrases, mask);
      if (session.index !== index) return;
      this.known = known;
      this.show();
    } catch (fault) {
      if (!(fault instanceof api.Refusal)) throw fault;
      if (session.index === index) byId("patch-facts").textContent = fault.message;
    }
  }

  /** Nothing is known of another picture. */
  forget() {
    Object.assign(this, { known: null, written: {} });
    byId("patch-facts").textContent = "";
  }

  show() {
    const { known, session } = this;
    if (!known) return;
    for (const phrase of session.phrases) {
      const tokens = known.tokens[phrase.id], flags = known.flags.filter((flag) => flag.phrase === phrase.id);
      byId(`hints-${phrase.id}`)?.replaceChildren(
        tokens === undefined ? "" : el("span", { class: "quiet" }, `${known.exact ? "" : "about "}${tokens} ${tokens === 1 ? "token" : "tokens"}`),
        ...flags.map((flag) => el("p", { class: `flag ${flag.code[4]}` }, el("strong", {}, flag.code), ` ${flag.title}: ${flag.detail}`)));
    }
    const seen = known.patches;
    byId("patch-facts").textContent = `${known.image_tokens.toLocaleString("en")} image tokens${seen
      ? ` · the mask in ${seen.grid[1]} × ${seen.grid[0]} labels: ${seen.solid} at least half covered, IoU ${seen.iou.toFixed(3)}, ${((1 - seen.iou) * 100).toFixed(1)} % lost` : ""}`;
    this.paint();
  }

  /** Draw the labels of the mask that is chosen. */
  draw(context, { width, height, scale }) {
    const seen = this.shown ? this.known?.patches : null;
    if (!seen) return;
    const [rows, columns] = seen.grid, across = width / columns, down = height / rows;
    context.fillStyle = "#ffd400";
    seen.labels.forEach((label, i) => {
      if (!label || label > FULL) return;
      context.globalAlpha = 0.75 * label / FULL;
      context.fillRect((i % columns) * across, Math.floor(i / columns) * down, across, down);
    });
    context.globalAlpha = 0.35;
    context.strokeStyle = "#000";
    context.lineWidth = 0.7 / scale;
    context.beginPath();
    for (let x = 0; x <= columns; x += 1) {
      context.moveTo(x * across, 0);
      context.lineTo(x * across, height);
    }
    for (let y = 0; y <= rows; y += 1) {
      context.moveTo(0, y * down);
      context.lineTo(width, y * down);
    }
    context.stroke();
    context.globalAlpha = 1;
  }
}
