// One record, large: its picture, what is said about it, and what each expression marks.

const detail = { record: null, selected: -1, frame: null, viewer: null };

/** Show the record that the state names, or close. */
async function showDetail() {
  const dialog = byId("detail");
  if (!state.key) {
    if (dialog.open) dialog.close();
    Object.assign(detail, { record: null, viewer: null });
    replace(dialog); // what is gone can no longer be hovered
    return;
  }
  const asked = `${state.set} ${state.key}`;
  let record = grid.records.find((one) => one.key === state.key && (!state.set || one.set === state.set));
  try {
    record ??= await source.find(state.set, state.key);
  } catch {
    record = null;
  }
  if (asked !== `${state.set} ${state.key}`) return; // another one has been asked for since
  if (!record) {
    toast(`No record ${state.key} here`);
    change({ set: "", key: "", d: "" });
    return;
  }
  detail.record = record;
  detail.selected = record.dialogues.findIndex((dialogue) => dialogue.id === state.d);
  drawDetail(dialog);
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".expression.selected")?.scrollIntoView({ block: "nearest" });
}

function drawDetail(dialog) {
  const record = detail.record, before = document.activeElement, isSame = dialog.dataset.key === `${record.set} ${record.key}`;
  const view = isSame && detail.viewer && !detail.viewer.whole ? { ...detail.viewer } : null;
  dialog.dataset.key = `${record.set} ${record.key}`;
  detail.frame = frame(record, record.dialogues[Math.max(detail.selected, 0)]?.text ?? record.key);
  replace(dialog, stage(record), panel(record));
  detail.viewer = new Viewer(dialog.querySelector(".canvas"), detail.frame, record.width ? record : { width: 640, height: 480 });
  if (view) {
    Object.assign(detail.viewer, { scale: view.scale, x: view.x, y: view.y, whole: false });
    detail.viewer.moved();
  }
  drawStage();
  if (dialog.open && !dialog.contains(document.activeElement)) (keptFocus(dialog, before) ?? dialog.querySelector(".canvas")).focus({ preventScroll: true });
}

/** What stands where the focus was before all was drawn anew. */
function keptFocus(dialog, before) {
  if (before.matches?.(".head")) return dialog.querySelector(`.head[data-id="${CSS.escape(before.dataset.id)}"]`);
  return before.title ? dialog.querySelector(`[title="${CSS.escape(before.title)}"]`) : null;
}

/** Targets of the selected expression; of all where none is selected. */
function selectedTargets() {
  if (!detail.record) return [];
  return detail.selected < 0 ? targetsOf(detail.record) : detail.record.dialogues[detail.selected].targets;
}

function drawStage(targets = selectedTargets()) {
  if (!byId("readout")) return;
  detail.frame.draw(targets);
  for (const path of detail.frame.querySelectorAll("[data-target]")) {
    const index = Number(path.dataset.target);
    path.addEventListener("mouseenter", () => mark(index));
    path.addEventListener("mouseleave", () => mark(-1));
  }
  byId("readout").textContent = readout(targets);
}

/** Point out the expressions that speak of a target. */
function mark(index) {
  for (const [place, node] of [...document.querySelectorAll("#detail .expression")].entries()) {
    node.classList.toggle("marked", detail.record.dialogues[place].targets.includes(index));
  }
  const target = detail.record.targets[index];
  byId("readout").textContent = target
    ? `${[...new Set(target.categories)].join(", ") || "target"} · ${target.id} · ${percent(target.area)} of the picture`
    : readout(selectedTargets());
}

function readout(indices) {
  const targets = indices.map((index) => detail.record.targets[index]).filter((target) => target.path);
  if (!detail.record.width) return "A conversation without a picture";
  if (!indices.length) return "Asks for no mask";
  if (!targets.length) return "No target";
  if (state.view !== "diff") return plural(targets.length, "target");
  const lost = targets.map((target) => 1 - target.iou);
  const numbers = lost.map((loss) => `−${loss.toFixed(3)}`).join(", ");
  return targets.length === 1 ? `IoU ${targets[0].iou.toFixed(3)}; ${numbers} lost to the patch grid` : `IoU lost to the patch grid: ${numbers}`;
}

function stage(record) {
  const box = el("div", { class: "stage" });
  const follow = (event) => {
    if (state.view !== "grid" || !record.width) return;
    const area = detail.frame.getBoundingClientRect();
    const [across, down] = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    if (across >= 0 && across < 1 && down >= 0 && down < 1) byId("readout").textContent = patchAt(record, selectedTargets(), across, down);
  };
  detail.frame.addEventListener("mousemove", follow);
  const legend = el("span", { class: "legend" },
    el("i", { class: "swatch", css: { "--colour": DATA.colours.missed } }), "missed by the patches",
    el("i", { class: "swatch", css: { "--colour": DATA.colours.extra } }), "added by them");
  box.append(
    el("div", { class: "canvas", tabindex: 0, role: "application", "aria-label": "Picture: the wheel, = and - zoom, Shift and arrows move it, v shows all of it" }, detail.frame),
    el("div", { class: "controls" },
      record.width > 0 && modeButtons(),
      record.width > 0 && el("label", { class: "opacity" }, "Opacity", opacitySlider()),
      el("span", { class: "readout", id: "readout", role: "status" }), legend));
  return box;
}

function opacitySlider() {
  const slider = el("input", { type: "range", min: 0, max: 100, value: state.opacity, "aria-label": "Opacity of the overlay" });
  slider.addEventListener("input", () => change({ opacity: slider.value }));
  return slider;
}

function panel(record) {
  const grid = record.width ? `${record.grid[0]}×${record.grid[1]} patches` : "";
  const dialogues = plural(record.dialogues.length, record.dialogues[0]?.kind === "chat" ? "conversation" : "expression");
  const facts = [record.set, record.width && `${record.width}×${record.height}`, grid, dialogues, record.file];
  return el("aside", { class: "panel" },
    el("header", {},
      el("div", { class: "nav" },
        el("button", { class: "action", title: "Previous (k)", "aria-label": "Previous record", onclick: () => neighbour(-1) }, "‹"),
        el("button", { class: "action", title: "Next (j)", "aria-label": "Next record", onclick: () => neighbour(1) }, "›"),
        el("button", { class: "action close", title: "Close (Esc)", "aria-label": "Close", onclick: closeDetail }, "×")),
      el("div", { class: "key" }, el("code", {}, record.key),
        el("button", { class: "link", id: "copy", title: "Copy the key (y)", onclick: () => copy(record.key) }, "Copy")),
      el("p", { class: "facts" }, ...facts.filter(Boolean).map((fact) => el("span", {}, fact)))),
    tagField(record),
    record.near && nearPictures(record),
    record.flags.length > 0 && el("ul", { class: "findings" }, ...record.flags.map((flag) => finding(record, flag))),
    el("div", { class: "expressions" }, ...record.dialogues.map((dialogue, place) => expression(record, dialogue, place))));
}

/** The pictures that are nearly the same, to go to. */
function nearPictures(record) {
  const box = el("div", { class: "alike", role: "group", "aria-label": "Nearly the same pictures" });
  const other = (one) => el("button", { title: `Nearly the same: ${one.set} ${one.key}`, onclick: () => change({ set: one.set, key: one.key, d: "" }) },
    el("img", { src: one.picture, alt: one.key, loading: "lazy" }), el("span", {}, one.dialogues[0]?.text ?? one.key));
  source.group(record.near).then((found) => replace(box, ...found.filter((one) => one.key !== record.key || one.set !== record.set).map(other)))
    .catch((fault) => toast(fault.message));
  return el("section", { class: "near" }, el("p", {}, "Nearly the same picture"), box,
    el("button", { class: "link", onclick: () => { closeDetail(); change({ near: record.near, sort: "" }); } }, "Side by side"));
}

function finding(record, flag) {
  const dialogue = record.dialogues.find((one) => one.id === flag.dialogue);
  return el("li", { title: DATA.codes[flag.code].fix }, flagBadge(flag.code),
    el("span", {}, DATA.codes[flag.code].title, el("em", {}, flag.detail)),
    dialogue && el("button", { class: "link", onclick: () => change({ d: dialogue.id }) }, "show"));
}

function expression(record, dialogue, place) {
  const selected = place === detail.selected || record.dialogues.length === 1;
  const head = el("button", {
    class: "head", "data-id": dialogue.id, "aria-expanded": String(selected),
    onclick: () => change({ d: place === detail.selected ? "" : dialogue.id }),
  }, swatches(record, dialogue), el("span", { class: "text" }, dialogue.text || "…"), noTarget(dialogue),
    dialogue.flags.length > 0 && el("span", { class: "codes" }, ...dialogue.flags.map(flagBadge)));
  return el("section", {
    class: `expression ${dialogue.kind}${selected ? " selected" : ""}`,
    onmouseenter: () => drawStage(dialogue.targets), onmouseleave: () => drawStage(),
  }, head, selected && el("div", { class: "body" }, numbers(dialogue), ...dialogue.turns.map((turn) => bubble(record, dialogue, turn))));
}

function numbers(dialogue) {
  const masked = dialogue.area > 0;
  const parts = [
    KINDS[dialogue.kind],
    masked && `${percent(dialogue.area)} of the picture`,
    masked && `${number(dialogue.patches)} ${dialogue.patches === 1 ? "patch" : "patches"}`,
    masked && `patch IoU ${dialogue.iou.toFixed(3)}`,
    `${number(dialogue.total)} tokens`,
    dialogue.passes > 1 && `${dialogue.passes} passes`,
  ];
  return el("p", { class: "numbers" }, ...parts.filter(Boolean).map((part) => el("span", {}, part)));
}

/** A turn of the dialogue. Every `<|seg|>` of an answer is shown with the colour of its target. */
function bubble(record, dialogue, turn) {
  const before = dialogue.turns.slice(0, dialogue.turns.indexOf(turn)).filter((one) => one.role === "assistant");
  let place = before.reduce((sum, one) => sum + one.text.split("<|seg|>").length - 1, 0);
  const text = el("p", {});
  turn.text.split("<|seg|>").forEach((piece, index) => {
    if (index > 0) {
      const target = turn.role === "assistant" ? record.targets[dialogue.targets[place]] : undefined;
      place += 1;
      text.append(el("mark", { class: "seg", css: { "--colour": target?.path ? target.colour : "transparent" } }, "<|seg|>"));
    }
    text.append(piece);
  });
  return el("div", { class: `turn ${turn.role}` }, el("span", { class: "role" }, turn.role),
    el("div", { class: "bubble" }, turn.image && el("span", { class: "image-chip" }, "picture"), text));
}

function closeDetail() {
  const place = grid.records.indexOf(detail.record);
  change({ set: "", key: "", d: "" });
  if (place >= 0) cardAt(place)?.focus();
}

/** Go to the record before or after this one, in the order of the grid. */
async function neighbour(by) {
  const place = grid.records.indexOf(detail.record) + by;
  if (place >= grid.records.length) await more();
  const record = grid.records[place];
  if (record) change({ set: record.set, key: record.key, d: "" });
}
