// Putting it together: one conversation per page, its buttons and its keys.

import * as api from "./api.js";
import { byId, commandKey, el, showKeys, switchTheme, toast } from "./dom.js";
import * as stage from "./stage.js";
import { act, Answering, markChips, showRounds } from "./talk.js";
import { viewKeys } from "./view.js";

const KEPT = "chat", ALL = "chats"; // where a reloaded page finds its conversation, and all that were begun
const NEAR = 0.3; // of the picture's longer side: what is shown to the model of a point that is asked about
const EXAMPLES = ["What is in this picture?", "Please segment the largest object in this image."];
const KEYS = [
  ["Enter", "send"], ["Shift Enter", "a new line"], ["Esc", "stop the answer; leave the question"], ["/", "to the question"],
  ["1 … 9", "show or hide the mask of that number"], ["a", "show or hide all masks"], ["m", "force a mask"],
  ["z", "take back the last question"], ["r", "answer the last question again"], ["w", "ask what is at a point"], ["s", "save as JSON"], ["o", "another picture"], ["t", "dark or light"],
];

const VIEW = viewKeys(() => stage.viewer);
const page = { chat: "", model: "", rounds: [], answering: false, seed: 0, asking: false, chats: [] };

function show(state) {
  page.chat = state.id;
  page.rounds = state.rounds;
  page.model = state.model;
  sessionStorage.setItem(KEPT, state.id);
  byId("model").textContent = state.models.length > 1 ? "" : state.model;
  byId("models").hidden = state.models.length < 2;
  byId("models").replaceChildren(...state.models.map((name) => el("option", { value: name, selected: name === state.model }, name)));
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
  point(false);
  if (!page.chats.some((one) => one.id === state.id)) page.chats.push({ id: state.id, name: state.image.name });
  sessionStorage.setItem(ALL, JSON.stringify(page.chats));
  stage.showPicture(state.image, api.pictureAddress(state.id), state.image.name);
  byId("heat").value = state.temperature; // only here: what was chosen since counts for the next question
  show(state);
  showPictures();
}

/** The pictures that were talked about, to go back to. */
function showPictures() {
  byId("pictures").hidden = page.chats.length < 2;
  byId("pictures").replaceChildren(...page.chats.map((one) => el("button", { class: "thumb", title: one.name, "aria-label": one.name, "aria-current": one.id === page.chat ? "true" : null, onclick: () => turnTo(one) },
    el("img", { src: api.pictureAddress(one.id), alt: "" }))));
}

async function turnTo(one) {
  if (page.answering || one.id === page.chat) return;
  try {
    begin(await api.state(one.id));
  } catch (fault) {
    if (!(fault instanceof api.Refusal)) throw fault;
    page.chats = page.chats.filter((other) => other !== one);
    showPictures();
    toast(fault.status === 410 ? "That conversation has been closed." : fault.message);
  }
}

function marked() {
  const going = page.answering;
  document.body.toggleAttribute("data-answering", going);
  byId("go").textContent = going ? "Stop" : "Send";
  byId("undo").disabled = going || !page.rounds.length;
  for (const id of ["open", "point", "models"]) byId(id).disabled = going;
  byId("again").disabled = going || !page.rounds.length;
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

async function send(asked = null) {
  if (page.answering) return attempt(() => api.stop(page.chat));
  const text = asked?.text ?? byId("question").value.trim();
  if (!text) return byId("question").focus();
  const before = page.rounds.length;
  page.answering = true;
  marked();
  const answering = new Answering(text);
  if (!asked) suggest("");
  const forced = asked?.forced ?? byId("force").getAttribute("aria-pressed") === "true";
  const done = await attempt(() => hear(answering, { text, force_mask: forced, temperature: heat(), seed: page.seed || undefined }));
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
async function hear(answering, asked) {
  let state = null, first = true;
  for await (const event of api.say(page.chat, asked)) {
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

/** Each file is a conversation of its own; the last is shown. */
async function open(files) {
  if (page.answering) return;
  for (const file of files) {
    const state = await attempt(() => api.open({ file, model: byId("models").value }));
    if (state) begin(state);
  }
}

const heat = () => Math.min(2, Math.max(0, Number(byId("heat").value) || 0));

/** Answer the last question again; with a temperature, in other words. */
async function again() {
  if (page.answering || !page.rounds.length) return null;
  const last = page.rounds.at(-1), forced = last.pieces[0] === 0 && byId("force").getAttribute("aria-pressed") === "true";
  page.answering = true; // or a second press would take back one more
  marked();
  const state = await attempt(() => api.undo(page.chat));
  page.answering = false;
  if (!state) return marked();
  show(state);
  page.seed += 1;
  return send({ text: last.question, forced });
}

/** Begin or end to ask what is at a point. */
function point(is) {
  page.asking = is;
  byId("point").setAttribute("aria-pressed", String(is));
  byId("canvas").toggleAttribute("data-asking", is);
}

/** Ask what is at a place of the picture: about what lies around it, as a picture of its own. */
async function askAt({ x, y }) {
  const picture = byId("picture"), wide = picture.naturalWidth, high = picture.naturalHeight;
  if (page.answering || x < 0 || y < 0 || x >= wide || y >= high) return;
  const side = Math.round(NEAR * Math.max(wide, high)), width = Math.min(side, wide), height = Math.min(side, high);
  const [left, top] = [Math.min(Math.max(0, x - width / 2), wide - width), Math.min(Math.max(0, y - height / 2), high - height)];
  const canvas = el("canvas", { width, height });
  canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
  const file = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
  const state = await attempt(() => api.open({ file, name: `${picture.alt} at ${Math.floor(x)}, ${Math.floor(y)}`, model: byId("models").value }));
  if (!state) return;
  begin(state);
  await send({ text: "What is this?", forced: false });
}

async function change(model) {
  const state = await attempt(() => api.open({ model, chat: page.chat }));
  if (state) begin(state);
  else byId("models").value = page.model;
}

act.address = (number) => api.maskAddress(page.chat, number);
act.copy = async (number) => {
  try {
    const data = fetch(act.address(number)).then((answer) => answer.blob());
    await navigator.clipboard.write([new ClipboardItem({ "image/png": data })]);
    toast(`Copied mask ${number}`, 1800);
  } catch (fault) {
    toast(`Not copied: ${fault.message}`);
  }
};

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
  "/": () => byId("question").focus(), a: stage.toggleAll, m: () => press(byId("force")), z: undo, r: again, w: () => point(!page.asking),
  s: () => byId("save").click(), o: () => byId("open").click(), t: () => switchTheme(), "?": () => help(),
  ...Object.fromEntries(Object.entries(VIEW).map(([key, [work]]) => [key, work])),
};

const help = () => showKeys([...KEYS, ...Object.entries(VIEW).map(([key, [, words]]) => [key, words]), ["?", "these keys"]]);

function onKey(event) {
  const writing = event.target === byId("question");
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = commandKey(event);
  if (event.key === "Escape" && page.asking) point(false);
  else if (event.key === "Escape" && page.answering) attempt(() => api.stop(page.chat));
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
  byId("file").addEventListener("change", (event) => { open([...event.target.files]); event.target.value = ""; });
  byId("undo").addEventListener("click", undo);
  byId("again").addEventListener("click", again);
  byId("point").addEventListener("click", () => point(!page.asking));
  byId("models").addEventListener("change", (event) => change(event.target.value));
  byId("canvas").addEventListener("click", (event) => {
    const box = byId("canvas").getBoundingClientRect();
    if (page.asking) askAt(stage.viewer.inPicture(event.clientX - box.left, event.clientY - box.top));
  });
  byId("theme").addEventListener("click", () => switchTheme());
  byId("help").addEventListener("click", help);
  byId("masks").addEventListener("click", stage.toggleAll);
  byId("force").addEventListener("click", (event) => press(event.currentTarget));
  byId("opacity").addEventListener("input", (event) => stage.setOpacity(event.target.value / 100));
  document.addEventListener("keydown", onKey);
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); open([...event.dataTransfer.files]); });
  document.addEventListener("paste", (event) => open([...event.clipboardData.files]));
}

/** The conversation that this page had before it was reloaded, or a new one. */
async function resume() {
  page.chats = JSON.parse(sessionStorage.getItem(ALL) ?? "[]");
  const kept = sessionStorage.getItem(KEPT);
  try {
    if (kept) return await api.state(kept);
  } catch (fault) {
    if (!(fault instanceof api.Refusal)) throw fault;
  }
  page.chats = [];
  return api.open();
}

listen();
const first = await attempt(resume);
if (first) begin(first);
byId("question").focus({ preventScroll: true });
document.body.dataset.ready = "";
