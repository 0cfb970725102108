// What is being looked at. It lives in the address's hash, so that a link, a reload or a bookmark shows the same again.

const DATA = JSON.parse(byId("data").textContent);

const MODES = [
  { id: "mask", name: "Mask", key: "m" },
  { id: "outline", name: "Outline", key: "o" },
  { id: "cutout", name: "Cutout", key: "u" },
  { id: "grid", name: "Patches", key: "g" },
  { id: "diff", name: "Diff", key: "d" },
  { id: "none", name: "Off", key: "n" },
];

const SORTS = [
  ["", "As stored"],
  ["-area", "Largest mask"],
  ["area", "Smallest mask"],
  ["iou", "Most lost on patches"],
  ["-total", "Longest"],
  ["-dialogues", "Most expressions"],
  ["-flags", "Most flags"],
];

const UNFILTERED = { q: "", source: "", split: "", kind: "", flag: "", flagged: "", tag: "", near: "", sort: "" };
const DEFAULTS = {
  ...UNFILTERED, view: "mask", opacity: "16", theme: "", stats: matchMedia("(min-width: 721px)").matches ? "open" : "closed",
  set: "", key: "", d: "",
};

const state = { ...DEFAULTS };
const FILTERS = Object.keys(UNFILTERED);
const isFiltered = () => FILTERS.some((name) => name !== "sort" && state[name]);

function readHash() {
  const read = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(DEFAULTS)) state[name] = read.get(name) ?? DEFAULTS[name];
  if (!MODES.some((mode) => mode.id === state.view)) state.view = DEFAULTS.view;
  if (!SORTS.some(([id]) => id === state.sort)) state.sort = DEFAULTS.sort;
  state.opacity = String(Math.min(100, Math.max(0, Number.parseInt(state.opacity, 10) || 0)));
}

function writeHash() {
  const kept = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  const hash = new URLSearchParams(kept).toString();
  history.replaceState(null, "", `#${hash}`);
}

/** Change the state, and tell whoever draws what has changed. */
function change(changes) {
  const changed = Object.keys(changes).filter((name) => state[name] !== String(changes[name]));
  if (!changed.length) return;
  for (const name of changed) state[name] = String(changes[name]);
  writeHash();
  for (const listener of listeners) listener(new Set(changed));
}

const listeners = [];
const onChange = (listener) => listeners.push(listener);
