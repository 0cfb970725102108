// Asking a page's own server. Addresses are relative: the token that every one of them needs is in the page's own.

/** What the server refused, in its words. status: of HTTP, 0 where no answer came. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** An answer as it comes; Refusal for any other than a good one. values: of the query. */
export async function ask(place, values = {}, options = {}) {
  let answer;
  try {
    answer = await fetch(`${place}?${new URLSearchParams(values)}`, options);
  } catch {
    throw new Refusal(0, "The server does not answer. Is the command still running?");
  }
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, refusal.error ?? answer.statusText);
  }
  return answer;
}

export const askJson = async (place, values, options) => (await ask(place, values, options)).json();

/** Options of a request that brings a value along. */
export const sending = (value) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

/** The values of an answer that is JSON by the line, as they come. */
export async function* lines(answer) {
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
    const whole = (rest + part.value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}
