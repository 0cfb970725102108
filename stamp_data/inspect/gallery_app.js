// Putting it together: toolbar, keys, and who redraws when the state changes.

/** Buttons of the overlay modes. */
function modeButtons() {
  const button = (mode) => el("button", {
    role: "radio", "aria-checked": String(state.view === mode.id), "data-mode": mode.id,
    title: `${mode.name} (${mode.key})`, onclick: () => change({ view: mode.id }),
  }, mode.name);
  return el("div", { class: "segments", role: "radiogroup", "aria-label": "Overlay" }, ...MODES.map(button));
}

function markModes() {
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-checked", String(button.dataset.mode === state.view));
  }
}

function picker(name, label, options) {
  const select = el("select", { id: `filter-${name}`, "aria-label": label }, ...options.map(([value, text]) => el("option", { value }, text)));
  select.value = state[name];
  select.addEventListener("change", () => change({ [name]: select.value }));
  return el("label", { class: "picker" }, el("span", {}, label), select);
}

/** A button for a filter that is on, with `value`, or off. */
const toggle = (name, value, label, title) => el("button", {
  class: "toggle", id: `filter-${name}`, "aria-pressed": String(Boolean(state[name])), title,
  onclick: () => change({ [name]: state[name] ? "" : value }),
}, label);

function drawFilters() {
  const inputs = DATA.report.inputs.map((input) => input.settings);
  const values = (name) => [...new Set(inputs.map((settings) => settings[name]))].sort();
  const codes = new Set([...DATA.report.flags.map((flag) => flag.code), ...DATA.records.flatMap((record) => [...codesOf(record)])]);
  const options = (any, pairs) => [["", any], ...pairs];
  replace(byId("filters"),
    picker("source", "Source", options("All", values("dataset").map((value) => [value, value]))),
    picker("split", "Split", options("All", values("split").map((value) => [value, value]))),
    picker("kind", "Kind", options("All", Object.entries(KINDS))),
    picker("flag", "Flag", options("Any", [...codes].sort().map((code) => [code, `${code.slice(4)} ${DATA.codes[code].title}`]))),
    picker("tag", "Tag", options("Any", allTags().map((tag) => [tag, tag]))),
    picker("sort", "Sort", SORTS),
    toggle("flagged", "1", "Flagged", "Flagged only (f)"),
    (DATA.mode === "server" || DATA.records.some((record) => record.near)) && toggle("near", ANY, "Near-duplicates", "Nearly the same pictures, side by side"),
    el("button", { class: "toggle", id: "save-tags", title: "Save the list of tagged records, for build --exclude and annotate --from", onclick: saveTags }, `List (${tagged.size})`));
}

/** Let the controls show the state, whoever changed it. */
function markFilters() {
  for (const name of ["source", "split", "kind", "flag", "tag", "sort"]) byId(`filter-${name}`).value = state[name];
  byId("filter-flagged").setAttribute("aria-pressed", String(Boolean(state.flagged)));
  byId("filter-near")?.setAttribute("aria-pressed", String(Boolean(state.near)));
  if (byId("search").value !== state.q) byId("search").value = state.q;
  byId("reset").hidden = !isFiltered();
}

function applyTheme() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
}

const toggleTheme = () => change({ theme: otherTheme(state.theme) });

const go = (by) => () => (detail.record ? neighbour(by) : step(by));
/** The record that is open, or else the one whose card has the focus. */
const current = () => detail.record ?? grid.records[grid.current];

/** What keys do, and the words for it. Those without words do what another does; those without work are the browser's. */
const KEYS = {
  "j / k, → / ←": [null, "next / previous record"], j: [go(1)], k: [go(-1)], ArrowRight: [go(1)], ArrowLeft: [go(-1)],
  Enter: [null, "open the record"], Esc: [null, "close"],
  ...Object.fromEntries(MODES.map((mode) => [mode.key, [() => change({ view: mode.id }), `overlay: ${mode.name.toLowerCase()}`]])),
  ...viewKeys(() => detail.viewer),
  f: [() => change({ flagged: state.flagged ? "" : "1" }), "flagged records only"],
  "/": [() => { if (detail.record) closeDetail(); byId("search").focus(); byId("search").select(); }, "search"],
  x: [() => { if (current()) toggleFlag(current()); }, "tag with “flag”, or take that off"],
  y: [() => { if (current()) copy(current().key); }, "copy the key"],
  t: [toggleTheme, "dark or light"],
  "?": [() => help(), "these keys"],
};
const help = () => showKeys(Object.entries(KEYS).map(([key, [, words]]) => [key, words]));

function onKey(event) {
  if (isWriting(event.target) && event.key === "Escape") return event.target.blur();
  const [work] = KEYS[commandKey(event)] ?? [];
  if (!work) return null;
  event.preventDefault();
  return work();
}

function onState(changed) {
  const has = (...names) => names.some((name) => changed.has(name));
  if (has("theme")) applyTheme();
  if (has(...FILTERS)) {
    markFilters();
    reload();
    drawStatistics();
  }
  if (has("view", "opacity")) {
    markModes();
    redrawCards();
    if (detail.record) drawStage();
  }
  if (has("key", "set", "d")) showDetail();
}

let typed = 0;

async function start() {
  readHash();
  recallTags();
  applyTheme();
  byId("title").textContent = DATA.title;
  byId("headline").textContent = DATA.headline;
  byId("notice").textContent = DATA.notice;
  byId("notice").hidden = !DATA.notice;
  byId("stats").open = state.stats === "open";
  byId("stats").addEventListener("toggle", () => change({ stats: byId("stats").open ? "open" : "closed" }));
  drawFilters();
  byId("modes").replaceWith(modeButtons());
  markFilters();
  byId("search").addEventListener("input", (event) => {
    clearTimeout(typed);
    typed = setTimeout(() => change({ q: event.target.value }), 120);
  });
  byId("theme").addEventListener("click", toggleTheme);
  byId("help").addEventListener("click", help);
  byId("reset").addEventListener("click", () => change(UNFILTERED));
  byId("detail").addEventListener("cancel", (event) => { event.preventDefault(); closeDetail(); });
  byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) closeDetail(); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => {
    const before = { ...state };
    readHash();
    const changed = new Set(Object.keys(state).filter((name) => state[name] !== before[name]));
    if (changed.size) onState(changed);
  });
  onChange(onState);
  await reload();
  await drawStatistics();
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) more(); }, { rootMargin: "800px" })
    .observe(byId("sentinel"));
  window.addEventListener("scroll", () => { if (nearEnd()) more(); }, { passive: true }); // an end that was never out of sight is no news to the observer
  if (state.key) showDetail();
  document.body.dataset.ready = "true";
}

start();
