// Looking closely: a picture in a box that is zoomed by wheel, fingers and keys, and pulled.

const MOST = 40, LEAST = 0.01; // screen pixels for one of the picture
const MARGIN = 0.96; // of the box that a whole picture takes
const PULL = 60; // screen pixels that a key moves the picture by
const SQUARES = 3, LINES = 10; // from so many screen pixels for one of the picture on: squares, and lines between them

/** Where a picture lies in its box: its corner and its scale, in pixels of the screen. */
export class View {
  /** moved: called after every change. */
  constructor(box, moved = () => {}) {
    Object.assign(this, { box, moved, scale: 1, x: 0, y: 0, width: 0, height: 0, whole: true });
    new ResizeObserver(() => { if (this.whole) this.fit(); else this.moved(); }).observe(box);
  }

  fit() {
    if (!this.width) return;
    const wide = this.box.clientWidth, high = this.box.clientHeight;
    this.scale = Math.min(wide / this.width, high / this.height, MOST) * MARGIN;
    this.x = (wide - this.width * this.scale) / 2;
    this.y = (high - this.height * this.scale) / 2;
    this.whole = true;
    this.moved();
  }

  /** Zoom by a factor, what is at a place of the box staying there; the middle if none is given. */
  zoom(factor, at = { x: this.box.clientWidth / 2, y: this.box.clientHeight / 2 }) {
    const scale = Math.min(Math.max(this.scale * factor, LEAST), MOST), change = scale / this.scale;
    this.x = at.x - (at.x - this.x) * change;
    this.y = at.y - (at.y - this.y) * change;
    this.scale = scale;
    this.whole = false;
    this.moved();
  }

  oneToOne() { this.zoom(1 / this.scale); }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.whole &&= !x && !y;
    this.moved();
  }

  /** A place of the box, in pixels of the picture. */
  inPicture(x, y) { return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale }; }
}

/** A view of an element that is laid out anew at every change, so that what is drawn in it stays sharp. */
export class Viewer extends View {
  /** frame: within `box`, of a picture of that size. */
  constructor(box, frame, { width, height }) {
    super(box);
    this.moved = () => {
      for (const [name, value] of [["left", this.x], ["top", this.y], ["width", this.width * this.scale], ["height", this.height * this.scale]]) frame.style.setProperty(name, `${value}px`);
      frame.style.setProperty("--pixel", `${this.scale}px`);
      frame.classList.toggle("squares", this.scale >= SQUARES);
      frame.classList.toggle("pixels", this.scale >= LINES);
    };
    Object.assign(this, { width, height });
    listen(box, this);
    this.fit();
  }
}

/** What keys do with a view, by key: [what, words]. view: a function, since pages show one after another. */
export const viewKeys = (view) => ({
  "=": [() => view()?.zoom(1.25), "zoom in; so do + and the wheel"], "+": [() => view()?.zoom(1.25), ""], "-": [() => view()?.zoom(0.8), "zoom out"],
  v: [() => view()?.fit(), "whole picture"], V: [() => view()?.oneToOne(), "one to one"],
  "Shift arrows": [() => null, "move the picture; so does pulling it"], // no key is called so: these are its four
  "Shift ArrowLeft": [() => view()?.pan(PULL, 0), ""], "Shift ArrowRight": [() => view()?.pan(-PULL, 0), ""],
  "Shift ArrowUp": [() => view()?.pan(0, PULL), ""], "Shift ArrowDown": [() => view()?.pan(0, -PULL), ""],
});

/**
 * Mouse, touch and stylus: two fingers, the middle or right button and the wheel move the view. So does one finger, unless
 * there is a pen: {press, move, lift, cancel, pulls}, told of places in the picture; pulls: whether it moves the view now.
 */
export function listen(box, view, pen = null) {
  const fingers = new Map();
  const at = (event) => {
    const frame = box.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  };
  const inPicture = (event) => {
    const { x, y } = at(event);
    return view.inPicture(x, y);
  };
  let pulling = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    box.focus({ preventScroll: true });
    if (pen) box.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    if (fingers.size === 2) pen?.cancel();
    else if (!pen || event.button > 0 || pen.pulls()) pulling = at(event);
    else if (fingers.size === 1) pen.press(inPicture(event));
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId), now = at(event);
    if (fingers.size === 2 && before) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const length = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
      view.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
      view.zoom(length(now) / length(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    } else if (pulling && before) {
      if (now.x !== pulling.x || now.y !== pulling.y) view.pan(now.x - pulling.x, now.y - pulling.y);
      pulling = now;
    } else if (pen) {
      for (const one of event.getCoalescedEvents?.() ?? []) pen.move(inPicture(one));
      pen.move(inPicture(event));
    }
    if (before) fingers.set(event.pointerId, now);
  });
  const end = (event) => {
    const was = fingers.delete(event.pointerId);
    if (pulling) pulling = null;
    else if (pen && event.type === "pointerup") pen.lift();
    else if (pen && (was || event.type === "pointercancel")) pen.cancel();
  };
  for (const type of ["pointerup", "pointercancel", ...(pen ? [] : ["pointerleave"])]) box.addEventListener(type, end);
  box.addEventListener("contextmenu", (event) => event.preventDefault());
  box.addEventListener("dblclick", () => { if (!pen) view.fit(); });
  box.addEventListener("wheel", (event) => {
    view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), at(event));
    event.preventDefault();
  }, { passive: false });
}
