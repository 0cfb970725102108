// The picture, the masks over it and what is being drawn: an image that is moved and scaled, and two canvases of the screen's size.

import { byId } from "./dom.js";
import { View } from "./view.js";
import { bounds } from "./runs.js";
import { outline } from "./outline.js";

const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#b8a800"];
const LINES = 10; // from so many screen pixels for one of the picture on, lines are drawn between them
const PATHS = new Map(); // by counts of a mask

export const colour = (id) => COLOURS[(Number(id.replace(/^\D+/, "")) || 0) % COLOURS.length];

export class Stage extends View {
  /** draw: called with (context, stage) to draw what is not yet a mask. */
  constructor(session, draw) {
    super(byId("stage"));
    Object.assign(this, { session, draw, hidden: false, bare: false, opacity: 0.25, asked: false, cursor: null, frames: [] });
    this.moved = () => this.follow();
    this.image = byId("image");
    this.masks = byId("masks-canvas").getContext("2d");
    this.live = byId("live-canvas").getContext("2d");
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  /** Show a picture that is loaded, as a whole. */
  show(image, { width, height }) {
    Object.assign(this, { width, height, cursor: null });
    image.id = "image";
    image.className = "image";
    image.alt = "";
    image.draggable = false;
    this.image.replaceWith(image);
    this.image = image;
    PATHS.clear();
    this.fit();
  }

  /** Draw nothing until another picture is shown. */
  leave() {
    Object.assign(this, { width: 0, height: 0, cursor: null });
    this.paint();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    for (const { canvas } of [this.masks, this.live]) {
      canvas.width = Math.max(1, Math.round(this.box.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(this.box.clientHeight * ratio));
    }
    this.paint();
  }

  /** Move the cross hairs, and the view with them where they leave it. */
  step(x, y) {
    const at = this.cursor ?? this.inPicture(this.box.clientWidth / 2, this.box.clientHeight / 2);
    this.cursor = {
      x: Math.min(Math.max(Math.floor(at.x) + 0.5 + x, 0.5), this.width - 0.5),
      y: Math.min(Math.max(Math.floor(at.y) + 0.5 + y, 0.5), this.height - 0.5),
    };
    const [left, top] = [this.cursor.x * this.scale + this.x, this.cursor.y * this.scale + this.y];
    const over = (place, size) => Math.min(place - 20, 0) + Math.max(place - size + 20, 0);
    this.pan(-over(left, this.box.clientWidth), -over(top, this.box.clientHeight));
    return this.cursor;
  }

  follow() {
    this.image.style.setProperty("transform", `translate(${this.x}px, ${this.y}px) scale(${this.scale})`);
    this.image.classList.toggle("pixels", this.scale > 3);
    this.paint();
  }

  /** Draw all anew with the next frame. */
  paint() {
    this.stale = true;
    this.sketch();
  }

  /** Draw only what is being drawn. */
  sketch() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => {
      this.asked = false;
      this.frames.push(now);
      if (this.frames.length > 1000) this.frames.shift();
      if (this.stale) this.paintMasks();
      this.stale = false;
      this.begin(this.live);
      this.draw(this.live, this);
      if (this.cursor) this.crossHairs();
    });
  }

  /** Clear a canvas, and have it count in pixels of the picture. */
  begin(context) {
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
  }

  paintMasks() {
    this.begin(this.masks);
    if (!this.session.document || !this.width || this.hidden) return;
    const { said, mask: current, masks } = this.session;
    for (const mask of masks) {
      const named = !said || said.masks.includes(mask.id), path = this.path(mask);
      this.masks.fillStyle = this.masks.strokeStyle = mask.role === "ignore" ? "#8a8a8a" : colour(mask.id);
      this.masks.globalAlpha = named ? this.opacity : this.opacity * 0.3;
      if (!this.bare) this.masks.fill(path, "evenodd");
      this.masks.globalAlpha = named ? 1 : 0.45;
      this.masks.lineWidth = (mask.id === current ? 3 : 1.5) / this.scale;
      this.masks.setLineDash(mask.proposal?.rle.counts === mask.rle.counts ? [6 / this.scale, 4 / this.scale] : []);
      this.masks.stroke(path);
      this.masks.setLineDash([]);
    }
    this.masks.globalAlpha = 1;
    this.stripes(masks);
    if (this.scale >= LINES) this.lattice();
    this.under?.(this.masks, this);
    masks.forEach((mask, i) => this.label(mask, i + 1));
  }

  /** Stripes of both colours where two masks lie. */
  stripes(masks) {
    const boxes = masks.map((mask) => bounds(this.session.runs(mask), this.height));
    masks.forEach((one, i) => masks.slice(0, i).forEach((other, j) => {
      const [a, b] = [boxes[i], boxes[j]];
      if (!a || !b || a.left >= b.right || b.left >= a.right || a.top >= b.bottom || b.top >= a.bottom) return;
      this.masks.save();
      this.masks.clip(this.path(other), "evenodd");
      this.masks.fillStyle = striped(this.masks, colour(one.id), colour(other.id));
      this.masks.globalAlpha = 0.45;
      this.masks.fill(this.path(one), "evenodd");
      this.masks.restore();
    }));
  }

  /** Lines between the pixels of the picture that are seen. */
  lattice() {
    const from = this.inPicture(0, 0), to = this.inPicture(this.box.clientWidth, this.box.clientHeight);
    const [left, top] = [Math.max(0, Math.floor(from.x)), Math.max(0, Math.floor(from.y))];
    const [right, bottom] = [Math.min(this.width, Math.ceil(to.x)), Math.min(this.height, Math.ceil(to.y))];
    this.masks.beginPath();
    for (let x = left; x <= right; x += 1) {
      this.masks.moveTo(x, top);
      this.masks.lineTo(x, bottom);
    }
    for (let y = top; y <= bottom; y += 1) {
      this.masks.moveTo(left, y);
      this.masks.lineTo(right, y);
    }
    this.masks.strokeStyle = "rgb(128 128 128 / 45%)";
    this.masks.lineWidth = 1 / this.scale;
    this.masks.stroke();
  }

  path(mask) {
    const key = `${mask.rle.size[0]} ${mask.rle.counts}`;
    if (!PATHS.has(key)) {
      if (PATHS.size > 500) PATHS.clear();
      PATHS.set(key, outline(this.session.runs(mask), this.height));
    }
    return PATHS.get(key);
  }

  /** Its number, at the first of its pixels: the corner of a box around several parts may lie far from all of them. */
  label(mask, number) {
    const runs = this.session.runs(mask);
    if (!runs.length) return;
    const size = 13 / this.scale, x = Math.floor(runs[0] / this.height) + size * 0.3, y = (runs[0] % this.height) + size;
    this.masks.font = `600 ${size}px system-ui, sans-serif`;
    this.masks.lineWidth = 3 / this.scale;
    this.masks.strokeStyle = "#000";
    this.masks.fillStyle = "#fff";
    this.masks.strokeText(String(number), x, y);
    this.masks.fillText(String(number), x, y);
  }

  crossHairs() {
    const { x, y } = this.cursor, reach = 14 / this.scale;
    for (const [style, wide] of [["#000", 3], ["#fff", 1.2]]) {
      this.live.strokeStyle = style;
      this.live.lineWidth = wide / this.scale;
      this.live.beginPath();
      this.live.moveTo(x - reach, y);
      this.live.lineTo(x + reach, y);
      this.live.moveTo(x, y - reach);
      this.live.lineTo(x, y + reach);
      this.live.stroke();
    }
  }
}

/** A pattern of slanted stripes in two colours. */
function striped(context, one, other) {
  const side = 12, tile = new OffscreenCanvas(side, side), pen = tile.getContext("2d");
  pen.fillStyle = one;
  pen.fillRect(0, 0, side, side);
  pen.fillStyle = other;
  pen.fillRect(0, 0, side / 2, side);
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(context.getTransform().inverse().rotate(45));
  return pattern;
}
