// One picture at a time: what is shown of it, and what is done with its phrases, its masks and the view.

import * as api from "./api.js";
import { buttonId, COMMANDS, OTHER_KEYS } from "./commands.js";
import { Compare } from "./compare.js";
import { Dialogues } from "./dialogues.js";
import { byId, showKeys, toast } from "./dom.js";
import { Hints } from "./hints.js";
import { showPanel, showRows } from "./panel.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";

export const KEPT = "annotate"; // where a reloaded page finds its picture
const TOLD = 5; // names
const READING = 10_000; // milliseconds for a long sentence
const WRITING = 800; // milliseconds without a key after which what is written is kept

export class Page {
  constructor() {
    this.session = new Session(() => this.fresh(), () => this.changed(), (text) => toast(text));
    this.tools = new Tools(this.session, (text) => { toast(text); return null; });
    this.stage = new Stage(this.session, (context, stage) => this.tools.draw(context, stage));
    this.tools.stage = this.stage;
    this.hints = new Hints(this.session);
    this.dialogues = new Dialogues(this);
    this.hints.paint = () => this.stage.paint();
    this.compare = new Compare(this.session);
    this.stage.under = (context, stage) => {
      this.compare.draw(context);
      this.hints.draw(context, stage);
    };
    this.images = new Map(); // by index: pictures that are loaded or on their way
    this.timer = 0;
    this.moving = null; // where the focus is on its way to
  }

  /** Show a picture; once it is there, the next one is loaded. */
  async go(index) {
    const { session } = this;
    if (index < 0 || index >= session.rows.length) return toast(index < 0 ? "This is the first picture." : "This is the last picture; u goes to one that is not done.");
    const began = performance.now();
    this.tools.cancel();
    this.keepText();
    byId("pictures").close();
    this.stage.leave();
    try {
      const image = this.load(index);
      if (!(await session.open(index))) return null;
      await image.decode();
      if (session.index !== index) return null;
      this.stage.show(image, session.image);
      session.changed();
    } catch (fault) {
      if (!(fault instanceof api.Refusal) && !(fault instanceof DOMException)) throw fault;
      if (session.index !== index) return null; // another picture was asked for meanwhile
      this.unshown(index, fault);
    }
    this.took = performance.now() - began;
    sessionStorage.setItem(KEPT, String(index));
    for (const other of this.images.keys()) if (Math.abs(other - index) > 1) this.images.delete(other);
    if (index + 1 < session.rows.length) this.load(index + 1).decode().catch(() => null);
    return null;
  }

  /** The picture that an address names (#picture=PATH, or the end of one), -1 if none. */
  named(hash) {
    const wanted = new URLSearchParams(hash.slice(1)).get("picture");
    const { rows } = this.session, whole = rows.findIndex(({ name }) => name === wanted);
    return whole >= 0 || !wanted ? whole : rows.findIndex(({ name }) => name.endsWith(`/${wanted}`) || wanted.endsWith(`/${name}`));
  }

  load(index) {
    if (!this.images.has(index)) this.images.set(index, Object.assign(new Image(), { src: api.imageAddress(index) }));
    return this.images.get(index);
  }

  unshown(index, fault) {
    const why = fault instanceof api.Refusal ? fault.message : "The browser cannot show this picture.";
    this.images.delete(index);
    this.session.document = null;
    this.session.rows[index] = { ...this.session.rows[index], state: "damaged", fault: why };
    this.fresh();
    byId("fault").textContent = why;
    byId("fault").hidden = false;
    this.changed();
  }

  fresh() {
    this.hints.forget();
    this.compare.forget();
    byId("fault").hidden = true;
  }

  changed() {
    showPanel(this);
    this.marked();
    this.compare.look();
    this.stage.bare = this.compare.parts.length > 0;
    this.hints.show();
    this.hints.ask();
    this.stage.paint();
  }

  marked() {
    const { session, tools } = this, row = session.rows[session.index];
    byId("name").textContent = row?.name ?? "";
    byId("place").textContent = `${session.index + 1} of ${session.rows.length} · ${row?.state ?? ""} · ${session.rows.filter((one) => one.state === "done").length} done`;
    byId("state").textContent = { saved: "saved", saving: "saving…", conflict: "not saved", lost: "not saved" }[session.state];
    byId("conflict").hidden = session.state !== "conflict" && session.state !== "lost";
    byId("conflict-text").textContent = session.state === "conflict"
      ? "This picture was changed elsewhere, in another tab perhaps. Your last change was not saved, and nothing was overwritten."
      : `Your last change was not saved: ${session.why}`;
    const pressed = { Brush: tools.name === "brush" && !tools.cut, Eraser: tools.name === "brush" && tools.cut, Polygon: tools.name === "polygon", Box: tools.name === "box",
      Fill: tools.name === "fill", "Thing in a box": tools.name === "in box", Superpixel: tools.name === "alike", Scissors: tools.name === "edge", "Points (SAM)": tools.name === "points", Hand: tools.name === "hand", "Cut off": tools.cut, Patches: this.hints.shown, "Model beside mine": this.compare.shown, "Hide masks": this.stage.hidden };
    for (const [words, is] of Object.entries(pressed)) byId(buttonId(words)).setAttribute("aria-pressed", String(is));
    byId(buttonId("Undo")).disabled = !session.undoable;
    byId(buttonId("Redo")).disabled = !session.redoable;
    byId("size").textContent = `${tools.size} px`;
    byId("stage").dataset.tool = tools.name;
  }

  // Phrases

  /** A new phrase of the words in the line for it, which stay there where they cannot be kept. */
  addWritten() {
    const line = byId("new-phrase");
    if (!this.session.document) toast("There is no picture here of which this could be said.");
    if (!line.value.trim() || !this.session.document || this.session.stopped) return;
    this.add(line.value);
    line.value = "";
  }

  add(text) {
    const id = this.session.free("p");
    Object.assign(this.session, { phrase: id, mask: null });
    this.session.edit({ phrases: { [id]: { id, text: text.trim(), masks: [] } } });
  }

  retext(id, text) {
    this.forget();
    delete this.hints.written[id];
    const phrase = this.session.phrases.find((one) => one.id === id);
    if (phrase && phrase.text !== text) this.session.edit({ phrases: { [id]: { ...phrase, text, status: "new" } } });
  }

  typing(id, text) {
    this.hints.ask({ [id]: text });
    this.later(() => this.retext(id, text));
  }

  /** Keep what is being written as soon as nobody writes for a while. */
  later(keep) {
    clearTimeout(this.timer);
    this.pending = () => { this.timer = 0; keep(); };
    this.timer = setTimeout(this.pending, WRITING);
  }

  /** What was being written is kept already. */
  forget() {
    clearTimeout(this.timer);
    this.timer = 0;
  }

  told(text) { toast(text); }

  /** Keep what is being written, now. */
  keepText() {
    if (this.timer) this.pending();
  }

  note(kind, id, values) {
    this.forget();
    const thing = this.session[kind].find((one) => one.id === id);
    const isOther = ([name, value]) => String(thing[name] ?? "") !== String(value);
    if (thing && Object.entries(values).some(isOther)) this.session.edit({ [kind]: { [id]: { ...thing, ...values } } });
  }

  /** Keep the notes of the picture. */
  noteImage(notes) {
    this.forget();
    if (this.session.document && (this.session.document.notes ?? "") !== notes) this.session.edit({ notes });
  }

  status(status) {
    const said = this.session.said;
    if (!said) return toast("Choose a phrase first, or write one (n).");
    return this.session.edit({ phrases: { [said.id]: { ...said, status } } });
  }

  accept() {
    this.keepText();
    const { session } = this, said = session.said;
    if (!said) return toast("Write a phrase first (n).");
    if (!said.text.trim()) return toast("The phrase has no words.");
    if (!said.nothing && !said.masks.length) return toast("Draw what it names, or say that it names nothing here (0).");
    this.status("accepted");
    const next = session.phrases.find((phrase) => phrase.status !== "accepted");
    if (next) this.choose("phrase", next.id);
    return null;
  }

  askNothing() {
    if (!this.session.said) return toast("Write the phrase first (n).");
    const dialog = byId("nothing");
    byId("nothing-text").textContent = `“${this.session.said.text}” names nothing here:`;
    dialog.showModal();
    return null;
  }

  nothing(reason) {
    byId("nothing").close();
    const said = this.session.said;
    this.session.mask = null;
    this.session.edit({ phrases: { [said.id]: { ...said, masks: [], nothing: reason, status: "new" } } });
  }

  removePhrase() {
    const said = this.session.said;
    if (!said) return;
    this.session.phrase = null;
    this.session.edit({ phrases: { [said.id]: null }, dialogues: this.dialogues.without(said.id) });
  }

  // Masks

  link(id) {
    const said = this.session.said;
    if (!id || !said) return toast("Linking takes a phrase and a mask: choose both.");
    if (this.session.masks.find((mask) => mask.id === id).role === "ignore") return toast("This mask is to be ignored, so no phrase names it; i makes it one of what is there.");
    const masks = said.masks.includes(id) ? said.masks.filter((one) => one !== id) : [...said.masks, id];
    return this.session.edit({ phrases: { [said.id]: { ...said, masks, nothing: undefined, status: "new" } } });
  }

  reshape(shape) {
    const mask = this.session.drawn;
    if (!mask) return toast("Choose a mask first.");
    const { height, width } = this.session.image;
    return this.tools.put(shape(this.session.runs(mask), height, width));
  }

  /** The current mask with the one after it, by union or subtraction. */
  combine(how) {
    const { session } = this, place = session.masks.findIndex((mask) => mask.id === session.mask);
    if (place < 0 || session.masks.length < 2) return toast("This takes two masks: the current one, and the one after it in the list.");
    const other = session.masks[(place + 1) % session.masks.length];
    return this.tools.put(how(session.runs(session.drawn), session.runs(other)));
  }

  ignore() {
    const mask = this.session.drawn;
    if (!mask) return toast("Choose a mask first.");
    return this.tools.ignore(mask);
  }

  /** Make a phrase or a mask (or none) the current one. */
  choose(what, id) {
    const { session } = this;
    if (session[what] === id || !session.document) return;
    session[what] = id;
    if (what === "phrase" && !session.said?.masks.includes(session.mask)) session.mask = session.said?.masks[0] ?? null;
    this.changed();
  }

  turn(kind, what, by) {
    const things = this.session[kind];
    if (!things.length) return;
    const place = things.findIndex((thing) => thing.id === this.session[what]);
    this.choose(what, things[(Math.max(place, by > 0 ? -1 : 0) + by + things.length) % things.length].id);
  }

  // Tools, view and page

  tool(name, cut = this.tools.cut) {
    this.tools.cut = cut;
    if (name !== this.tools.name) this.tools.choose(name);
    this.stage.sketch();
    this.marked();
  }

  resize(size) {
    this.tools.size = size ?? this.tools.size;
    this.marked();
    this.stage.sketch();
  }

  patches() {
    this.hints.shown = !this.hints.shown;
    this.changed();
  }

  hide() {
    this.stage.hidden = !this.stage.hidden;
    this.changed();
  }

  unfinished() {
    const { rows, index } = this.session;
    const order = rows.map((_, i) => (index + 1 + i) % rows.length);
    return order.find((i) => rows[i].state !== "done" && rows[i].state !== "damaged") ?? rows.length;
  }

  nextUnfinished() {
    const index = this.unfinished();
    return this.session.rows[index] ? this.go(index) : toast("Every picture is done.");
  }

  /** Write what a review has changed of its sets, once all is saved. */
  async patch() {
    this.keepText();
    await this.session.sending;
    try {
      const { file, records, open, damaged } = await api.patch(), left = open.length + damaged.length;
      const names = [...open, ...damaged].slice(0, TOLD).join(", ") + (left > TOLD ? ", …" : "");
      toast(`${file}: ${records === 1 ? "1 record is" : `${records} records are`} changed; build with --patch ${file}.`
        + (left ? ` Left out, as nobody has accepted their changes or they are damaged: ${names}.` : ""), READING);
    } catch (fault) {
      if (!(fault instanceof api.Refusal)) throw fault;
      toast(fault.message, READING);
    }
  }

  showList() {
    byId("find").value = "";
    showRows(this);
    byId("pictures").showModal();
  }

  help() { showKeys([...COMMANDS.map(([key, words]) => [key, words]), ...OTHER_KEYS]); }

  focus(id) {
    const input = byId(id);
    input?.focus();
    input?.select();
  }

  pen() {
    const at = this.stage.cursor ?? this.stage.step(0, 0);
    if (this.tools.down) return this.tools.lift();
    this.tools.move(at);
    this.tools.press(at);
    if (this.tools.clicks) this.tools.lift();
    return null;
  }

  arrow(key, event) {
    const far = event.altKey ? 1 : Math.max(1, Math.round(4 / this.stage.scale)) * (event.shiftKey ? 10 : 1);
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    this.tools.move(this.stage.step(x * far, y * far));
  }
}
