// What all pages share. Text of data, models and users only ever becomes text nodes or attribute values, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An HTML element. props: attributes; `on…` handlers, `css` for custom properties, true/false attributes. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element, likewise. */
export function svg(tag, props = {}, ...children) {
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

let toastTimer = 0;

/** Say something for a moment. */
export function toast(text, milliseconds = 4000) {
  const box = byId("toast");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), milliseconds);
}

/** The theme that is not seen now, of which `chosen` is "" where the system's is. */
export function otherTheme(chosen) {
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return dark ? "light" : "dark";
}

/** Switch between dark and light, of which `kept` is what was chosen before; what is chosen now. */
export function switchTheme(kept = document.documentElement.dataset.theme) {
  return (document.documentElement.dataset.theme = otherTheme(kept));
}

/** Whether keys are text there. */
export const isWriting = (node) => node.matches?.("input:not([type=range], [type=checkbox], [type=button]), textarea, select") ?? false;

/** The key that may be a command, arrows with "Shift " before them: "" where it belongs to the browser, to what is written or slid, or to the dialog of keys. */
export function commandKey(event) {
  const arrow = event.key.startsWith("Arrow");
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target)) return "";
  if ((arrow && event.target.matches?.("[type=range]")) || (byId("keys").open && event.key !== "?")) return "";
  return arrow && event.shiftKey ? `Shift ${event.key}` : event.key;
}

/** Show the keys, pairs of a key and what it does, or close them again. One without words does what another does. */
export function showKeys(keys) {
  const dialog = byId("keys");
  if (dialog.open) return dialog.close();
  dialog.replaceChildren(el("h2", {}, "Keys"),
    el("dl", {}, ...keys.filter(([, what]) => what).flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
    el("button", { class: "primary", onclick: () => dialog.close() }, "Close"));
  dialog.showModal();
  dialog.scrollTop = 0; // or a long list begins at its end, where the button is
}
