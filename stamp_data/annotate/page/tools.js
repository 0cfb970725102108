// Tools: what a pen does that is put down, moved and lifted at places of the picture. Mouse, touch and keys all are such a pen.

import * as api from "./api.js";
import { outline } from "./outline.js";
import { area, decode, encode, hole, part, union, without } from "./runs.js";
import { box, polygon, stroke } from "./shapes.js";

const FEWEST = 3; // corners of a polygon
const NEAR = 10; // screen pixels from its first corner, at which a polygon is closed

export class Tools {
  /** told: called with what is to be said. */
  constructor(session, told) {
    Object.assign(this, { session, told, stage: null, name: "brush", cut: false, size: 20, points: [], ways: [], way: [], seen: null, asking: false, down: false, at: null, hover: null });
  }

  get image() { return this.session.image; }

  /** Whether the tool takes single places, and not a pull from one to another. */
  get clicks() { return ["polygon", "edge", "fill", "alike"].includes(this.name); }
  get cornered() { return this.name === "polygon" || this.name === "edge"; }
  get boxed() { return this.name === "box" || this.name === "in box"; }

  choose(name) {
    this.cancel();
    this.asking = false;
    this.name = name;
  }

  /** The pen was not meant to draw: what it has done since it was put down is nothing. */
  drop() {
    this.down = false;
    if (!this.cornered) this.points = [];
    this.stage.sketch();
  }

  /** Give up what is not finished. Whether there was anything. */
  cancel() {
    const busy = this.points.length > 0 || this.seen !== null;
    Object.assign(this, { points: [], ways: [], way: [], down: false, seen: null });
    this.stage?.sketch();
    return busy;
  }

  press(at) {
    if (!this.session.document) return;
    Object.assign(this, { down: true, at });
    if (!this.clicks) this.points = [at];
    this.stage.sketch();
  }

  move(at) {
    this.hover = at;
    if (this.down && this.name === "brush") this.points.push(at);
    if (this.down && (this.boxed || this.name === "points")) this.points[1] = at;
    if (this.name === "edge" && this.points.length) this.preview(at);
    this.stage.sketch();
  }

  lift() {
    if (!this.down || !this.session.document) return;
    this.down = false;
    const { points, at, image: { height, width } } = this;
    if (this.name === "fill") this.fill(at);
    if (this.name === "alike") this.suggest("alike", [at]);
    if (this.cornered) this.corner(at); // only now: a second finger may have come, to zoom
    if (this.name === "brush" && points.length) this.apply(stroke(points, this.size / 2, height, width));
    if (this.name === "box" && points.length > 1) this.apply(box(points[0], points[1], height, width));
    if (this.name === "in box" && points.length > 1) this.suggest("in box", points);
    if (this.name === "points" && points.length) this.point(points);
    if (!this.cornered) this.points = [];
    this.stage.sketch();
  }

  corner(at) {
    const [first] = this.points;
    const closes = first && this.points.length >= FEWEST && Math.hypot(at.x - first.x, at.y - first.y) * this.stage.scale < NEAR;
    if (closes) return this.close();
    if (first && this.name === "edge") this.ways.push(this.follow(this.points.at(-1), at));
    this.way = [];
    this.points.push(at);
    return null;
  }

  /** Close the polygon, or the way of the scissors. Whether there was one. */
  close() {
    if (this.seen) return this.take();
    if (!this.cornered || !this.points.length) return false;
    const { points, image: { height, width } } = this;
    if (points.length < FEWEST) {
      this.told("A polygon has three corners or more.");
      return true;
    }
    const ways = this.name === "edge" ? [...this.ways, this.follow(points.at(-1), points[0])] : [];
    this.cancel();
    if (!ways.length) this.apply(polygon(points, height, width));
    else this.look(() => Promise.all(ways.map((way) => way.found)), (found) => this.apply(polygon(found.flat(), height, width)));
    return true;
  }

  /** Ask the server for a mask, and apply it. */
  suggest(tool, points) {
    this.look(() => api.suggest(this.session.index, tool, points.map(({ x, y }) => [x, y])), ({ masks }) => this.apply(decode(masks[0])));
  }

  /** Point at something: a click is a place inside, or outside while things are cut off; a pull is a box. */
  point([from, to = from]) {
    const seen = this.seen ?? { inside: [], outside: [], box: [], masks: [], chosen: 0 };
    const isBox = Math.hypot(to.x - from.x, to.y - from.y) * this.stage.scale > NEAR;
    if (isBox) seen.box = [[from.x, from.y], [to.x, to.y]];
    else (this.cut ? seen.outside : seen.inside).push([from.x, from.y]);
    if (!seen.inside.length && !seen.box.length) return this.told("Point at the thing first, then at what is not of it.");
    this.seen = seen;
    const { inside, outside, box } = seen;
    return this.look(() => api.suggest(this.session.index, "points", inside, { outside, box }), ({ masks, model }) => {
      if (this.seen !== seen) return;
      Object.assign(seen, { model, chosen: 0, masks: masks.map((mask) => ({ mask, path: outline(decode(mask), this.image.height) })) });
      if (!masks.length) this.told("It finds nothing here.");
      this.stage.sketch();
    });
  }

  /** The next of the proposals. */
  other() {
    if (!this.seen?.masks.length) return this.told("Point at something first (G); this shows the other proposals for it.");
    this.seen.chosen = (this.seen.chosen + 1) % this.seen.masks.length;
    return this.stage.sketch();
  }

  /** Take the proposal that is shown: the current mask gets it, or it is a new one. True. */
  take() {
    const { model, masks, chosen } = this.seen, found = masks[chosen]?.mask;
    this.cancel();
    if (!found) return true;
    const mask = this.session.drawn;
    this.put(mask ? union(this.session.runs(mask), decode(found)) : decode(found), mask ? {} : { proposal: { model, rle: found } });
    return true;
  }

  /** A way along an edge: `path` is straight until the way is `found`. */
  follow(from, to) {
    const way = { path: [to], found: this.edge(from, to) };
    way.found.then((path) => { way.path = path; this.stage.sketch(); }, () => null); // a fault is told when the way is closed
    return way;
  }

  /** Places along an edge from one to another, without the first. */
  async edge(from, to) {
    const { path } = await api.suggest(this.session.index, "edge", [[from.x, from.y], [to.x, to.y]]);
    return path.slice(1).map(([x, y]) => ({ x, y }));
  }

  /** The way that a corner here would take, as soon as the server has time for it. */
  async preview(at) {
    if (this.asking) return;
    this.asking = true;
    const from = this.points.at(-1);
    const way = await this.edge(from, at).catch(() => null);
    this.asking = way === null; // no more of it before the tool is chosen again
    if (way && this.points.at(-1) === from) this.way = [from, ...way];
    this.stage.sketch();
  }

  /** Wait for the server, and use what it says for what was current when it was asked. */
  async look(ask, use) {
    const { session } = this, { index, mask, phrase } = session, cut = this.cut, box = this.stage.box;
    box.toggleAttribute("data-looking", true);
    try {
      const found = await ask();
      if (session.index !== index || !session.document) return;
      if (session.phrase !== phrase) Object.assign(session, { mask, phrase });
      else session.mask = mask ?? session.mask;
      const before = this.cut;
      this.cut = cut;
      use(found);
      this.cut = before;
    } catch (fault) {
      if (!(fault instanceof api.Refusal)) throw fault;
      this.told(fault.message);
    } finally {
      box.toggleAttribute("data-looking", false);
    }
  }

  fill(at) {
    const mask = this.session.drawn, { height, width } = this.image;
    if (!mask) return this.told("Fill fills a hole of a mask, or cuts a part of it off: choose a mask first.");
    const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    const runs = this.session.runs(mask);
    const found = this.cut ? part(runs, x, y, height) : hole(runs, x, y, height, width);
    if (found.length) return this.apply(found);
    return this.told(this.cut ? "There is nothing of this mask here." : "This is no hole of the mask: it reaches the edge, or is painted.");
  }

  /** Add what was drawn to the current mask, or cut it off; without a mask it is a new one, which the current phrase names. */
  apply(runs) {
    const mask = this.session.drawn;
    if (!mask && this.cut) return this.told("There is no mask to cut from: choose one, or draw first.");
    const before = mask ? this.session.runs(mask) : [];
    return this.put(this.cut ? without(before, runs) : union(before, runs));
  }

  /** Have the current mask, or a new one, be of these runs. more: of a new one. */
  put(runs, more = {}) {
    const { session, image: { height, width } } = this, mask = session.drawn;
    if (!area(runs)) {
      if (!mask) return null;
      this.told("Nothing is left of the mask, so it is gone; undo brings it back.");
      return this.remove(mask.id);
    }
    const rle = encode(runs, height, width);
    if (mask) return session.edit({ masks: { [mask.id]: { ...mask, rle } }, phrases: this.reopened(mask.id) });
    const id = session.free("m");
    session.mask = id;
    return session.edit({ masks: { [id]: { id, rle, ...more } }, phrases: this.joined(id) });
  }

  /** Phrases whose mask changes are no longer accepted. */
  reopened(id) {
    const named = this.session.phrases.filter((phrase) => phrase.status === "accepted" && phrase.masks.includes(id));
    return Object.fromEntries(named.map((phrase) => [phrase.id, { ...phrase, status: "new" }]));
  }

  /** Phrases that name a mask, as they are without it. */
  unnamed(id) {
    const named = this.session.phrases.filter((phrase) => phrase.masks.includes(id));
    return Object.fromEntries(named.map((phrase) => [
      phrase.id, { ...phrase, masks: phrase.masks.filter((one) => one !== id), status: "new" },
    ]));
  }

  /** The current phrase, as it is with a mask more. */
  joined(id) {
    const { said } = this.session;
    return said ? { [said.id]: { ...said, masks: [...said.masks, id], nothing: undefined, status: "new" } } : {};
  }

  remove(id) {
    const { session } = this, phrases = this.unnamed(id);
    session.mask = session.mask === id ? null : session.mask;
    return session.edit({ masks: { [id]: null }, phrases });
  }

  /** What is to be ignored no phrase names; what is no longer, the current one does. */
  ignore(mask) {
    const role = mask.role === "ignore" ? "target" : "ignore";
    return this.session.edit({ masks: { [mask.id]: { ...mask, role } }, phrases: role === "ignore" ? this.unnamed(mask.id) : this.joined(mask.id) });
  }

  /** Draw what is not finished. */
  draw(context, { scale }) {
    const colour = this.cut ? "#ff5470" : "#3ddc84", { points, hover } = this;
    context.strokeStyle = context.fillStyle = colour;
    context.lineJoin = context.lineCap = "round";
    if (this.name === "brush") this.drawBrush(context, scale);
    if (this.seen) this.drawSeen(context, scale);
    context.lineWidth = 2 / scale;
    if ((this.boxed || this.name === "points") && points.length > 1) {
      context.strokeRect(points[0].x, points[0].y, points[1].x - points[0].x, points[1].y - points[0].y);
    }
    if (this.cornered && points.length) {
      context.beginPath();
      for (const point of this.name === "edge" ? [points[0], ...this.ways.flatMap((way) => way.path), ...this.way] : [...points, hover ?? points[0]]) context.lineTo(point.x, point.y);
      context.stroke();
      for (const point of points) context.fillRect(point.x - 3 / scale, point.y - 3 / scale, 6 / scale, 6 / scale);
    }
  }

  drawSeen(context, scale) {
    const { inside, outside, masks, chosen } = this.seen;
    if (masks[chosen]) {
      context.globalAlpha = 0.45;
      context.fill(masks[chosen].path, "evenodd");
      context.globalAlpha = 1;
    }
    for (const [places, colour] of [[inside, "#3ddc84"], [outside, "#ff5470"]]) {
      context.fillStyle = colour;
      for (const [x, y] of places) context.fillRect(x - 4 / scale, y - 4 / scale, 8 / scale, 8 / scale);
    }
  }

  drawBrush(context, scale) {
    const { points, hover } = this;
    if (points.length) {
      context.globalAlpha = 0.5;
      context.lineWidth = this.size;
      context.beginPath();
      context.moveTo(points[0].x, points[0].y);
      for (const point of points) context.lineTo(point.x, point.y);
      context.stroke();
      context.globalAlpha = 1;
    }
    if (hover) {
      context.lineWidth = 1.5 / scale;
      context.beginPath();
      context.arc(hover.x, hover.y, this.size / 2, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
