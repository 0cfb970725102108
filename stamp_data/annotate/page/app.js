// Putting it together: the page, its buttons, its keys and its pen.

import { buttonId, COMMANDS } from "./commands.js";
import { byId, el, toast } from "./dom.js";
import { onKey } from "./keys.js";
import { KEPT, Page } from "./page.js";
import { reasons, showRows } from "./panel.js";
import { listen as listenToPointers } from "./view.js";

/** The pen that draws; the view is moved by `view.js`. */
const penOf = (page) => ({
  press: (at) => {
    page.stage.cursor = null;
    page.tools.press(at);
  },
  move: (at) => page.tools.move(at), lift: () => page.tools.lift(), cancel: () => page.tools.drop(), pulls: () => page.tools.name === "hand",
});

function listen(page) {
  for (const [key, words, group, work] of COMMANDS) {
    byId(`group-${group}`).append(el("button", { id: buttonId(words), class: "action", title: `${words} (${key})`, onclick: () => work(page) }, words, " ", el("kbd", { "aria-hidden": "true" }, key)));
  }
  byId("reasons").append(...reasons.map(([reason, words], i) => el("button", { class: "action", onclick: () => page.nothing(reason) }, `${words} `, el("kbd", {}, String(i + 1)))));
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    page.addWritten();
  });
  byId("notes").addEventListener("input", (event) => page.later(() => page.noteImage(event.target.value)));
  byId("notes").addEventListener("change", (event) => page.noteImage(event.target.value));
  byId("find").addEventListener("input", (event) => showRows(page, event.target.value));
  byId("close-list").addEventListener("click", () => byId("pictures").close());
  byId("close-nothing").addEventListener("click", () => byId("nothing").close());
  byId("reload").addEventListener("click", () => page.session.reload());
  byId("opacity").addEventListener("input", (event) => {
    page.stage.opacity = event.target.value / 100;
    page.stage.paint();
  });
  document.addEventListener("input", ({ target }) => {
    if (target.maxLength > 0 && target.value.length >= target.maxLength) toast(`At most ${target.maxLength.toLocaleString("en")} characters are taken here.`);
  });
  document.addEventListener("keydown", (event) => onKey(page, event));
  document.querySelector(".panel").addEventListener("focusout", () => setTimeout(() => page.session.document && page.changed()));
  window.addEventListener("pagehide", () => page.keepText());
  window.addEventListener("beforeunload", (event) => {
    page.keepText();
    if (page.session.state !== "saved" || byId("new-phrase").value.trim()) event.preventDefault(); // the browser asks whether to leave
  });
  listenToPointers(page.stage.box, page.stage, penOf(page));
}

const page = new Page();
listen(page);
await page.session.begin();
byId("by").textContent = page.session.by;
const kept = Number(sessionStorage.getItem(KEPT) ?? -1), named = page.named(location.hash);
await page.go(named >= 0 ? named : kept >= 0 && kept < page.session.rows.length ? kept : page.unfinished() % page.session.rows.length);
window.addEventListener("hashchange", () => { if (page.named(location.hash) >= 0) page.go(page.named(location.hash)); });
byId("stage").focus({ preventScroll: true });
window.annotate = page; // for whoever looks on from the console
document.body.dataset.ready = "";
