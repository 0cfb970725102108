// What a model proposes: masks for phrases, or phrases with their masks. What people wrote and drew stays as it is.

import * as api from "./api.js";
import { toast } from "./dom.js";

const NO_MODEL = "There is no model to ask: start the command with --predict CHECKPOINT.";

/** Have the model draw every phrase that has no mask and does not name nothing. */
export function propose(page) {
  page.keepText();
  const { session } = page, open = session.phrases.filter((phrase) => phrase.text.trim() && !phrase.masks.length && !phrase.nothing && phrase.status !== "accepted");
  if (!session.model) return toast(NO_MODEL);
  if (!open.length) return toast("Every phrase has a mask, or names nothing.");
  return page.tools.look(() => api.propose(session.index, open.map((phrase) => phrase.text)), ({ model, masks }) => {
    const drawn = open.map((asked, i) => [session.phrases.find((one) => one.id === asked.id && one.text === asked.text && !one.masks.length && !one.nothing), masks[i]]);
    const count = begin(page, model, drawn.filter(([phrase, mask]) => phrase && mask));
    toast(`${model} proposes ${count} of ${open.length} masks${count ? ": accept (Enter), draw on, or reject (R)" : ""}.`);
  });
}

/** Have the model say what is in the picture, and draw it; what is said already, by whomever, is not proposed. */
export function describe(page) {
  page.keepText();
  const { session } = page;
  if (!session.model) return toast(NO_MODEL);
  return page.tools.look(() => api.describe(session.index), ({ model, phrases, masks, undrawn }) => {
    const said = new Set(session.phrases.map((phrase) => plain(phrase.text)));
    let number = Number(session.free("p").slice(1));
    const fresh = phrases.map((text, i) => [{ id: `p${number++}`, text, proposal: { model, text } }, masks[i]]).filter(([phrase]) => !said.has(plain(phrase.text)));
    const count = begin(page, model, fresh);
    toast([`${model} proposes ${count} ${count === 1 ? "phrase" : "phrases"}${count ? ": accept (Enter), change, or reject (R)" : ""}.`,
      phrases.length > count ? `${phrases.length - count} are said already.` : "", undrawn ? `${undrawn} more it names and does not draw.` : ""].filter(Boolean).join(" "));
  });
}

/** Refuse the masks that a model proposed for the phrase that is chosen, and the phrase if the model worded that, too. The masks
 * are kept to be counted. */
export function reject(page) {
  const { session } = page, { said } = session, proposed = session.masks.filter((mask) => mask.proposal && said?.masks.includes(mask.id));
  if (!proposed.length) return toast("Choose a phrase for which a model proposed a mask.");
  const gone = proposed.map((mask) => mask.id);
  const named = session.phrases.filter((phrase) => phrase.masks.some((id) => gone.includes(id)));
  const masks = Object.fromEntries(proposed.map((mask) => [mask.id, { ...mask, role: "rejected" }]));
  const phrases = Object.fromEntries(named.map((phrase) => {
    const left = phrase.masks.filter((id) => !gone.includes(id)), isNamed = Object.keys(page.dialogues.without(phrase.id)).length > 0;
    const goes = !left.length && !isNamed && phrase.proposal?.text === phrase.text;
    return [phrase.id, goes ? null : { ...phrase, masks: left, status: "new" }];
  }));
  session.mask = null;
  if (phrases[said.id] === null) session.phrase = null;
  return session.edit({ masks, phrases });
}

/** Keep [phrase, mask] pairs as proposals, and choose the first. How many there are. */
function begin(page, model, drawn) {
  const { session } = page, change = { phrases: {}, masks: {} };
  let number = Number(session.free("m").slice(1));
  for (const [phrase, rle] of drawn) {
    const id = `m${number++}`;
    change.masks[id] = { id, rle, proposal: { model, rle } };
    change.phrases[phrase.id] = { ...phrase, masks: [id], status: "proposed" };
  }
  if (!drawn.length) return 0;
  session.edit(change);
  session.phrase = null;
  page.choose("phrase", drawn[0][0].id);
  return drawn.length;
}

const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
