// What the page asks of its server.

import { ask, askJson, lines, sending } from "./ask.js";

export { Refusal } from "./ask.js";

/**
 * A new conversation: about a file or about the picture of the conversation `chat`, or that which the command was given.
 * model: that answers.
 */
export const open = ({ file = null, name = file?.name ?? "", model = "", chat = "" } = {}) => askJson("api/open", { name, model, chat }, { method: "POST", body: file ?? "" });

/** A conversation as it stands. */
export const state = (chat) => askJson("api/state", { chat });

/** Take back the last round; the conversation as it stands then. */
export const undo = (chat) => askJson("api/undo", { chat }, { method: "POST" });

export const stop = (chat) => ask("api/stop", { chat }, { method: "POST" });
export const pictureAddress = (chat) => `api/picture?${new URLSearchParams({ chat })}`;
export const maskAddress = (chat, number) => `api/mask?${new URLSearchParams({ chat, number })}`;
export const saveAddress = (chat) => `api/save?${new URLSearchParams({ chat })}`;

/** Ask, and hear the answer: events as they arrive. asked: {text, force_mask, temperature, seed}, see `server.py`. */
export async function* say(chat, asked) {
  yield* lines(await ask("api/say", { chat }, sending(asked)));
}
