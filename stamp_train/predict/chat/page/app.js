// Putting it together: one conversation per page, its buttons and its keys.

import * as api from "./api.js";
import { byId, commandKey, el, showKeys, switchTheme, toast } from "./dom.js";
import * as stage from "./stage.js";
import { viewKeys } from "./view.js";
import { Answering, markChips, showRounds } from "./talk.js";

const KEPT = "chat"; // where a reloaded page finds its conversation
const EXAMPLES = ["What is in this picture?", "Please segment the largest object in this image."];
const KEYS = [
  ["Enter", "send"], ["Shift Enter", "a new line"], ["Esc", "stop the answer; leave the question"], ["/", "to the question"],
  ["1 … 9", "show or hide the mask of that number"], ["a", "show or hide all masks"], ["m", "force a mask"],
  ["z", "take back the last question"], ["s", "save as JSON"], ["o", "another picture"], ["t", "dark or light"],
];

const VIEW = viewKeys(() => stage.viewer);
const page = { chat: "", rounds: [], answering: false };

function show(state) {
  page.chat = state.id;
  page.rounds = state.rounds;
  sessionStorage.setItem(KEPT, state.id);
  byId("model").textContent = state.model;
  byId("save").href = api.saveAddress(state.id);
  showRounds(state.rounds, EXAMPLES.map((text) => el("button", { type: "button", class: "example", onclick: () => suggest(text) }, text)));
  showMasks();
  marked();
}

function showMasks() {
  const last = page.rounds.at(-1)?.masks ?? [];
  stage.setMasks(page.rounds.flatMap((round) => round.masks), last.map((mask) => mask.number));
}

function begin(state) {
  stage.showPicture(state.image, api.pictureAddress(state.id), state.image.name);
  show(state);
}

function marked() {
  const going = page.answering;
  document.body.toggleAttribute("data-answering", going);
  byId("go").textContent = going ? "Stop" : "Send";
  byId("undo").disabled = going || !page.rounds.length;
  byId("open").disabled = going;
}

function suggest(text) {
  byId("question").value = text;
  grow();
  byId("question").focus();
}

/** Do something with the server; what it refuses is said. */
async function attempt(work) {
  try {
    return await work();
  } catch (fault) {
    if (!(fault instanceof api.Refusal)) throw fault;
    toast(fault.message);
    if (fault.status === 410) begin(await api.open());
    return null;
  }
}

async function send() {
  if (page.answering) return attempt(() => api.stop(page.chat));
  const text = byId("question").value.trim();
  if (!text) return byId("question").focus();
  const before = page.rounds.length;
  page.answering = true;
  marked();
  const answering = new Answering(text);
  suggest("");
  const done = await attempt(() => hear(answering, text));
  page.answering = false;
  marked();
  if (done) show(done);
  else {
    answering.remove();
    showMasks(); // without those that were drawn early
  }
  // Refused, or stopped before the first word: the question can be changed and asked again.
  if (page.rounds.length === before && !byId("question").value) suggest(text);
  return null;
}

/** Show an answer as it comes; the conversation with it. */
async function hear(answering, text) {
  let state = null, first = true;
  for await (const event of api.say(page.chat, text, byId("force").getAttribute("aria-pressed") === "true")) {
    if (event.kind === "fault") throw new api.Refusal(0, event.text);
    if (event.kind === "mask") {
      stage.addMask(event.mask, first);
      first = false;
    }
    if (event.kind === "state") state = event.state;
    else answering.add(event);
  }
  if (!state) throw new api.Refusal(0, "The connection was lost in the middle of the answer.");
  byId("spoken").textContent = state.rounds.at(-1)?.answer ?? "";
  return state;
}

async function open(file) {
  if (page.answering || !file) return;
  const state = await attempt(() => api.open(file));
  if (state) begin(state);
}

async function undo() {
  if (page.answering || !page.rounds.length) return;
  const taken = page.rounds.at(-1).question;
  const state = await attempt(() => api.undo(page.chat));
  if (!state) return;
  show(state);
  if (!byId("question").value) suggest(taken);
}

const press = (button) => button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));

/** The question's box is as high as its text, within bounds that the style sheet sets. */
function grow() {
  const box = byId("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

const COMMANDS = {
  "/": () => byId("question").focus(), a: stage.toggleAll, m: () => press(byId("force")), z: undo,
  s: () => byId("save").click(), o: () => byId("open").click(), t: () => switchTheme(), "?": () => help(),
  ...Object.fromEntries(Object.entries(VIEW).map(([key, [work]]) => [key, work])),
};

const help = () => showKeys([...KEYS, ...Object.entries(VIEW).map(([key, [, words]]) => [key, words]), ["?", "these keys"]]);

function onKey(event) {
  const writing = event.target === byId("question");
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = commandKey(event);
  if (event.key === "Escape" && page.answering) attempt(() => api.stop(page.chat));
  else if (event.key === "Escape" && writing) byId("question").blur();
  else if (event.key === "Enter" && writing && !event.shiftKey) send();
  else if (/^[1-9]$/.test(key)) stage.toggleMask(Number(key));
  else if (COMMANDS[key]) COMMANDS[key]();
  else return;
  event.preventDefault();
}

function listen() {
  stage.onShown(markChips);
  byId("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  byId("question").addEventListener("input", grow);
  byId("open").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
  byId("undo").addEventListener("click", undo);
  byId("theme").addEventListener("click", () => switchTheme());
  byId("help").addEventListener("click", help);
  byId("masks").addEventListener("click", stage.toggleAll);
  byId("force").addEventListener("click", (event) => press(event.currentTarget));
  byId("opacity").addEventListener("input", (event) => stage.setOpacity(event.target.value / 100));
  document.addEventListener("keydown", onKey);
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); open(event.dataTransfer.files[0]); });
  document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));
}

/** The conversation that this page had before it was reloaded, or a new one. */
async function resume() {
  const kept = sessionStorage.getItem(KEPT);
  try {
    if (kept) return await api.state(kept);
  } catch (fault) {
    if (!(fault instanceof api.Refusal)) throw fault;
  }
  return api.open();
}

listen();
const first = await attempt(resume);
if (first) begin(first);
byId("question").focus({ preventScroll: true });
document.body.dataset.ready = "";
