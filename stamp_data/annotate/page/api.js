// The server's side of the page. Addresses are relative: the token that every one of them needs is in the page's own.

/** What the server refused, in its words. conflict: another tab was there first. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.conflict = status === 409;
    this.lost = status === 0;
  }
}

const address = (place, values) => `api/${place}?${new URLSearchParams(values)}`;

async function ask(place, options) {
  let answer;
  try {
    answer = await fetch(place, options);
  } catch {
    throw new Refusal(0, "The server does not answer. Is the command still running?");
  }
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, refusal.error ?? answer.statusText);
  }
  return answer.json();
}

/** All pictures with their states: {by, folder, images: [{name, state, phrases, accepted, fault}]}. */
export const list = () => ask("api/list");

/** What is said of a picture: {document, revision, undo, redo, row}. */
export const open = (image) => ask(address("open", { image }));

/** Change it: {revision, undo, redo, row}. */
export const edit = (image, revision, change) => ask(address("edit", { image }), {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ revision, change }),
});

export const undo = (image, revision) => ask(address("undo", { image, revision }), { method: "POST" });
export const redo = (image, revision) => ask(address("redo", { image, revision }), { method: "POST" });
export const imageAddress = (image) => address("image", { image });

/** Masks that the model proposes for phrases: {model, masks: [{size, counts} or null]}. */
export const propose = (image, phrases) => ask(address("propose", { image }), {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ phrases }),
});

/** What the model sees and draws: {model, phrases, masks, undrawn}; the last says how many more it names. */
export const describe = (image) => ask(address("describe", { image }), { method: "POST" });

/** Help with drawing: {masks: [{size, counts}], path: [[x, y]], model} for a tool of `assist.py` and places [x, y]. */
export const suggest = (image, tool, places, more = {}) => ask(address("suggest", { image }), {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tool, places, ...more }),
});

/** What is to be said of phrases as they are written, and a mask in the model's labels; see `hints.py`. */
export const hints = (image, phrases, mask) => ask(address("hints", { image }), {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ phrases, mask: mask ?? "" }),
});
