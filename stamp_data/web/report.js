// Pages that are read: their buttons and keys.

import { byId, commandKey, showKeys, switchTheme } from "./dom.js";

/** Listen to the theme, the keys and `commands`: by key, what it does and the words for it. */
export function listenToKeys(commands = {}) {
  const all = { ...commands, t: [() => switchTheme(), "dark or light"], "?": [() => showKeys(Object.entries(all).map(([key, [, words]]) => [key, words])), "these keys"] };
  byId("theme").addEventListener("click", all.t[0]);
  byId("help").addEventListener("click", all["?"][0]);
  document.addEventListener("keydown", (event) => {
    const command = all[commandKey(event)];
    if (!command) return;
    event.preventDefault();
    command[0]();
  });
  document.body.dataset.ready = "";
}
