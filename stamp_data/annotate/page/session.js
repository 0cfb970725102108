// The picture that is annotated, what is said of it, and how that is kept: each change is shown at once, and sent in order.

import * as api from "./api.js";
import { decode } from "./runs.js";

const IDLE = 60; // seconds without a change that still count as work

/** fresh: called when there is another document; changed: when something of it is; told: with what is to be said. */
export class Session {
  constructor(fresh, changed, told) {
    Object.assign(this, { fresh, changed, told, rows: [], index: -1, document: null, phrase: null, mask: null, undoable: false, redoable: false, state: "saved", why: "" });
    this.sending = Promise.resolve();
    this.unsent = []; // changes that the server has not answered yet, in order
    this.opening = 0; // how often a picture was asked for
    this.since = 0;
    this.runsOf = new Map(); // by mask id: {counts, runs}
  }

  async begin() {
    const { by, folder, model, images } = await api.list();
    Object.assign(this, { by, folder, model, rows: images });
  }

  get image() { return this.document.image; }
  get phrases() { return this.document?.phrases ?? []; } // none while another picture is on its way
  get masks() { return (this.document?.masks ?? []).filter((mask) => mask.role !== "rejected"); }
  get said() { return this.phrases.find((phrase) => phrase.id === this.phrase) ?? null; }
  get drawn() { return this.masks.find((mask) => mask.id === this.mask) ?? null; }

  /** Whether a change was not kept, so that none may follow before what is there was seen. */
  get stopped() { return this.state === "conflict" || this.state === "lost"; }

  /** Show a picture's annotations; what is still to be sent is sent first. False if one was asked for again meanwhile. */
  async open(index) {
    const turn = this.opening += 1;
    for (let sent = null; sent !== this.sending;) await (sent = this.sending); // more may be said meanwhile
    if (this.opening !== turn) return false;
    this.index = index;
    this.document = this.phrase = this.mask = null;
    const saved = await api.open(index);
    if (this.opening !== turn) return false;
    this.show(saved, true);
    return true;
  }

  show(saved, isNew = false) {
    const { document } = saved;
    this.document = { ...document, phrases: document.phrases ?? [], masks: document.masks ?? [], dialogues: document.dialogues ?? [] };
    for (const phrase of this.phrases) phrase.masks ??= [];
    this.took(saved);
    for (const change of this.unsent) this.put(change); // said since the server was asked
    this.state = this.unsent.length ? "saving" : "saved";
    this.since = Date.now();
    if (!this.said) this.phrase = (this.phrases.find((phrase) => phrase.status !== "accepted") ?? this.phrases[0])?.id ?? null;
    if (!this.drawn) this.mask = this.said?.masks[0] ?? null;
    if (isNew) this.fresh();
    this.changed();
  }

  took({ revision, undo, redo, row }) {
    this.document.revision = revision;
    this.undoable = undo;
    this.redoable = redo;
    this.rows[this.index] = row;
  }

  runs(mask) {
    const kept = this.runsOf.get(mask.id);
    if (kept?.counts === mask.rle.counts) return kept.runs;
    const runs = decode(mask.rle);
    this.runsOf.set(mask.id, { counts: mask.rle.counts, runs });
    return runs;
  }

  /** A name that nothing has: "p4", "m4" or "d4". */
  free(letter) {
    const { phrases, masks, dialogues } = this.document;
    const numbers = { p: phrases, m: masks, d: dialogues }[letter].map((thing) => Number(thing.id.replace(/^\D+/, "")) || 0);
    return `${letter}${Math.max(0, ...numbers) + 1}`;
  }

  /** Do this after all that was begun before, whatever became of that. */
  inTurn(work) {
    const done = this.sending.then(work);
    this.sending = done.catch(() => null);
    return done;
  }

  /** Things by id as they are to be, null for what is to go, or the picture's notes; shown now, kept as soon as the server has it. */
  edit(change) {
    const index = this.index;
    if (!this.document) return;
    if (this.stopped) return void this.told("This is not kept: show what is saved first (the button at the top).");
    this.count(change);
    this.put(change);
    this.unsent.push(change);
    this.state = "saving";
    this.changed();
    this.inTurn(async () => {
      if (!this.unsent.includes(change)) return;
      await this.attempt(async () => this.took(await api.edit(index, this.document.revision, change)), change);
      if (!this.unsent.length && this.state === "saving") this.state = "saved";
      this.changed();
    });
  }

  /** Have the document say what a change says. */
  put(change) {
    for (const kind of ["phrases", "masks", "dialogues"]) {
      for (const [id, thing] of Object.entries(change[kind] ?? {})) put(this.document[kind], id, thing);
    }
    if (change.notes !== undefined) this.document.notes = change.notes;
    this.undoable = true;
    this.redoable = false;
  }

  /** Seconds of work since the last change go to the first thing of this one. */
  count(change) {
    const now = Date.now(), seconds = Math.round(Math.min((now - this.since) / 1000, IDLE) * 10) / 10;
    const things = [change.masks, change.phrases, change.dialogues].flatMap((kind) => Object.values(kind ?? {})).filter((thing) => thing);
    const [first] = things;
    for (const thing of things) thing.made = { by: this.by, seconds: thing === first ? seconds : 0 };
    this.since = now;
  }

  /** Do something with the server, as to send a change; what it refuses is said, and what it has is shown, if it has it. */
  async attempt(work, change = null) {
    try {
      await work().finally(() => { this.unsent = this.unsent.filter((one) => one !== change); });
    } catch (fault) {
      if (!(fault instanceof api.Refusal)) throw fault;
      this.state = fault.status === 409 ? "conflict" : "lost";
      this.why = fault.message;
      this.told(fault.message);
      const saved = fault.status === 409 || fault.status === 0 ? null : await api.open(this.index).catch((other) => { this.why = other.message; });
      if (saved) return this.show(saved);
      this.unsent = []; // what was said after it may stand on it
      if (this.document) this.changed();
    }
  }

  undo() { return this.move("undoable", api.undo); }
  redo() { return this.move("redoable", api.redo); }

  move(possible, ask) {
    return this.inTurn(async () => {
      if (this.document && this[possible] && !this.stopped) await this.attempt(async () => this.show(await ask(this.index, this.document.revision)));
    });
  }

  /** Forget what this page has, and show what is there. */
  async reload() {
    this.state = "saved";
    this.unsent = [];
    await this.sending;
    await this.attempt(async () => this.show(await api.open(this.index)));
  }
}

function put(things, id, thing) {
  const place = things.findIndex((one) => one.id === id);
  if (thing === null) things.splice(place, place < 0 ? 0 : 1);
  else if (place < 0) things.push(thing);
  else things[place] = thing;
}
