// Dialogues of several turns: an ordered list of questions and answers, in which `[words](p1)` stands for the masks of a phrase.

import { byId, el } from "./dom.js";

const LINK = /\[([^[\]]*)\]\(([\w.-]{1,64})\)/g; // as `LINK` of schemas/annotated.py
const MOST_CHIPS = 30; // phrases that are buttons; all can be named in brackets
const BRACKETS = /\[([^[\]]+)\](?!\()/g;

export class Dialogues {
  constructor(page) {
    Object.assign(this, { page, dialogue: null, turn: 0 });
  }

  get session() { return this.page.session; }
  get all() { return this.session.document?.dialogues ?? []; }
  get current() { return this.all.find((one) => one.id === this.dialogue) ?? null; }

  /** A dialogue of one turn, to be written now. */
  add() {
    if (!this.session.document) return null;
    const id = this.session.free("d");
    Object.assign(this, { dialogue: id, turn: 0 });
    this.keep({ id, turns: [{ question: "", answer: "" }], status: "new" });
    return this.write("question");
  }

  addTurn() {
    const { current } = this;
    if (!current) return this.add();
    this.turn = Math.min(this.turn, current.turns.length - 1) + 1;
    this.keep({ ...current, turns: current.turns.toSpliced(this.turn, 0, { question: "", answer: "" }), status: "new" });
    return this.write("question");
  }

  /** Take the current turn away, and with the last one its dialogue. */
  removeTurn() {
    const { current } = this;
    if (!current) return;
    const turns = current.turns.toSpliced(this.turn, 1);
    if (turns.length) this.keep({ ...current, turns, status: "new" });
    else this.session.edit({ dialogues: { [current.id]: null } });
    this.turn = Math.max(0, Math.min(this.turn, turns.length - 1));
    this.page.changed();
  }

  /** Move the current turn by one place. */
  move(by) {
    const { current, turn } = this, place = turn + by;
    if (!current || place < 0 || place >= current.turns.length) return;
    this.turn = place;
    this.keep({ ...current, turns: current.turns.toSpliced(turn, 1).toSpliced(place, 0, current.turns[turn]), status: "new" });
  }

  /** Choose the next turn, or the one before, of all dialogues. */
  step(by) {
    const places = this.all.flatMap((one) => one.turns.map((_, turn) => [one.id, turn]));
    if (!places.length) return;
    const place = places.findIndex(([id, turn]) => id === this.dialogue && turn === this.turn);
    const [id, turn] = places[(Math.max(place, by > 0 ? -1 : 0) + by + places.length) % places.length];
    this.choose(id, turn);
  }

  choose(id, turn) {
    if (this.dialogue === id && this.turn === turn) return;
    Object.assign(this, { dialogue: id, turn });
    this.page.changed();
  }

  /** Put the caret into the question or the answer of the current turn. */
  write(what) {
    const area = byId(`${what}-${this.dialogue}-${this.turn}`);
    if (!area) return this.page.told("There is no dialogue yet: D begins one.");
    area.focus();
    return area.setSelectionRange(area.value.length, area.value.length);
  }

  status(status) {
    this.page.keepText();
    const { current } = this;
    if (!current) return this.page.told("There is no dialogue yet: D begins one.");
    if (status === "accepted" && current.turns.some(({ question, answer }) => !question.trim() || !answer.trim())) {
      return this.page.told("A turn lacks its question or its answer.");
    }
    return this.keep({ ...current, status });
  }

  keep(dialogue) { this.session.edit({ dialogues: { [dialogue.id]: dialogue } }); }

  /** Keep a text of a turn. ended: nobody is writing any more, so that words in brackets become phrases. */
  put(id, turn, what, text, ended) {
    const dialogue = this.all.find((one) => one.id === id), before = dialogue?.turns[turn];
    if (!before) return;
    const { said, phrases } = ended && what === "answer" ? this.linked(text) : { said: text, phrases: {} };
    if (before[what] === said) return;
    const turns = dialogue.turns.with(turn, { ...before, [what]: said });
    this.session.edit({ phrases, dialogues: { [id]: { ...dialogue, turns, status: "new" } } });
  }

  /** Keep a text that is left; what the focus goes to stays where it is. */
  left(event, keep) {
    const { page } = this;
    page.forget();
    page.moving = event.relatedTarget;
    keep();
    page.moving = null;
  }

  /** An answer in which words in brackets stand for the phrase that says the same, or for a new one. */
  linked(text) {
    const known = new Map(this.session.phrases.map((phrase) => [plain(phrase.text), phrase.id])), phrases = {};
    let number = Number(this.session.free("p").slice(1));
    const said = text.replace(BRACKETS, (whole, words) => {
      if (!words.trim()) return whole;
      if (!known.has(plain(words))) {
        const id = `p${number++}`;
        phrases[id] = { id, text: words.trim(), masks: [] };
        known.set(plain(words), id);
      }
      return `[${words}](${known.get(plain(words))})`;
    });
    return { said, phrases };
  }

  /** Put a phrase in at the caret of an answer, for the words that are chosen there. */
  insert(area, phrase) {
    if (!area || !phrase) return;
    const words = area.value.slice(area.selectionStart, area.selectionEnd) || phrase.text;
    document.execCommand("insertText", false, `[${words.replace(/[[\]]/g, "")}](${phrase.id})`); // as if it were typed
  }

  /** Dialogues in which the links of a phrase that goes are plain words again, by id. */
  without(phrase) {
    const plainly = (text) => text.replace(LINK, (whole, words, id) => (id === phrase ? words : whole));
    const changed = this.all.filter((one) => one.turns.some(({ answer }) => plainly(answer) !== answer));
    return Object.fromEntries(changed.map((one) => [one.id, { ...one, status: "new", turns: one.turns.map((turn) => ({ ...turn, answer: plainly(turn.answer) })) }]));
  }

  show() {
    byId("no-dialogues").hidden = this.all.length > 0;
    byId("dialogues").replaceChildren(...this.all.map((one) => this.row(one)));
  }

  row(dialogue) {
    const current = dialogue.id === this.dialogue;
    return el("li", { class: "row", "data-id": dialogue.id, "aria-current": current ? "true" : null },
      el("div", { class: "facts" },
        el("span", { class: `status ${(dialogue.status ?? "new").replace(" ", "-")}` }, dialogue.status ?? "new"),
        el("span", { class: "quiet" }, `${dialogue.turns.length} ${dialogue.turns.length === 1 ? "turn" : "turns"}`)),
      ...dialogue.turns.map((turn, place) => this.turnOf(dialogue.id, turn, place, current && place === this.turn)),
      el("div", { class: "tools" }, ...this.session.phrases.slice(0, MOST_CHIPS).map((phrase, i) => el("button", {
        class: "action", title: `Its masks, in the answer${i < 9 ? ` (Alt+${i + 1})` : ""}`,
        onpointerdown: (event) => event.preventDefault(), // the caret stays where it is
        onclick: () => this.insertBy(dialogue.id, phrase),
      }, `+ ${phrase.text}`))));
  }

  insertBy(id, phrase) {
    this.choose(id, this.dialogue === id ? this.turn : 0);
    if (document.activeElement?.id !== `answer-${id}-${this.turn}`) this.write("answer");
    this.insert(byId(`answer-${id}-${this.turn}`), phrase);
  }

  turnOf(id, turn, place, current) {
    const area = (what, words, placeholder) => el("textarea", {
      id: `${what}-${id}-${place}`, rows: 2, maxlength: 2000, placeholder, "aria-label": `${words} of turn ${place + 1}`, "data-writing": what,
      onfocus: () => this.choose(id, place),
      oninput: (event) => this.page.later(() => this.put(id, place, what, event.target.value, false)),
      onblur: (event) => this.left(event, () => this.put(id, place, what, event.target.value, true)),
    }, turn[what]);
    return el("div", { class: "turn", "aria-current": current ? "true" : null, onclick: () => this.choose(id, place) },
      area("question", "Question", "A question, or what is to be done"), area("answer", "Answer", "The answer; [the words] for masks"));
  }
}

const plain = (text) => text.trim().replace(/\s+/g, " ").toLowerCase();
