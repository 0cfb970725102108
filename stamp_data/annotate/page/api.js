// What the page asks of its server.

import { askJson, sending } from "./ask.js";

export { Refusal } from "./ask.js";

/** All pictures with their states: {by, folder, images: [{name, state, phrases, accepted, fault}]}. */
export const list = () => askJson("api/list");

/** What is said of a picture: {document, revision, undo, redo, row}. */
export const open = (image) => askJson("api/open", { image });

/** Change it: {revision, undo, redo, row}. */
export const edit = (image, revision, change) => askJson("api/edit", { image }, sending({ revision, change }));

export const undo = (image, revision) => askJson("api/undo", { image, revision }, { method: "POST" });
export const redo = (image, revision) => askJson("api/redo", { image, revision }, { method: "POST" });

/** Write what a review has changed: {file, records, open, damaged}; the last two name what is not in it. */
export const patch = () => askJson("api/patch", {}, { method: "POST" });

export const imageAddress = (image) => `api/image?${new URLSearchParams({ image })}`;

/** Masks that the model proposes for phrases: {model, masks: [{size, counts} or null]}. */
export const propose = (image, phrases) => askJson("api/propose", { image }, sending({ phrases }));

/** What the model sees and draws: {model, phrases, masks, undrawn}; the last says how many more it names. */
export const describe = (image) => askJson("api/describe", { image }, { method: "POST" });

/** Help with drawing: {masks: [{size, counts}], path: [[x, y]], model} for a tool of `assist.py` and places [x, y]. */
export const suggest = (image, tool, places, more = {}) => askJson("api/suggest", { image }, sending({ tool, places, ...more }));

/** What is to be said of phrases as they are written, and a mask in the model's labels; see `hints.py`. */
export const hints = (image, phrases, mask) => askJson("api/hints", { image }, sending({ phrases, mask: mask ?? "" }));
