// What the page asks of its server.

import { ask, askJson, lines, sending } from "./ask.js";

export { Refusal } from "./ask.js";

/** A new conversation: about a file, or about the picture that the command was given. */
export const open = (file) => askJson("api/open", file ? { name: file.name ?? "" } : {}, { method: "POST", body: file ?? "" });

/** A conversation as it stands. */
export const state = (chat) => askJson("api/state", { chat });

/** Take back the last round; the conversation as it stands then. */
export const undo = (chat) => askJson("api/undo", { chat }, { method: "POST" });

export const stop = (chat) => ask("api/stop", { chat }, { method: "POST" });
export const pictureAddress = (chat) => `api/picture?${new URLSearchParams({ chat })}`;
export const saveAddress = (chat) => `api/save?${new URLSearchParams({ chat })}`;

/** Ask, and hear the answer: events as they arrive, see `server.py`. */
export async function* say(chat, text, force) {
  yield* lines(await ask("api/say", { chat }, sending({ text, force_mask: force })));
}
