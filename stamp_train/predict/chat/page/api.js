// The server's side of the page. Addresses are relative: the token that every one of them needs is in the page's own.

/** What the server refused, in its words. gone: the conversation is no longer there. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.gone = status === 410;
  }
}

const address = (place, chat) => `api/${place}?${new URLSearchParams({ chat })}`;

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
  return answer;
}

/** A new conversation: about a file, or about the picture that the command was given. */
export async function open(file) {
  const name = file ? `?${new URLSearchParams({ name: file.name ?? "" })}` : "";
  return (await ask(`api/open${name}`, { method: "POST", body: file ?? "" })).json();
}

/** A conversation as it stands. */
export const state = async (chat) => (await ask(address("state", chat))).json();

/** Take back the last round; the conversation as it stands then. */
export const undo = async (chat) => (await ask(address("undo", chat), { method: "POST" })).json();

export const stop = (chat) => ask(address("stop", chat), { method: "POST" });
export const pictureAddress = (chat) => address("picture", chat);
export const saveAddress = (chat) => address("save", chat);

/** Ask, and hear the answer: events as they arrive, see `server.py`. */
export async function* say(chat, text, force) {
  const answer = await ask(address("say", chat), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text, force_mask: force }),
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch {
      throw new Refusal(0, "The connection was lost in the middle of the answer.");
    }
    if (part.done) return;
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}
