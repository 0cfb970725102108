// The statistics: tiles, histograms, the table of sets, the list of flags.

function statisticsPanel(report) {
  const all = report.statistics.all;
  const tiles = [
    ["records", number(all.records), report.sampling.seen < report.sampling.total ? `of ${number(report.sampling.total)}` : "all of them"],
    ["expressions", number(all.dialogues), `${(all.dialogues / Math.max(all.records, 1)).toFixed(1)} per picture`],
    ["targets", number(all.targets), `${all.multi_target_percent.toFixed(1)}% ask for several`],
    ["no target", `${all.no_target_percent.toFixed(1)}%`, "of the expressions"],
    ["mask area", percent(all.mask_area.p50), `median; ${percent(all.mask_area.p5)} to ${percent(all.mask_area.p95)}`],
    ["patch IoU", all.quantisation_iou.mean.toFixed(3), "mask against patches"],
    ["tokens", number(all.total_tokens.mean), `picture: ${number(all.image_tokens.mean)}`],
  ];
  return [
    el("div", { class: "tiles" }, ...tiles.map(([name, value, note]) =>
      el("div", { class: "tile" }, el("span", { class: "name" }, name), el("strong", {}, value), el("span", { class: "note" }, note)))),
    el("div", { class: "charts" }, ...report.statistics.histograms.filter((one) => one.counts.length).map(chart)),
    el("div", { class: "tables" }, setTable(report.statistics.groups.filter((group) => group.records)), flagTable(report)),
  ];
}

const CHART = { width: 260, height: 84, base: 66 };

/** A value of a histogram's axis in words. */
function axisValue(histogram, value) {
  if (histogram.name === "mask_area") return percent(value);
  return histogram.name === "quantisation_iou" ? value.toFixed(1) : number(value);
}

function chart(histogram) {
  const { width, height, base } = CHART;
  const highest = Math.max(...histogram.counts);
  const step = width / histogram.counts.length;
  const title = `${histogram.title}, ${histogram.unit}${histogram.scale === "log" ? " (log scale)" : ""}`;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  histogram.counts.forEach((count, place) => {
    const [from, to] = [histogram.edges[place], histogram.edges[place + 1]];
    const tall = count ? Math.max(1.5, (count / highest) * (base - 4)) : 0;
    const over = histogram.mark !== null && from >= histogram.mark;
    const words = `${axisValue(histogram, from)} – ${axisValue(histogram, to)}: ${number(count)}`;
    drawing.append(svg("g", { class: over ? "bin over" : "bin" },
      svg("rect", { x: place * step, y: 0, width: step, height: base, class: "reach" }),
      svg("rect", { x: place * step + 0.75, y: base - tall, width: step - 1.5, height: tall, rx: Math.min(1.5, tall / 2), class: "column" }),
      svg("title", {}, words)));
  });
  const [first, last] = [histogram.edges[0], histogram.edges.at(-1)];
  drawing.append(svg("line", { x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5, class: "axis" }));
  const label = (x, anchor, value) => svg("text", { x, y: height - 4, "text-anchor": anchor }, axisValue(histogram, value));
  const single = histogram.scale === "linear" && histogram.name !== "quantisation_iou" && last - first <= 1;
  if (single) drawing.append(label(width / 2, "middle", (first + last) / 2));
  else drawing.append(label(0, "start", first), label(width, "end", last));
  if (histogram.mark !== null && histogram.mark > first && histogram.mark < last) {
    const x = ((histogram.mark - first) / (last - first)) * width;
    drawing.append(svg("line", { x1: x, x2: x, y1: 0, y2: base, class: "mark" }, svg("title", {}, `budget ${number(histogram.mark)}`)));
  }
  const unit = histogram.name === "mask_area" ? "% of the picture" : histogram.unit;
  return el("figure", { class: "chart" },
    el("figcaption", {}, histogram.title, el("span", {}, histogram.scale === "log" ? `${unit}, log` : unit)), drawing);
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
