// The statistics: tiles and histograms, of the records that are shown; the table of sets and the list of flags, of all.

/** Numbers of some records as one: {records, dialogues, targets, kinds, values}. */
function added(list) {
  const whole = { records: list.length, dialogues: 0, targets: 0, kinds: {}, values: {} };
  for (const { kinds, targets, values } of list) {
    whole.targets += targets;
    for (const [kind, count] of Object.entries(kinds)) {
      whole.kinds[kind] = (whole.kinds[kind] ?? 0) + count;
      whole.dialogues += count;
    }
    for (const [name, found] of Object.entries(values)) (whole.values[name] ??= []).push(...found);
  }
  return whole;
}

/** Mean and percentiles, as the report has them. */
function spread(values = []) {
  const sorted = [...values].sort((a, b) => a - b), last = sorted.length - 1;
  const at = (share) => {
    const place = share * last, low = Math.floor(place);
    return sorted[low] + (place - low) * (sorted[Math.min(low + 1, last)] - sorted[low]);
  };
  if (last < 0) return { count: 0, mean: 0, p5: 0, p50: 0, p95: 0 };
  return { count: sorted.length, mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length, p5: at(0.05), p50: at(0.5), p95: at(0.95) };
}

/** What the report says of all, of some records alone. */
function narrowed(whole) {
  const asking = Math.max(whole.dialogues - (whole.kinds.chat ?? 0), 1), share = (kind) => (100 * (whole.kinds[kind] ?? 0)) / asking;
  const spreads = ["mask_area", "quantisation_iou", "total_tokens", "image_tokens"].map((name) => [name, spread(whole.values[name])]);
  return { ...whole, multi_target_percent: share("multi"), no_target_percent: share("no_target"), ...Object.fromEntries(spreads) };
}

/** A histogram of some records, over the bins that all have. */
function recounted(histogram, values) {
  const { edges } = histogram, counts = histogram.counts.map(() => 0);
  const name = histogram.name !== "text" ? histogram.name : DATA.report.sampling.text_unit === "characters" ? "characters" : "tokens";
  for (const value of values[name] ?? []) {
    const next = edges.findIndex((edge) => edge > value);
    if (value > 0 || histogram.scale !== "log") counts[next < 0 ? counts.length - 1 : Math.max(0, next - 1)] += 1;
  }
  return { ...histogram, counts, all: histogram.counts };
}

/** Show the statistics of all records, or of those that fit the filters. */
async function drawStatistics() {
  const { report } = DATA, some = isFiltered(), turn = grid.stale;
  const whole = some ? added(await source.numbers(filtersNow())) : null;
  if (turn !== grid.stale) return; // the filters have changed in the meantime
  const histograms = report.statistics.histograms.filter((one) => one.counts.length);
  byId("of").textContent = some ? ` of ${plural(whole.records, "record")}` : "";
  replace(byId("figures"),
    tiles(some ? narrowed(whole) : report.statistics.all, report.sampling.total),
    el("div", { class: "charts" }, ...histograms.map((one) => chart(some ? recounted(one, whole.values) : one))),
    el("div", { class: "tables" }, setTable(report.statistics.groups.filter((group) => group.records)), flagTable(report)));
}

function tiles(all, total) {
  const cells = [
    ["records", number(all.records), all.records < total ? `of ${number(total)}` : "all of them"],
    ["expressions", number(all.dialogues), `${(all.dialogues / Math.max(all.records, 1)).toFixed(1)} per picture`],
    ["targets", number(all.targets), `${all.multi_target_percent.toFixed(1)}% ask for several`],
    ["no target", `${all.no_target_percent.toFixed(1)}%`, "of the expressions"],
    ["mask area", percent(all.mask_area.p50), `median; ${percent(all.mask_area.p5)} to ${percent(all.mask_area.p95)}`],
    ["patch IoU", all.quantisation_iou.mean.toFixed(3), "mask against patches"],
    ["tokens", number(all.total_tokens.mean), `picture: ${number(all.image_tokens.mean)}`],
  ];
  return el("div", { class: "tiles" }, ...cells.map(([name, value, note]) =>
    el("div", { class: "tile" }, el("span", { class: "name" }, name), el("strong", {}, value), el("span", { class: "note" }, note))));
}

const CHART = { width: 260, height: 67, base: 66 };

/** A value of a histogram's axis in words. */
function axisValue(histogram, value) {
  if (histogram.name === "mask_area") return percent(value);
  return histogram.name === "quantisation_iou" ? value.toFixed(1) : number(value);
}

function chart(histogram) {
  const { width, height, base } = CHART;
  const highest = Math.max(1, ...histogram.counts), all = histogram.all ?? [], most = Math.max(1, ...all);
  const step = width / histogram.counts.length;
  const title = `${histogram.title}, ${histogram.unit}${histogram.scale === "log" ? " (log scale)" : ""}`;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
  histogram.counts.forEach((count, place) => {
    const [from, to] = [histogram.edges[place], histogram.edges[place + 1]];
    const tall = count ? Math.max(1.5, (count / highest) * (base - 4)) : 0;
    const over = histogram.mark !== null && from >= histogram.mark;
    const before = all[place] ? Math.max(1.5, (all[place] / most) * (base - 4)) : 0;
    const words = `${axisValue(histogram, from)} – ${axisValue(histogram, to)}: ${number(count)}`;
    drawing.append(svg("g", { class: over ? "bin over" : "bin" },
      svg("rect", { x: place * step, y: 0, width: step, height: base, class: "reach" }),
      svg("rect", { x: place * step + 0.75, y: base - before, width: step - 1.5, height: before, class: "all" }),
      svg("rect", { x: place * step + 0.75, y: base - tall, width: step - 1.5, height: tall, rx: Math.min(1.5, tall / 2), class: "column" }),
      svg("title", {}, words)));
  });
  const [first, last] = [histogram.edges[0], histogram.edges.at(-1)];
  drawing.append(svg("line", { x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5, class: "axis" }));
  const single = histogram.scale === "linear" && histogram.name !== "quantisation_iou" && last - first <= 1;
  const ends = single ? [(first + last) / 2] : [first, last];
  if (histogram.mark !== null && histogram.mark > first && histogram.mark < last) {
    const x = ((histogram.mark - first) / (last - first)) * width;
    drawing.append(svg("line", { x1: x, x2: x, y1: 0, y2: base, class: "mark" }, svg("title", {}, `budget ${number(histogram.mark)}`)));
  }
  const unit = histogram.name === "mask_area" ? "% of the picture" : histogram.unit;
  return el("figure", { class: "chart" },
    el("figcaption", {}, histogram.title, el("span", {}, histogram.scale === "log" ? `${unit}, log` : unit)), drawing,
    el("div", { class: single ? "ends single" : "ends" }, ...ends.map((value) => el("span", {}, axisValue(histogram, value)))));
}

function setTable(groups) {
  const heads = ["Set", "Records", "Expressions", "Targets", "None", "Several", "Area p50", "Patch IoU"];
  const row = (group) => el("tr", {},
    el("th", { scope: "row" }, el("button", { class: "link", onclick: () => change({ source: group.source, split: group.split }) }, group.set)),
    ...[number(group.records), number(group.dialogues), number(group.targets), `${group.no_target_percent.toFixed(1)}%`,
      `${group.multi_target_percent.toFixed(1)}%`, group.mask_area.count ? percent(group.mask_area.p50) : "–",
      group.quantisation_iou.count ? group.quantisation_iou.mean.toFixed(3) : "–",
    ].map((text) => el("td", {}, text)));
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...groups.map(row))));
}

function flagTable(report) {
  if (!report.flags.length) return el("p", { class: "quiet fine" }, "No flags were raised.");
  const most = Math.max(...report.flags.map((flag) => flag.count));
  const row = (flag) => el("button", { class: "flag-row", title: DATA.codes[flag.code].why, onclick: () => change({ flag: flag.code }) },
    flagBadge(flag.code), el("span", { class: "flag-title" }, flag.title), el("span", { class: "flag-count" }, number(flag.count)),
    el("span", { class: `flag-bar ${flag.severity}`, css: { "--share": flag.count / most } }));
  return el("div", { class: "flag-list" }, ...report.flags.map(row));
}
