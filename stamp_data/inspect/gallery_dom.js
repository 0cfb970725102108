// Words and small parts that several scripts need.

/** Put `nodes` in place of all that `parent` holds. */
function replace(parent, ...nodes) {
  parent.replaceChildren(...nodes.filter(Boolean));
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const number = (value) => whole.format(value);
const percent = (share) => `${(100 * share).toFixed(share < 0.01 ? 2 : share < 0.1 ? 1 : 0)}%`;
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

/** Copy text; pages opened from disk may lack the modern way, so the old one stands in. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = el("textarea", { readonly: true, class: "offscreen" });
    box.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  toast(`Copied ${text}`, 1800);
}

const KINDS = { single: "one target", multi: "several targets", no_target: "no target", rounds: "several rounds", chat: "conversation" };

/** A flag's code as a badge, with its meaning as the tooltip. */
function flagBadge(code) {
  const flag = DATA.codes[code];
  return el("span", { class: `badge ${flag.severity}`, title: `${code}: ${flag.title}` }, code.replace("STP-", ""));
}
