// Charts, all of them Observable Plot's.
const setting = {
  zsl: { name: "zero-shot", colour: "var(--zsl)" },
  icl: { name: "ICL", colour: "var(--icl)" },
  ft: { name: "finetuned", colour: "var(--ft)" },
  text: { name: "text", colour: "var(--icl)" },
};

// What a colour of the style sheet is now, for what is mixed of two.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A chart that is drawn again when its place changes its width.
function chart(description, draw) {
  const place = make("div", { class: "plot", role: "img", "aria-label": description });
  let width = 0;
  const again = () => {
    const now = Math.floor(place.clientWidth);
    if (!now || now === width) return;
    width = now;
    const drawn = draw(width);
    // What is in it is told by its name and by the tables beside it.
    const inner = drawn.tagName === "svg" ? drawn : drawn.querySelector("svg");
    for (const each of [inner, ...drawn.querySelectorAll("[aria-label], [aria-description]")]) {
      each?.removeAttribute("aria-label");
      each?.removeAttribute("aria-description");
    }
    inner?.setAttribute("aria-hidden", "true");
    place.replaceChildren(drawn);
  };
  place.redraw = () => {
    width = 0;
    again();
  };
  new ResizeObserver(again).observe(place);
  requestAnimationFrame(again);
  return place;
}

// Paper is white and narrow, whatever the screen is: charts are drawn for it before it is printed.
function drawFor(paper) {
  document.documentElement.classList.toggle("printed", paper);
  for (const place of document.querySelectorAll(".plot")) place.redraw();
}
window.addEventListener("beforeprint", () => drawFor(true));
window.addEventListener("afterprint", () => drawFor(false));

const CHART = { style: { fontFamily: "inherit", fontSize: "12px", background: "transparent", color: "inherit" } };

// All that stands on the scale of some findings.
function ends(findings) {
  return findings.flatMap((each) => [each.low, each.high, each.value, each.null]).filter((value) => value !== null);
}

// A logarithmic scale with 0 at its foot, where values that are never negative span decades.
function scaleOf(values) {
  const positive = values.filter((value) => value > 0);
  if (d3.min(values) < 0 || !(d3.max(positive) >= 100 * d3.min(positive))) return null;
  const [low, high] = d3.extent(positive).map((value) => Math.floor(Math.log10(value)));
  const step = Math.ceil((high - low + 1) / 4);
  const decades = d3.range(high, low - 1, -step).map((power) => 10 ** power);
  return { type: "symlog", constant: 10 ** low, domain: [0, 1.5 * d3.max(positive)], ticks: [0, ...decades], tickFormat: (value) => String(Number(value.toPrecision(1))) };
}

function intervalChart(findings, unit, width) {
  const spread = ends(findings);
  const title = (each) => `${each.name}${each.where ? `, ${each.where}` : ""}`;
  const scale = scaleOf(spread);
  const fitting = Math.floor(width / 6.6);
  const short = (text) => (text.length > fitting ? `${text.slice(0, fitting - 1)}…` : text);
  return Plot.plot({
    ...CHART, width, height: 54 + 36 * findings.length, marginLeft: 16, marginRight: 16, marginTop: 26, insetTop: 12, marginBottom: 16,
    x: { label: null, axis: "top", grid: true, ...(scale ?? { domain: d3.extent([...spread, ...(unit === "%" ? [0, 100] : unit === "cosine" ? [0] : [])]), nice: true, ticks: 5 }) },
    y: { axis: null, domain: findings.map((_, place) => place), padding: 0 },
    marks: [
      Plot.ruleX([0], { strokeOpacity: 0.35 }),
      Plot.text(findings, { y: (_, place) => place, frameAnchor: "left", dy: -9, text: (each) => short(title(each)), fill: "currentColor", stroke: "var(--paper)", strokeWidth: 5, textAnchor: "start" }),
      Plot.ruleY(findings, { y: (_, place) => place, x1: "low", x2: "high", strokeWidth: 3, stroke: "var(--icl)", strokeOpacity: 0.55, strokeLinecap: "round", dy: 7 }),
      Plot.dot(findings, { y: (_, place) => place, x: "value", r: 4.5, fill: "var(--icl)", dy: 7, channels: { finding: title, interval: (each) => `${shown(each.low)} to ${shown(each.high)}` }, tip: { format: { x: (value) => shown(value), y: false } } }),
      Plot.dot(findings.map((each, place) => ({ ...each, place })).filter((each) => each.null !== null), { y: "place", x: "null", symbol: "times", r: 4.5, stroke: "currentColor", strokeWidth: 1.6, dy: 7 }),
    ],
  });
}

// One row of attention: a bar for each token.
function rowChart(tokens, values, options, width) {
  const data = tokens.map((each, place) => ({ place, text: each[0], value: values[place] })).filter((each) => !Number.isNaN(each.value));
  const [low, high] = options.domain;
  const size = tokens.length <= 40 ? 19 : tokens.length <= 120 ? 14 : 8;
  const named = thinned(tokens.map((_, place) => place), size * tokens.length, 12);
  return Plot.plot({
    ...CHART, style: { ...CHART.style, fontSize: size < 19 ? "11px" : "12px" }, width, height: 48 + size * tokens.length, marginLeft: Math.min(118, width * 0.4), marginRight: 12, marginTop: 22, marginBottom: 24,
    // Above and below: of many tokens only some are in sight.
    x: { domain: [low, high], label: null, ticks: 4, grid: true, axis: "both" },
    y: { domain: tokens.map((_, place) => place), ticks: named, tickFormat: (place) => label(tokens[place][0], Math.max(6, Math.floor(Math.min(118, width * 0.4) / 7.5))), tickSize: 0, label: null },
    marks: [
      Plot.barX(tokens.map((_, place) => place).filter((place) => place === options.current), { y: (place) => place, x1: low, x2: high, fill: "var(--current)", insetTop: -1, insetBottom: -1 }),
      Plot.barX(data, { y: "place", x: "value", fill: options.colour, insetTop: size / 10, insetBottom: size / 10,
        tip: { format: { x: (value) => shown(value), y: (place) => label(tokens[place][0], 40), fill: false } } }),
      Plot.ruleX([0], { strokeOpacity: 0.5 }),
    ],
  });
}

// A map of attention: one pixel a cell, so that long prompts stay quick.
function mapChart(map, options, width) {
  const { rows, columns, values } = map;
  const range = options.range.map(colour);
  const side = Math.min(118, width * 0.3);
  const inner = width - side - 6;
  const cell = inner / columns.length;
  const height = Math.max(rows.length * Math.max(Math.min(cell, 22), rows.length > 60 ? 4 : 13), 60);
  const every = (count, room, size) => Math.max(1, Math.ceil((count * size) / room));
  const places = (count, step) => d3.range(0, count, step).map((place) => place + 0.5);
  const named = columns.length * 11 <= inner;
  const starts = map.starts.filter((_, place) => place % every(map.starts.length, inner, 24) === 0);
  return Plot.plot({
    ...CHART, width, height: height + (named ? 86 : 34), marginLeft: side, marginRight: 6, marginTop: 4, marginBottom: named ? 82 : 30,
    x: { domain: [0, columns.length], label: null },
    y: { domain: [0, rows.length], reverse: true, label: null },
    color: { type: options.root ? "sqrt" : "linear", domain: options.domain, range, interpolate: "rgb", clamp: true },
    marks: [
      Plot.frame({ fill: "var(--raised)", stroke: null }),
      Plot.raster(values, { width: columns.length, height: rows.length, x1: 0, x2: columns.length, y1: 0, y2: rows.length, imageRendering: "pixelated", fill: (value) => value }),
      Plot.axisY(places(rows.length, every(rows.length, height, 13)), { tickFormat: (place) => label(rows[Math.floor(place)][0], Math.max(6, Math.floor(side / 7.5))), tickSize: 0, label: null }),
      named
        ? Plot.axisX(places(columns.length, 1), { tickFormat: (place) => label(columns[Math.floor(place)][0], 12), tickRotate: -90, textAnchor: "end", tickSize: 0, label: null, dx: 4, dy: 4 })
        : Plot.axisX(starts.map((each) => each.place), { tickFormat: (_, place) => starts[place].name, label: null, textAnchor: "start" }),
      Plot.frame({ strokeOpacity: 0.4 }),
      Plot.rect([options.cursor].filter((each) => each), { x1: "column", x2: (each) => each.column + 1, y1: "row", y2: (each) => each.row + 1, stroke: "var(--ft)", strokeWidth: 2 }),
    ],
  });
}

// Layers × heads, one cell each; a click takes one.
function headsChart(group, values, options, width) {
  const cells = group.layers.flatMap((layer, place) => group.heads.map((head, at) => ({ layer, head, value: values[place][at] })));
  const height = Math.min(30, Math.max(12, 340 / group.layers.length)) * group.layers.length + 52;
  const drawn = Plot.plot({
    ...CHART, width, height, marginLeft: 44, marginRight: 4, marginTop: 4, marginBottom: 36,
    x: { domain: group.heads, label: "head", labelArrow: "none", tickSize: 0, ticks: thinned(group.heads, width - 50, 22) },
    y: { domain: group.layers, label: "layer", labelArrow: "none", tickSize: 0, reverse: true, ticks: thinned(group.layers, height - 40, 14) },
    color: { type: "linear", domain: [0, d3.max(cells, (each) => each.value) || 1], range: options.range.map(colour), interpolate: "rgb" },
    marks: [
      Plot.cell(cells, { x: "head", y: "layer", fill: "value", inset: 0.5, tip: { format: { x: (each) => String(each), y: (each) => String(each), fill: (each) => shown(each) } } }),
      Plot.cell([options], { x: "head", y: "layer", stroke: "currentColor", strokeWidth: 2.5, fill: "none", inset: 0.5 }),
    ],
  });
  drawn.addEventListener("click", () => { if (drawn.value) options.take(drawn.value.layer, drawn.value.head); });
  drawn.style.cursor = "pointer";
  return drawn;
}

function thinned(values, room, size) {
  const step = Math.max(1, Math.ceil((values.length * size) / Math.max(1, room)));
  return values.filter((_, place) => place % step === 0);
}
