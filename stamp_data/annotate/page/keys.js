// What keys do: where somebody writes they are text, on a button or a slider they are its own, anywhere else they are commands.

import { COMMANDS } from "./commands.js";
import { byId, isWriting } from "./dom.js";
import { reasons } from "./panel.js";

const REPEATED = /^(Arrow.*|[-=[\]{}.,;<>zyadjkJK])$/; // keys that may be held; whoever holds another means it once
const KEYS = new Map(COMMANDS.map(([key, , , work]) => [key, work]));

export function onKey(page, event) {
  const writing = isWriting(event.target), slides = event.target.matches("[type=range]") && event.key.startsWith("Arrow");
  if (slides || event.isComposing || event.ctrlKey || event.metaKey) return;
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (event.altKey && digit && event.target.dataset.writing === "answer") {
    page.dialogues.insert(event.target, page.session.phrases[digit[1] - 1]);
    event.preventDefault();
    return;
  }
  if (event.shiftKey && event.key === "Enter" && event.target.matches("textarea")) return; // a new line
  if (event.target.id === "find") {
    if (event.key === "Enter") document.querySelector("#rows button")?.click();
    return;
  }
  if (writing && (event.key === "Escape" || event.key === "Enter")) {
    if (event.target.id === "new-phrase" && event.key === "Enter") page.addWritten();
    event.target.blur();
    byId("stage").focus({ preventScroll: true });
    event.preventDefault();
    return;
  }
  const open = document.querySelector("dialog[open]");
  if (open?.id === "nothing" && /^[1-4]$/.test(event.key)) {
    page.nothing(reasons[Number(event.key) - 1][0]);
    event.preventDefault();
    return;
  }
  if (writing || (open && !(event.key === "?" && open.id === "keys"))) return;
  if (event.repeat && !REPEATED.test(event.key)) return event.preventDefault();
  const onButton = event.target.matches("button, [type=checkbox]") && (event.key === "Enter" || event.key === " ");
  if (onButton || (event.altKey && !event.key.startsWith("Arrow"))) return;
  if (event.key.startsWith("Arrow")) page.arrow(event.key, event);
  else if (event.key === " ") page.pen();
  else if (/^[1-9]$/.test(event.key)) page.link(page.session.masks[Number(event.key) - 1]?.id);
  else if (KEYS.has(event.key)) KEYS.get(event.key)(page);
  else return;
  event.preventDefault();
}
