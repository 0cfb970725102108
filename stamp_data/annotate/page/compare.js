// The model's mask laid over one's own: what both have, what either has alone, and how far they agree. Nothing of it is kept.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { outline } from "./outline.js";
import { area, common, decode, union, without } from "./runs.js";

const BOTH = "#3ddc84", MINE = "#56b4e9", MODELS = "#e69f00";

export class Compare {
  constructor(session) { Object.assign(this, { session, shown: false, asked: new Map(), parts: [] }); }

  /** What a model made of the phrase that is chosen, {name, runs}: what it proposed, or said when it was asked; else null. */
  get model() {
    const { session, asked } = this, { said } = session;
    const proposed = session.masks.filter((mask) => mask.proposal && said?.masks.includes(mask.id));
    if (proposed.length) return { name: proposed[0].proposal.model, runs: proposed.map((mask) => decode(mask.proposal.rle)).reduce(union, []) };
    return asked.get(key(said)) ?? null;
  }

  /** Lay the model's mask over, which is asked if it has said nothing yet, or take it away. */
  toggle(page) {
    const { session } = this, { said } = session;
    if (this.shown && (this.model || !said)) {
      this.shown = false;
      return page.changed();
    }
    if (!said) return page.tools.told("Choose a phrase first, or write one (n).");
    if (this.model) return this.show(page);
    if (!session.model) return page.tools.told("No model has drawn this phrase, and there is none to ask: start the command with --predict CHECKPOINT.");
    return page.tools.look(() => api.propose(session.index, [said.text]), ({ model, masks: [mask] }) => {
      this.asked.set(key(said), { name: model, runs: mask ? decode(mask) : [] });
      this.show(page);
    });
  }

  show(page) {
    this.shown = true;
    page.changed();
  }

  /** Nothing was asked of another picture. */
  forget() { this.asked.clear(); }

  /** Reckon anew what is laid over, and say it. */
  look() {
    const { session, model, shown } = this, { said } = session;
    this.parts = [];
    if (shown && said && model) {
      const mine = session.masks.filter((mask) => said.masks.includes(mask.id)).map((mask) => session.runs(mask)).reduce(union, []);
      this.parts = [[BOTH, common(mine, model.runs)], [MINE, without(mine, model.runs)], [MODELS, without(model.runs, mine)]];
      this.paths = this.parts.map(([colour, runs]) => [colour, outline(runs, session.image.height)]);
    }
    byId("compare-facts").textContent = this.facts(shown ? said : null, model);
  }

  facts(said, model) {
    if (!said) return "";
    if (!model) return "No model has drawn this phrase yet; M asks it.";
    const [both, mine, models] = this.parts.map(([, runs]) => area(runs)), whole = both + mine + models;
    const count = (pixels) => `${pixels.toLocaleString("en")} px`;
    if (!whole) return `Neither this nor ${model.name} names anything.`;
    return `IoU ${(both / whole).toFixed(3)} with ${model.name}: ${count(both)} in both (green), ${count(mine)} in yours alone (blue), ${count(models)} in the model's alone (orange)`;
  }

  /** Draw what is laid over; whether there is anything. */
  draw(context) {
    if (!this.parts.length) return;
    context.globalAlpha = 0.6;
    for (const [colour, path] of this.paths) {
      context.fillStyle = colour;
      context.fill(path, "evenodd");
    }
    context.globalAlpha = 1;
  }
}

const key = (said) => said && `${said.id} ${said.text}`;
