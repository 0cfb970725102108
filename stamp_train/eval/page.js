// Cases of an evaluation: sorted, filtered, and one of them large, with both masks and what was answered.

import { byId, el, svg, toast } from "./dom.js";
import { listenToKeys } from "./report.js";
import { Viewer, viewKeys } from "./view.js";

const DATA = JSON.parse(byId("data").textContent);
const SORTS = {
  worst: ["Worst first", (one) => one.own.iou], best: ["Best first", (one) => -one.own.iou],
  small: ["Smallest", (one) => one.area], large: ["Largest", (one) => -one.area], long: ["Longest expression", (one) => -one.words],
  ...(DATA.against && { lost: ["Lost most", (one) => (one.other ? one.own.iou - one.other.iou : 2)], won: ["Won most", (one) => (one.other ? one.other.iou - one.own.iou : 2)] }),
};
const KINDS = { none: "no target", one: "one mask", several: "several masks" };
const SIZES = { small: ["below 1 %", (area) => area > 0 && area < 0.01], middle: ["1 to 10 %", (area) => area >= 0.01 && area < 0.1], large: ["10 % and more", (area) => area >= 0.1] };
const WORDS = { few: ["up to 3", (count) => count <= 3], some: ["4 to 8", (count) => count > 3 && count <= 8], many: ["9 and more", (count) => count > 8] };
const chosen = { sort: "worst", kind: "", size: "", words: "", flag: "", text: "", bin: -1 };
const view = { cases: [], at: -1, viewer: null, hidden: new Set() };

const bins = DATA.histograms[0].counts.length;
const binOf = (iou) => Math.min(bins - 1, Math.floor(iou * bins));

function fits(one) {
  return (!chosen.kind || one.kind === chosen.kind) && (!chosen.size || SIZES[chosen.size][1](one.area)) && (!chosen.words || WORDS[chosen.words][1](one.words))
    && (!chosen.flag || one.own.flags.includes(chosen.flag)) && (chosen.bin < 0 || binOf(one.own.iou) === chosen.bin)
    && `${one.expression} ${one.own.answer} ${one.id} ${one.set}`.toLowerCase().includes(chosen.text.toLowerCase());
}

function show() {
  const key = SORTS[chosen.sort][1];
  view.cases = DATA.cases.filter(fits).sort((a, b) => key(a) - key(b));
  const all = DATA.histograms[0].counts.reduce((sum, count) => sum + count, 0);
  byId("count").textContent = `${view.cases.length} of ${DATA.cases.length} cases that are shown here, of ${all.toLocaleString("en")} masks in all`;
  byId("empty").hidden = view.cases.length > 0;
  byId("cases").replaceChildren(...view.cases.map(card));
  for (const button of document.querySelectorAll(".bins [data-bin]")) button.setAttribute("aria-pressed", String(Number(button.dataset.bin) === chosen.bin));
}

function change(changes) {
  Object.assign(chosen, changes);
  show();
}

function picker(name, label, options) {
  const select = el("select", { id: `choose-${name}`, onchange: (event) => change({ [name]: event.target.value }) }, ...options.map(([value, words]) => el("option", { value }, words)));
  return el("label", {}, label, select);
}

function drawChoices() {
  const flags = [...new Set(DATA.cases.flatMap((one) => one.own.flags))].sort(), words = (table) => Object.entries(table).map(([name, [text]]) => [name, text]);
  byId("choices").replaceChildren(
    picker("sort", "Order", words(SORTS)), picker("kind", "Kind", [["", "any"], ...Object.entries(KINDS)]), picker("size", "Size", [["", "any"], ...words(SIZES)]),
    picker("words", "Words", [["", "any"], ...words(WORDS)]), picker("flag", "Flag", [["", "any"], ...flags.map((flag) => [flag, flag.replaceAll("_", " ")])]),
    el("label", {}, "Text", el("input", { id: "choose-text", type: "search", autocomplete: "off", oninput: (event) => change({ text: event.target.value }) })),
    el("button", { class: "toggle", id: "save-list", title: "The records of these cases, for annotate --from and build --exclude", onclick: saveList }, "List of these"));
}

/** All masks by IoU; a bar shows its cases alone. */
function drawHistograms() {
  byId("histograms").replaceChildren(...DATA.histograms.map(({ name, counts }, place) => {
    const most = Math.max(1, ...counts);
    const bar = (count, i) => {
      const words = `IoU ${(i / bins).toFixed(2)} to ${((i + 1) / bins).toFixed(2)}: ${count}`, inner = el("i", { "aria-hidden": "true", css: { height: `${(100 * count) / most}%` } });
      return place ? el("span", { class: "bin", title: words }, inner) : el("button", { title: words, "aria-label": words, "data-bin": i, "aria-pressed": "false", onclick: () => change({ bin: chosen.bin === i ? -1 : i }) }, inner);
    };
    return el("div", { tabindex: place ? 0 : null }, el("p", { class: "quiet" }, `IoU of all masks, ${name}`), el("div", { class: "bins" }, ...counts.map(bar)), el("div", { class: "ends" }, el("span", {}, "0"), el("span", {}, "1")));
  }));
}

/** Picture and masks. hidden: classes of paths that are left out. */
function frame(one, hidden = new Set()) {
  const paths = [["others", one.other?.drawn], ["drawn", one.own.drawn], ["truth", one.truth]].filter(([name, d]) => d && !hidden.has(name));
  return el("span", { class: "frame" },
    one.picture >= 0 ? el("img", { src: DATA.pictures[one.picture], alt: one.expression, width: one.width, height: one.height, loading: "lazy" }) : el("span", { class: "quiet" }, "The record cannot be read any more."),
    svg("svg", { viewBox: `0 0 ${one.width} ${one.height}`, "aria-hidden": "true" }, ...paths.map(([name, d]) => svg("path", { class: name, d }))));
}

function difference(one) {
  if (!one.other) return null;
  const change = one.own.iou - one.other.iou;
  return el("span", { class: change < 0 ? "worse" : "better" }, ` ${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(3)} against ${one.other.iou.toFixed(3)}`);
}

const facts = (one) => [one.set, one.id, `mask ${one.target + 1}`, one.kind === "none" && "no target", !one.own.drawn && "nothing predicted", ...one.own.flags.map((flag) => flag.replaceAll("_", " "))].filter(Boolean).join(" · ");

function card(one, place) {
  return el("figure", {}, el("button", { class: "case", onclick: () => open(place) }, frame(one), el("span", { class: "caption" },
    el("span", {}, el("b", {}, one.own.iou.toFixed(3)), difference(one), ` ${one.expression}`), el("span", {}, one.own.answer), el("span", { class: "quiet" }, facts(one)))));
}

const quoted = (text) => (/^[\w./:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function copied(text) {
  const line = el("input", { readonly: true, value: text, "aria-label": "Command", class: "command" });
  const copy = async () => {
    line.select();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      document.execCommand("copy"); // pages from disk may lack the modern way
    }
    toast("Copied", 1500);
  };
  return el("p", {}, line, " ", el("button", { class: "toggle", onclick: copy }, "Copy"));
}

/** Addresses of pages that are served, as the browser keeps them; it may not do so for pages from disk. */
const served = {
  get: (name) => { try { return localStorage.getItem(`stamp ${name}`) ?? ""; } catch { return served[name] ?? ""; } },
  set: (name, address) => { try { localStorage.setItem(`stamp ${name}`, address); } catch { served[name] = address; } },
};

/** A link into a page that is served, once the address that its command prints is known. place: what is looked at there. */
function link(name, words, place) {
  const to = el("a", { target: "_blank", rel: "noopener", class: "link" }, `${words} ↗`);
  const input = el("input", { class: "command", value: served.get(name), placeholder: "http://127.0.0.1:…", "aria-label": `Address of ${name}`, autocomplete: "off" });
  const point = () => {
    const url = URL.canParse(input.value.trim()) ? new URL(input.value.trim()) : null;
    to.hidden = !["http:", "https:", "file:"].includes(url?.protocol);
    if (!to.hidden) to.href = Object.assign(url, { hash: new URLSearchParams(place).toString() }).href;
    return served.set(name, input.value.trim());
  };
  input.addEventListener("input", point);
  point();
  return [el("p", { class: "quiet" }, "The address that it prints, for links from here:"), el("p", {}, input, " ", to)];
}

function open(place) {
  const dialog = byId("large"), one = view.cases[place];
  if (!one) return;
  view.at = place;
  const record = one.id.split("/")[0], box = el("div", { class: "canvas", tabindex: 0, role: "application", "aria-label": "Picture: the wheel, = and - zoom, Shift and arrows move it, v shows all of it" });
  const shown = frame(one, view.hidden);
  box.append(shown);
  const toggle = (name, words) => el("button", { class: "toggle", "aria-pressed": String(!view.hidden.has(name)), onclick: () => flip(name) }, words);
  dialog.replaceChildren(box, el("aside", {},
    el("p", { class: "actions" }, el("button", { class: "action", "aria-label": "Case before", title: "Case before (k)", onclick: () => step(-1) }, "‹"), el("button", { class: "action", "aria-label": "Next case", title: "Next case (j)", onclick: () => step(1) }, "›"),
      el("button", { class: "action", "aria-label": "Close", title: "Close (Esc)", onclick: () => dialog.close() }, "×")),
    el("h2", {}, one.expression),
    el("p", {}, toggle("truth", "True"), " ", toggle("drawn", "Predicted"), one.other && " ", one.other && toggle("others", "The other's")),
    el("p", {}, "IoU ", el("b", {}, one.own.iou.toFixed(3)), difference(one)),
    el("p", {}, el("span", { class: "quiet" }, "Answer "), one.own.answer),
    one.other && el("p", {}, el("span", { class: "quiet" }, "The other's "), one.other.answer),
    el("p", { class: "quiet" }, facts(one)),
    copied(`stamp-data inspect ${quoted(one.place)} --key ${quoted(record)}`),
    el("h3", {}, "In the gallery"), copied(`stamp-data inspect ${quoted(one.place)} --serve`), ...link("gallery", "The record", { set: one.set, key: record, d: one.id.split("/")[1] }),
    el("h3", {}, "To annotate"), el("p", {}, el("button", { class: "toggle", onclick: () => save([one]) }, "List of this record"), " and the folder of its pictures:"), copied("stamp-data annotate IMAGES --from list.jsonl"),
    ...link("annotate", "The picture", { picture: one.file })));
  if (!dialog.open) dialog.showModal();
  view.viewer = new Viewer(box, shown, one);
  box.focus({ preventScroll: true });
}

const step = (by) => open(view.at + by);

function flip(name) {
  if (view.hidden.has(name)) view.hidden.delete(name);
  else view.hidden.add(name);
  open(view.at);
}

const saveList = () => save(view.cases);

/** Records of cases as a list of tagged records. */
function save(cases) {
  const rows = new Map(cases.map((one) => [`${one.set} ${one.id.split("/")[0]}`, { schema: "stamp.tags/1", set: one.set, record: one.id.split("/")[0], tags: ["evaluation"], place: one.place }]));
  const address = URL.createObjectURL(new Blob([...rows.values()].map((row) => `${JSON.stringify(row)}\n`), { type: "application/jsonl" }));
  el("a", { href: address, download: "list.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const inLarge = (work) => () => { if (byId("large").open) work(); };
byId("key-other").hidden = !DATA.against;
byId("large").addEventListener("close", () => {
  document.querySelectorAll(".case")[view.at]?.focus();
  view.viewer = null;
});
drawChoices();
drawHistograms();
show();
listenToKeys({
  j: [inLarge(() => step(1)), "next case; so does →"], k: [inLarge(() => step(-1)), "case before; so does ←"], ArrowRight: [inLarge(() => step(1)), ""], ArrowLeft: [inLarge(() => step(-1)), ""],
  1: [inLarge(() => flip("truth")), "true mask"], 2: [inLarge(() => flip("drawn")), "predicted mask"], 3: [inLarge(() => flip("others")), "the other's mask"], ...viewKeys(() => view.viewer),
});
