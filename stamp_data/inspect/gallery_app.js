// Putting it together: toolbar, keys, and who redraws when the state changes.

const KEYS = [
  ["j / k, → / ←", "next / previous record"], ["Enter", "open the record"], ["Esc", "close"],
  ...MODES.map((mode) => [mode.key, `overlay: ${mode.name.toLowerCase()}`]),
  ...Object.entries(viewKeys(() => null)).map(([key, [, words]]) => [key, words]), ["f", "flagged records only"], ["/", "search"], ["x", "tag with “flag”, or take that off"], ["y", "copy the key"], ["t", "dark or light"], ["?", "these keys"],
];

/** Buttons of the overlay modes. group: tells several sets of buttons apart. */
function modeButtons(group) {
  const button = (mode) => el("button", {
    role: "radio", "aria-checked": String(state.view === mode.id), "data-mode": mode.id, "data-group": group,
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

function drawFilters() {
  const inputs = DATA.report.inputs.map((input) => input.settings);
  const values = (name) => [...new Set(inputs.map((settings) => settings[name]))].sort();
  const codes = new Set([...DATA.report.flags.map((flag) => flag.code), ...DATA.records.flatMap((record) => [...codesOf(record)])]);
  const options = (any, pairs) => [["", any], ...pairs];
  const flagged = el("button", {
    class: "toggle", id: "filter-flagged", "aria-pressed": String(Boolean(state.flagged)), title: "Flagged only (f)",
    onclick: () => change({ flagged: state.flagged ? "" : "1" }),
  }, "Flagged");
  const near = el("button", {
    class: "toggle", id: "filter-near", "aria-pressed": String(Boolean(state.near)), title: "Nearly the same pictures, side by side",
    onclick: () => change({ near: state.near ? "" : ANY }),
  }, "Near-duplicates");
  replace(byId("filters"),
    picker("source", "Source", options("All", values("dataset").map((value) => [value, value]))),
    picker("split", "Split", options("All", values("split").map((value) => [value, value]))),
    picker("kind", "Kind", options("All", Object.entries(KINDS))),
    picker("flag", "Flag", options("Any", [...codes].sort().map((code) => [code, `${code.slice(4)} ${DATA.codes[code].title}`]))),
    picker("tag", "Tag", options("Any", allTags().map((tag) => [tag, tag]))),
    picker("sort", "Sort", SORTS), flagged, (DATA.mode === "server" || DATA.records.some((record) => record.near)) && near,
    el("button", { class: "toggle", id: "save-tags", title: "Save the list of tagged records, for build --exclude and annotate --from", onclick: saveTags }, `List (${tagged.size})`));
}

/** Let the controls show the state, whoever changed it. */
function markFilters() {
  for (const name of ["source", "split", "kind", "flag", "tag", "sort"]) byId(`filter-${name}`).value = state[name];
  byId("filter-flagged").setAttribute("aria-pressed", String(Boolean(state.flagged)));
  byId("filter-near")?.setAttribute("aria-pressed", String(Boolean(state.near)));
  if (byId("search").value !== state.q) byId("search").value = state.q;
  byId("reset").hidden = !FILTERS.some((name) => name !== "sort" && state[name]);
}

function applyTheme() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
}

const toggleTheme = () => change({ theme: otherTheme(state.theme) });

const COMMANDS = {
  j: () => (detail.record ? neighbour(1) : step(1)),
  k: () => (detail.record ? neighbour(-1) : step(-1)),
  f: () => change({ flagged: state.flagged ? "" : "1" }),
  y: () => { const record = detail.record ?? grid.records[grid.current]; if (record) copy(record.key); },
  x: () => { const record = detail.record ?? grid.records[grid.current]; if (record) toggleFlag(record); },
  t: toggleTheme,
  ArrowRight: () => COMMANDS.j(), ArrowLeft: () => COMMANDS.k(),
  ...Object.fromEntries(Object.entries(viewKeys(() => detail.viewer)).map(([key, [work]]) => [key, work])),
  "?": () => showKeys(KEYS),
  "/": () => { if (detail.record) closeDetail(); byId("search").focus(); byId("search").select(); },
  ...Object.fromEntries(MODES.map((mode) => [mode.key, () => change({ view: mode.id })])),
};

function onKey(event) {
  if (isWriting(event.target) && event.key === "Escape") return event.target.blur();
  const command = COMMANDS[commandKey(event)];
  if (!command) return null;
  event.preventDefault();
  return command();
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
  byId("modes").replaceWith(modeButtons("bar"));
  markFilters();
  byId("search").addEventListener("input", (event) => {
    clearTimeout(typed);
    typed = setTimeout(() => change({ q: event.target.value }), 120);
  });
  byId("theme").addEventListener("click", toggleTheme);
  byId("help").addEventListener("click", () => showKeys(KEYS));
  byId("reset").addEventListener("click", () => change(Object.fromEntries(FILTERS.map((name) => [name, DEFAULTS[name]]))));
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
