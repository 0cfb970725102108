// The grid of records: a card each, more of them as one scrolls.

const PAGE = 60; // cards, which fill whole rows of up to six
const SOON = 700; // milliseconds until a server that is still reading is asked again
const SHOWN_LINES = 3; // expressions on a card
const grid = { records: [], next: 0, matched: 0, busy: false, stale: 0, current: -1, timer: 0 };

/** All targets that the dialogues of a record point at, each once. */
const targetsOf = (record) => [...new Set(record.dialogues.flatMap((dialogue) => dialogue.targets))];

/** The colours of a dialogue's targets; nothing where it asks for none. */
function swatches(record, dialogue) {
  if (!dialogue.targets.length) return null;
  const marks = [...new Set(dialogue.targets)].map((index) => {
    const target = record.targets[index];
    return target.path ? el("i", { class: "swatch", css: { "--colour": target.colour } }) : el("i", { class: "swatch none" });
  });
  return el("span", { class: "swatches" }, ...marks);
}

/** That an expression names nothing in its picture, in words. */
const noTarget = (dialogue) => dialogue.kind === "no_target" && el("span", { class: "none-mark" }, "no target");

/** Picture and overlay of a record; `draw(targets)` shows other targets. */
function frame(record, alt) {
  const box = el("div", { class: "frame" });
  if (record.picture) {
    const picture = el("img", { src: record.picture, alt, loading: "lazy", decoding: "async", draggable: "false" });
    picture.addEventListener("error", () => box.classList.add("broken"));
    box.append(picture);
  } else if (record.fault) {
    box.append(el("p", { class: "fault" }, record.fault));
  } else {
    box.append(el("blockquote", {}, record.dialogues[0]?.text ?? ""));
  }
  box.draw = (targets, mode = state.view) => {
    box.querySelector(".overlay")?.remove();
    const layer = record.picture ? overlay(record, targets, mode, Number(state.opacity) / 100) : null;
    if (layer) box.append(layer);
  };
  return box;
}

/** The expression; under a conversation without a picture, whose question stands above already, the answer. */
function caption(record, dialogue) {
  const answer = dialogue.turns.find((turn) => turn.role === "assistant");
  return (record.width || !answer ? dialogue.text : answer.text) || "…";
}

const nearBadge = (record) => el("span", { class: "badge", title: "Nearly the same picture is in other records of this group" }, `≈ ${record.near}`);

/** Whether near-duplicates are shown side by side, and others than before begin here. */
const isFirstOfGroup = (record, index) => Boolean(state.near) && !state.sort && grid.records[index - 1]?.near !== record.near;

const openRecord = (record, dialogue = "") => change({ set: record.set, key: record.key, d: dialogue });

/** What stands on a card: the picture first, then what is said of it. */
function face(record) {
  const lines = record.dialogues.slice(0, SHOWN_LINES), all = targetsOf(record), codes = [...codesOf(record)];
  const more = record.dialogues.length - lines.length;
  const picture = frame(record, record.dialogues.map((dialogue) => dialogue.text).join("; ").slice(0, 400));
  const line = (dialogue) => el("li", {
    class: dialogue.kind,
    onmouseenter: () => picture.draw(dialogue.targets),
    onmouseleave: () => picture.draw(all),
    onclick: (event) => { event.stopPropagation(); openRecord(record, dialogue.id); },
  }, swatches(record, dialogue), el("span", { class: "said" }, caption(record, dialogue)), noTarget(dialogue));
  return [
    picture,
    (codes.length > 0 || record.near) && el("div", { class: "badges" }, ...codes.slice(0, 4).map(flagBadge), record.near && nearBadge(record)),
    el("ul", { class: "lines" }, ...lines.map(line)),
    tagRow(record),
    el("footer", {}, el("span", { class: "set" }, record.set), more > 0 && el("span", { class: "more" }, `+${more} more`)),
  ].filter(Boolean);
}

/** A card; its masks are drawn when it comes near. */
function card(record, index) {
  const node = el("article", {
    class: isFirstOfGroup(record, index) ? "card first" : "card", tabindex: "0", "data-index": index, "aria-label": record.key,
    onclick: () => openRecord(record),
    onfocus: () => { grid.current = index; },
    onkeydown: (event) => { if (event.key === "Enter" && event.target === node) openRecord(record); },
  }, ...face(record));
  return Object.assign(node, {
    isNear: false, isDrawn: false,
    draw() {
      if (!node.isDrawn) node.firstChild.draw(targetsOf(record));
      node.isDrawn = true;
    },
  });
}

const nearCards = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.isNear = isIntersecting;
    if (isIntersecting) target.draw();
  }
}, { rootMargin: "600px" });

/** Ten thousand cards are more than a page bears: pages of them are empty, and as high as they were, far from what is seen. */
const fullPages = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting, boundingClientRect } of entries) {
    if (isIntersecting) fillPage(target);
    else if (target.firstChild) {
      target.style.height = `${boundingClientRect.height}px`;
      for (const node of target.children) nearCards.unobserve(node);
      target.replaceChildren();
    }
  }
}, { rootMargin: "4000px" });

function fillPage(node) {
  if (node.firstChild) return;
  node.style.height = "";
  addTo(node, grid.records.slice(node.start, node.start + PAGE), node.start);
}

function addTo(node, records, start) {
  const cards = records.map((record, place) => card(record, start + place));
  node.append(...cards);
  for (const one of cards) nearCards.observe(one);
}

/** Cards of records from `start` on: the last page is filled up, and others follow. */
function addCards(start) {
  for (let from = start; from < grid.records.length;) {
    const begin = from - (from % PAGE), next = Math.min(begin + PAGE, grid.records.length);
    let page = byId("grid").children[begin / PAGE];
    if (!page) {
      page = Object.assign(el("div", { class: "page" }), { start: begin });
      byId("grid").append(page);
      fullPages.observe(page);
    }
    if (begin < from && !page.firstChild) fillPage(page); // with what has come
    else addTo(page, grid.records.slice(from, next), from);
    from = next;
  }
}

/** The card of a record by its place, wherever it is. */
function cardAt(place) {
  const page = byId("grid").children[Math.floor(place / PAGE)];
  if (page) fillPage(page);
  return page?.children[place % PAGE];
}

/** Start over with the present filters. */
async function reload() {
  grid.stale += 1;
  Object.assign(grid, { records: [], next: 0, busy: false, current: -1 });
  await more(true);
}

/** Show the next page, unless one is on its way or there is none. */
async function more(first = false) {
  if (grid.busy || grid.next === null) return;
  grid.busy = true;
  const turn = grid.stale;
  let answer;
  try {
    answer = await source.query(filtersNow(), grid.next, PAGE);
  } catch (fault) {
    byId("count").textContent = `No answer: ${fault.message}`;
    grid.busy = false;
    return;
  }
  if (turn !== grid.stale) return; // the filters have changed in the meantime
  const start = grid.records.length;
  grid.records.push(...answer.records);
  Object.assign(grid, { next: answer.next, matched: answer.matched, busy: false });
  if (first) {
    for (const observer of [nearCards, fullPages]) observer.disconnect();
    replace(byId("grid"));
  }
  addCards(start);
  describe(answer);
  if (answer.scanned < answer.total) rescanSoon(turn);
  else if (grid.next !== null && nearEnd()) more();
}

function rescanSoon(turn) {
  clearTimeout(grid.timer);
  grid.timer = setTimeout(() => rescan(turn), SOON);
}

/** While the server is still reading, ask again for what has been found since. */
function rescan(turn) {
  if (turn !== grid.stale) return;
  if (grid.next === null) grid.next = grid.records.length;
  source.query(filtersNow(), grid.records.length, 0).then((answer) => {
    if (turn !== grid.stale) return;
    describe(answer);
    if (answer.scanned < answer.total) rescanSoon(turn);
    else {
      drawStatistics();
      if (state.sort || state.near) reload(); // what was read last may belong first
    }
    if (nearEnd()) more();
  }).catch((fault) => toast(`No answer: ${fault.message}`));
}

function nearEnd() {
  return byId("sentinel").getBoundingClientRect().top < window.innerHeight + 800;
}

function describe(answer) {
  const reading = answer.scanned < answer.total ? ` · reading ${number(answer.scanned)} of ${number(answer.total)}` : "";
  const all = answer.matched === answer.total;
  byId("count").textContent = (all ? plural(answer.total, "record") : `${number(answer.matched)} of ${plural(answer.total, "record")}`) + reading;
  if (answer.fault) byId("count").textContent += ` · reading stopped: ${answer.fault}`;
  byId("empty").hidden = answer.matched > 0 || reading !== "";
}

/** Move the focus by some cards. */
async function step(by) {
  const place = Math.max(0, grid.current + by);
  if (place >= grid.records.length) await more();
  const node = cardAt(Math.min(place, grid.records.length - 1));
  node?.focus();
  node?.scrollIntoView({ block: "nearest" });
}

function redrawCards() {
  for (const node of document.querySelectorAll(".card")) {
    node.isDrawn = false;
    if (node.isNear) node.draw();
  }
}
