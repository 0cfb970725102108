// The picture, the masks over it and what is being drawn: an image that is moved and scaled, and two canvases of the screen's size.

import { byId } from "./dom.js";
import { bounds } from "./runs.js";
import { outline } from "./outline.js";

const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#b8a800"];
const MOST = 40, LEAST = 0.01; // screen pixels for one of the picture
const PATHS = new Map(); // by counts of a mask

export const colour = (id) => COLOURS[(Number(id.replace(/^\D+/, "")) || 0) % COLOURS.length];

export class Stage {
  /** draw: called with (context, stage) to draw what is not yet a mask. */
  constructor(session, draw) {
    Object.assign(this, { session, draw, scale: 1, x: 0, y: 0, width: 0, height: 0, hidden: false, bare: false, opacity: 0.4, asked: false, cursor: null, frames: [] });
    this.box = byId("stage");
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
    this.fit();
  }

  fit() {
    if (!this.width) return;
    const wide = this.box.clientWidth, high = this.box.clientHeight;
    this.scale = Math.min(wide / this.width, high / this.height, MOST) * 0.96;
    this.x = (wide - this.width * this.scale) / 2;
    this.y = (high - this.height * this.scale) / 2;
    this.moved();
  }

  /** Zoom by a factor, what is at a place of the screen staying there; the middle if none is given. */
  zoom(factor, at = { x: this.box.clientWidth / 2, y: this.box.clientHeight / 2 }) {
    const scale = Math.min(Math.max(this.scale * factor, LEAST), MOST), change = scale / this.scale;
    this.x = at.x - (at.x - this.x) * change;
    this.y = at.y - (at.y - this.y) * change;
    this.scale = scale;
    this.moved();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.moved();
  }

  /** A place on the screen, in pixels of the picture. */
  inPicture(x, y) { return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale }; }

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

  moved() {
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
    this.under?.(this.masks, this);
    masks.forEach((mask, i) => this.label(mask, i + 1));
  }

  path(mask) {
    const key = `${mask.rle.size[0]} ${mask.rle.counts}`;
    if (!PATHS.has(key)) {
      if (PATHS.size > 500) PATHS.clear();
      PATHS.set(key, outline(this.session.runs(mask), this.height));
    }
    return PATHS.get(key);
  }

  label(mask, number) {
    const box = bounds(this.session.runs(mask), this.height);
    if (!box) return;
    const size = 13 / this.scale;
    this.masks.font = `600 ${size}px system-ui, sans-serif`;
    this.masks.lineWidth = 3 / this.scale;
    this.masks.strokeStyle = "#000";
    this.masks.fillStyle = "#fff";
    this.masks.strokeText(String(number), box.left + size * 0.3, box.top + size);
    this.masks.fillText(String(number), box.left + size * 0.3, box.top + size);
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
