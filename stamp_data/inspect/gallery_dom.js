// Making elements. Text from data sets only ever becomes text nodes or attribute values, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. props: attributes; `class`, `on…` handlers and true/false attributes as one expects. */
function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element, likewise. */
function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "css") for (const [key, setting] of Object.entries(value)) node.style.setProperty(key, setting);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

const byId = (id) => document.getElementById(id);

/** Put `nodes` in place of all that `parent` holds. */
function replace(parent, ...nodes) {
  parent.replaceChildren(...nodes.filter(Boolean));
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const number = (value) => whole.format(value);
const percent = (share) => `${(100 * share).toFixed(share < 0.01 ? 2 : share < 0.1 ? 1 : 0)}%`;
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

let toastTimer = 0;

/** Say something for a moment. */
function toast(text) {
  const box = byId("toast");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), 1800);
}

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
  toast(`Copied ${text}`);
}

const KINDS = { single: "one target", multi: "several targets", no_target: "no target", chat: "conversation" };

/** A flag's code as a badge, with its meaning as the tooltip. */
function flagBadge(code) {
  const flag = DATA.codes[code];
  return el("span", { class: `badge ${flag.severity}`, title: `${code}: ${flag.title}` }, code.replace("STP-", ""));
}
