// The explorer: one query in one layer and head, in every setting, beside each other.
const DIFFERENCES = [["icl", "ft"], ["icl", "zsl"], ["ft", "zsl"]];
// Below this mass shares of half-precision numbers are rounding.
const LEAST_MASS = 1e-4;
const KEYS = [["←", "→", "head"], ["↑", "↓", "layer"], ["P", "N", "query"], ["K", "J", "token"], ["H", "L", "column of the maps"]];

function startExplorer(stage) {
  const explorer = page.explorer;
  const state = { group: 0, query: 0, layer: 0, head: 0, measure: "", row: 0, column: 0 };
  let drawing = 0;

  const group = () => explorer.groups[state.group];
  const query = () => group().queries[state.query];
  const settings = () => Object.keys(group().settings);
  const pair = () => DIFFERENCES.find(([one, other]) => one in group().settings && other in group().settings);
  const arrays = (name) => explorer.arrays[group().settings[name]];
  const measures = () => {
    const kind = group().row_kind;
    const own = kind === "scores" ? [["scores", "attention scores, before the softmax"]] : [["pattern", "attention, after the softmax"]];
    return kind === "pattern" || group().softmax ? [...own, ["shares", "shares of the query's own tokens"]] : own;
  };

  // A row or rows over the query's own tokens, as shares that sum to one.
  function shares(values, kind, least = 0) {
    const finite = values.filter((value) => !Number.isNaN(value));
    if (kind === "scores") {
      const top = Math.max(...finite);
      const powers = values.map((value) => Math.exp(value - top));
      const sum = powers.reduce((total, value) => total + (Number.isNaN(value) ? 0 : value), 0);
      return powers.map((value) => value / sum);
    }
    const sum = finite.reduce((total, value) => total + value, 0);
    return values.map((value) => (sum > least ? value / sum : NaN));
  }

  async function rowOf(name, layer, head) {
    const packed = arrays(name).rows;
    if (!packed || state.query >= packed.shape[0]) return null;
    const at = (await unpack(packed)).at(state.query, layer, head);
    const start = group().whole_prompt ? group().before[name].length : 0;
    return Array.from(at.subarray(start, start + query().tokens.length));
  }

  const measured = (values) => (values && state.measure === "shares" ? shares(values, group().row_kind) : values);

  // Of patterns the shares are compared, since demonstrations take some of the attention; scores as they are.
  function difference(one, other, kind, least) {
    const [left, right] = kind === "pattern" ? [shares(one, kind, least), shares(other, kind, least)] : [one, other];
    return left.map((value, place) => value - right[place]);
  }

  async function heads() {
    const both = pair();
    const apart = async (layer, head) => {
      if (!both) return Math.max(...(await rowOf(settings()[0], layer, head)).filter((value) => !Number.isNaN(value)));
      const rows = await Promise.all(both.map((name) => rowOf(name, layer, head)));
      if (rows.some((row) => !row)) return null;
      const kind = group().row_kind;
      const [one, other] = kind === "pattern" || group().softmax ? rows.map((row) => shares(row, kind)) : rows;
      const gaps = one.map((value, place) => Math.abs(value - other[place])).filter((value) => !Number.isNaN(value));
      return gaps.reduce((total, value) => total + value, 0) / (kind === "pattern" || group().softmax ? 2 : gaps.length);
    };
    return Promise.all(group().layers.map((_, layer) => Promise.all(group().heads.map((__, head) => apart(layer, head)))));
  }

  // The map of a setting: the query's own tokens, or the whole prompt.
  async function mapOf(name, whole) {
    const packed = arrays(name)?.[`map-${state.query}`];
    const layer = group().map_layers.indexOf(group().layers[state.layer]);
    if (!packed || layer < 0) return null;
    const before = group().before[name], own = query().tokens;
    const all = (await unpack(packed)).at(layer, state.head);
    const width = before.length + own.length;
    const skipped = { rows: whole || !group().whole_prompt ? 0 : before.length, columns: whole ? 0 : before.length };
    const rows = whole && group().whole_prompt ? [...before, ...own] : own;
    const columns = whole ? [...before, ...own] : own;
    // What stands before the first row, so that what comes later is left empty.
    const earlier = group().whole_prompt && whole ? 0 : before.length;
    const values = new Float32Array(rows.length * columns.length);
    rows.forEach((_, row) => columns.forEach((__, column) => {
      const later = column + skipped.columns > row + earlier;
      values[row * columns.length + column] = later ? NaN : all[(row + skipped.rows) * width + column + skipped.columns];
    }));
    const starts = [];
    columns.forEach((each, place) => {
      if (each[2] !== null && (!place || columns[place - 1][2] !== each[2])) starts.push({ place, name: String(each[2] + 1) });
      if (each[1] === "query" && (!place || columns[place - 1][1] !== "query")) starts.push({ place, name: "query" });
    });
    return { rows, columns, values, starts, offset: { row: rows.length - own.length, column: columns.length - own.length } };
  }

  function differenceMap(one, other) {
    const size = one.columns.length;
    const values = new Float32Array(one.values.length);
    one.rows.forEach((_, row) => {
      const [left, right] = [one, other].map((map) => Array.from(map.values.subarray(row * size, (row + 1) * size)));
      values.set(difference(left, right, group().map_kind, LEAST_MASS), row * size);
    });
    return { ...one, values };
  }

  // Controls.
  const choose = (name, text, change, long) => {
    const select = make("select", { id: `choose-${name}`, onchange: () => { change(Number.isNaN(Number(select.value)) ? select.value : Number(select.value)); draw(); } });
    return { select, whole: make("label", { class: long ? "long" : null }, text, select) };
  };
  const controls = {
    group: choose("group", "Comparison", (value) => { state.group = value; settle(); fill(); }, true),
    query: choose("query", "Query", (value) => { state.query = value; settle(); }, true),
    layer: choose("layer", "Layer", (value) => { state.layer = value; }),
    head: choose("head", "Head", (value) => { state.head = value; }),
    measure: choose("measure", "Shown", (value) => { state.measure = value; }),
  };
  if (explorer.groups.length === 1) controls.group.whole.hidden = true;
  const view = make("div", { id: "stage-view", tabindex: 0, role: "group", "aria-label": "Attention; arrow keys step through heads and layers" });
  const keys = make("p", { class: "note keys" }, "With the keyboard, here: ", ...KEYS.flatMap(([one, other, what]) => [make("kbd", {}, one), " ", make("kbd", {}, other), ` ${what}; `]), "values show where the pointer is.");
  stage.append(make("div", { class: "controls" }, ...Object.values(controls).map((each) => each.whole)), view, keys);

  // What queries begin with alike, such as an instruction, does not tell them apart.
  function alike() {
    const texts = group().queries.map((each) => each.text);
    let count = 0;
    while (texts.length > 1 && count < texts[0].length && texts.every((text) => text[count] === texts[0][count])) count++;
    return count > 16 ? texts[0].lastIndexOf(" ", count) + 1 : 0;
  }

  function fill() {
    const start = alike();
    const options = {
      group: explorer.groups.map((each, place) => [place, each.name]),
      query: group().queries.map((each, place) => [place, `${each.number}: ${start ? "… " : ""}${each.text.slice(start).replace(/\s+/g, " ").slice(0, 90)}`]),
      layer: group().layers.map((layer, place) => [place, layer]),
      head: group().heads.map((head, place) => [place, head]),
      measure: measures(),
    };
    for (const [name, entries] of Object.entries(options)) {
      controls[name].select.replaceChildren(...entries.map(([value, text]) => make("option", { value, dir: name === "query" ? "auto" : null }, String(text))));
    }
  }

  // The state is one that there is.
  function settle() {
    const within = (value, count) => Math.min(Math.max(0, Number.isInteger(value) ? value : 0), count - 1);
    state.group = within(state.group, explorer.groups.length);
    state.query = within(state.query, group().queries.length);
    state.layer = within(state.layer, group().layers.length);
    state.head = within(state.head, group().heads.length);
    const count = query().tokens.length;
    state.row = within(state.row, count);
    const before = Math.max(...Object.values(group().before).map((tokens) => tokens.length));
    state.column = Math.min(Math.max(-before, Number.isInteger(state.column) ? state.column : 0), count - 1);
    if (!measures().some(([name]) => name === state.measure)) state.measure = measures()[0][0];
  }

  // The address says numbers as they are called, not their places.
  function address() {
    const told = { query: query().number, layer: group().layers[state.layer], head: group().heads[state.head], shown: state.measure, row: state.row, column: state.column };
    return `#explorer?${new URLSearchParams(explorer.groups.length > 1 ? { comparison: state.group, ...told } : told)}`;
  }

  function follow() {
    if (!location.hash.startsWith("#explorer?")) return false;
    const told = new URLSearchParams(location.hash.slice("#explorer?".length));
    const number = (name) => (told.has(name) ? Number(told.get(name)) : NaN);
    state.group = number("comparison") || 0;
    state.group = Math.min(Math.max(0, Math.trunc(state.group)), explorer.groups.length - 1);
    state.query = group().queries.findIndex((each) => each.number === number("query"));
    state.layer = group().layers.indexOf(number("layer"));
    state.head = group().heads.indexOf(number("head"));
    state.measure = told.get("shown") ?? "";
    state.row = number("row");
    state.column = number("column");
    settle();
    fill();
    return true;
  }

  function name(key) {
    return make("span", {}, make("span", { class: "swatch", style: `background:${setting[key].colour}` }), setting[key].name);
  }

  function answersTable() {
    const asked = query();
    if (!Object.keys(asked.answers).length) return null;
    const top = (answer) => Math.max(...answer.logprobs);
    return make("div", {}, make("p", { class: "panel-title" }, "Answers, log-probability of each label in nats"),
      make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Answers" }, make("table", { class: "answers" },
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "setting"), make("th", { scope: "col" }, "answer"), ...asked.labels.map((each) => make("th", { scope: "col" }, said(each), each === asked.gold ? " (right)" : "")))),
        make("tbody", {}, ...Object.entries(asked.answers).map(([key, answer]) => make("tr", { "data-setting": key }, make("th", { scope: "row" }, name(key)),
          make("td", { class: answer.correct ? "right" : "wrong", "data-answer": answer.prediction }, said(answer.prediction)),
          ...answer.logprobs.map((value) => make("td", { class: value === top(answer) ? "top" : null }, shown(value)))))))));
  }

  async function draw() {
    const now = ++drawing;
    settle();
    for (const [key, control] of Object.entries(controls)) control.select.value = String(state[key]);
    const tokens = query().tokens;
    const rows = {};
    for (const key of settings()) rows[key] = await rowOf(key, state.layer, state.head);
    const apart = Object.values(rows).every((row) => row) ? await heads() : null;
    const maps = {}, wholes = {};
    for (const key of settings()) {
      maps[key] = await mapOf(key, false);
      if (maps[key] && group().before[key].length > 1) wholes[key] = await mapOf(key, true);
    }
    if (now !== drawing) return;
    const both = pair();
    const panels = settings().filter((key) => rows[key]).map((key) => ({ key, called: setting[key].name, title: name(key), colour: setting[key].colour, values: measured(rows[key]) }));
    const minus = both ? `${setting[both[0]].name} − ${setting[both[1]].name}` : "";
    if (both && rows[both[0]] && rows[both[1]]) {
      const values = state.measure === "pattern" ? difference(rows[both[0]], rows[both[1]], "pattern") : difference(measured(rows[both[0]]), measured(rows[both[1]]), "as they are");
      panels.push({ key: "difference", called: minus, title: make("span", {}, minus, state.measure === "pattern" ? make("small", {}, " of shares of the query's own tokens") : null), colour: "var(--difference)", values });
    }
    const readout = make("p", { class: "readout", role: "status", "aria-live": "polite" });

    function tell(row, column) {
      const quoted = (place) => said(`‘${token((place < 0 ? group().before[wide].at(place) : tokens[place])[0])}’`);
      const wide = Object.keys(wholes)[0] ?? settings()[0];
      const parts = [];
      if (column === null) {
        parts.push("token ", make("strong", {}, quoted(row)), `, ${row + 1} of ${tokens.length}: `);
        parts.push(panels.map((panel) => `${panel.called} ${shown(panel.values[row])}`).join(", "));
      } else {
        const value = (map, offset) => map.values[(row + offset.row) * map.columns.length + column + offset.column];
        parts.push(make("strong", {}, quoted(row)), " looks at ", make("strong", {}, quoted(column)), ": ");
        const found = Object.entries(column < 0 ? wholes : maps).filter(([, map]) => map && column + map.offset.column >= 0);
        const texts = found.map(([key, map]) => `${setting[key].name} ${shown(value(map, map.offset))}`);
        if (drawnDifference && column >= 0) texts.push(`${minus} ${shown(value(drawnDifference, drawnDifference.offset))}`);
        parts.push(texts.join(", "));
      }
      readout.replaceChildren(...parts);
    }

    const drawnDifference = both && maps[both[0]] && maps[both[1]] ? differenceMap(maps[both[0]], maps[both[1]]) : null;
    const rowPanels = panels.map((panel) => {
      const limits = panel.key === "difference" ? d3.max(panel.values, (value) => Math.abs(value) || 0) || 1 : 0;
      const all = panels.filter((each) => each.key !== "difference").flatMap((each) => each.values);
      const domain = limits ? [-limits, limits] : [Math.min(0, d3.min(all) ?? 0), Math.max(0, d3.max(all) ?? 1)];
      const text = measures().find(([key]) => key === state.measure)[1].split(",")[0];
      const drawn = chart(`${panel.called}: ${text} of each token; the table below has the values`, (width) => rowChart(tokens, panel.values, { domain, colour: panel.colour, current: state.row }, width));
      return make("figure", { "data-row": panel.key }, make("figcaption", {}, panel.title), drawn);
    });
    const values = panels.length ? make("div", { class: "values", tabindex: 0, role: "region", "aria-label": "Values of the rows" }, make("table", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "token"), ...panels.map((panel) => make("th", { scope: "col" }, panel.title.cloneNode(true))))),
      make("tbody", {}, ...tokens.map((each, place) => make("tr", { "aria-current": place === state.row ? "true" : null },
        make("th", { scope: "row" }, said(token(each[0]))), ...panels.map((panel) => make("td", { "data-of": panel.key }, shown(panel.values[place])))))))) : null;

    const mapFigure = (key, title, map, domain, range, told) => {
      const root = group().map_kind === "pattern" && domain.length === 2;
      const colours = `${shown(domain[0], 2)} to ${shown(domain.at(-1), 2)}${root ? ", colour by the square root" : ""}`;
      title.append(make("small", {}, [told, colours].filter(Boolean).join("; ")));
      const drawn = chart(`${title.firstChild.textContent}: attention of every token, as a map`, (width) => {
        const at = map.offset;
        const cursor = { row: state.row + at.row, column: state.column + at.column };
        const inside = cursor.column >= 0 && cursor.column < map.columns.length;
        const made = mapChart(map, { domain, range, root, cursor: inside ? cursor : null }, width);
        const place = (event) => {
          const box = made.getBoundingClientRect(), ratio = made.width.baseVal.value / box.width;
          const column = Math.floor(made.scale("x").invert((event.clientX - box.left) * ratio));
          const row = Math.floor(made.scale("y").invert((event.clientY - box.top) * ratio));
          return row < 0 || column < 0 || row >= map.rows.length || column >= map.columns.length ? null : { row: row - at.row, column: column - at.column };
        };
        made.addEventListener("pointermove", (event) => { const found = place(event); if (found && found.row >= 0) tell(found.row, found.column); });
        made.addEventListener("click", (event) => { const found = place(event); if (found && found.row >= 0) { Object.assign(state, found); draw(); } });
        return made;
      });
      return make("figure", { "data-map": key }, make("figcaption", {}, title), drawn);
    };
    const paper = "--card";
    const top = d3.max(Object.values(maps).filter(Boolean).flatMap((map) => Array.from(map.values))) || 1;
    const kept = settings().filter((key) => maps[key]);
    const scoresDomain = (map) => (group().map_kind === "pattern" ? [0, top] : d3.extent(map.values));
    const mapPanels = kept.map((key) => mapFigure(key, name(key), maps[key], scoresDomain(maps[key]), [paper, `--${key === "text" ? "icl" : key}`]));
    if (drawnDifference) {
      const most = d3.max(drawnDifference.values, (value) => Math.abs(value) || 0) || 1;
      const told = group().map_kind === "pattern" ? "of shares of the query's own tokens, where both give them over 0.01%" : "";
      mapPanels.push(mapFigure("difference", make("span", {}, minus), drawnDifference, [-most, 0, most], [`--${both[1]}`, paper, `--${both[0]}`], told));
    }
    const wholeFigures = Object.entries(wholes).filter(([, map]) => map).map(([key, map]) => mapFigure(`whole-${key}`, make("span", {}, name(key), " over the whole prompt"), map, group().map_kind === "pattern" ? [0, d3.max(map.values) || 1] : d3.extent(map.values), [paper, `--${key === "text" ? "icl" : key}`], map.starts.length > 1 ? "numbers: where each demonstration begins" : ""));

    const layer = group().layers[state.layer], head = group().heads[state.head];
    const overview = apart ? make("div", {}, make("p", { class: "panel-title" }, both ? `How far ${setting[both[0]].name} and ${setting[both[1]].name} are apart, by layer and head` : "Largest attention, by layer and head"),
      chart("Layers and heads; the layer and the head are also chosen above", (width) => headsChart(group(), apart, { layer, head, range: [paper, "--difference"], take: (toLayer, toHead) => { state.layer = group().layers.indexOf(toLayer); state.head = group().heads.indexOf(toHead); draw(); } }, width)),
      make("p", { class: "note" }, both ? "Half the sum of the differences of their shares of the query's own tokens: 0 alike, 1 nothing in common. A click takes a head." : "A click takes a head.")) : null;
    const asked = query();
    const active = document.activeElement === view;
    view.replaceChildren(
      make("p", { class: "query-text", dir: "auto" }, make("strong", {}, group().settings.text ? "Text" : `Query ${asked.number}`), " ", said(asked.text), asked.gold ? make("small", {}, " right label: ", said(asked.gold)) : null),
      make("div", { class: "overview-and-answers" }, answersTable(), overview),
      make("h3", {}, `Layer ${layer}, head ${head}: the last token's row, ${measures().find(([key]) => key === state.measure)[1]}`),
      readout, panels.length ? make("div", { class: "panels rows", tabindex: 0, role: "region", "aria-label": "Rows of the settings" }, ...rowPanels) : make("p", { class: "note" }, "No row of this query is kept here."),
      values ?? "",
      make("h3", {}, `Layer ${layer}, head ${head}: every token's attention${group().map_kind === "pattern" ? "" : " scores"}`),
      mapPanels.length ? make("div", { class: "panels maps" }, ...mapPanels) : make("p", { class: "note" }, mapsNote()),
      ...wholeFigures,
    );
    tell(state.row, null);
    // Behind the charts, which are drawn in the next frame, too.
    requestAnimationFrame(() => {
      for (const box of view.querySelectorAll(".rows, .values")) {
        const drawn = box.querySelector(".plot, [aria-current]").getBoundingClientRect();
        const share = box.matches(".rows") ? (state.row + 0.5) / tokens.length : 0.5;
        box.scrollTop += drawn.top - box.getBoundingClientRect().top + share * drawn.height - box.clientHeight / 2;
      }
    });
    if (active) view.focus();
    view.dataset.shown = address();
  }

  function mapsNote() {
    const there = group().queries.filter((_, place) => settings().some((key) => arrays(key)[`map-${place}`])).map((each) => each.number);
    if (!there.length) return "No maps are kept here.";
    if (!there.includes(query().number)) return `Maps are kept here of quer${there.length === 1 ? "y" : "ies"} ${there.join(", ")}.`;
    return `Maps are kept of layer${group().map_layers.length === 1 ? "" : "s"} ${group().map_layers.join(", ")}.`;
  }

  async function step(name, by, count) {
    state[name] = (state[name] + by + count) % count;
    await draw();
    remember();
  }

  function remember() {
    history.replaceState(null, "", address());
  }

  view.addEventListener("keydown", (event) => {
    if (event.target !== view || event.ctrlKey || event.metaKey || event.altKey) return;
    const counts = { head: group().heads.length, layer: group().layers.length, query: group().queries.length, row: query().tokens.length, column: query().tokens.length };
    const steps = { ArrowLeft: ["head", -1], ArrowRight: ["head", 1], ArrowUp: ["layer", 1], ArrowDown: ["layer", -1], n: ["query", 1], p: ["query", -1], j: ["row", 1], k: ["row", -1], h: ["column", -1], l: ["column", 1] };
    const found = steps[event.key] ?? steps[event.key.toLowerCase()];
    if (!found) return;
    event.preventDefault();
    step(found[0], found[1], counts[found[0]]);
  });
  stage.addEventListener("change", remember);
  view.addEventListener("click", () => setTimeout(remember));
  window.addEventListener("hashchange", () => { if (follow()) draw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  const asked = follow();
  // Where nothing is asked for, the head whose settings are furthest apart is a good beginning.
  async function begin() {
    settle();
    fill();
    state.row = query().tokens.length - 1;
    const rows = await Promise.all(settings().map((key) => rowOf(key, 0, 0)));
    const found = rows.every((row) => row) ? (await heads()).flatMap((each, layer) => each.map((value, head) => ({ layer, head, value }))) : [];
    const mapped = found.filter((each) => group().map_layers.includes(group().layers[each.layer]));
    const furthest = d3.greatest(mapped, (each) => each.value);
    if (furthest) Object.assign(state, { layer: furthest.layer, head: furthest.head });
  }

  (asked ? Promise.resolve() : begin()).then(draw).then(() => { if (asked) document.getElementById("explorer").scrollIntoView(); });
}

if (page.explorer) startExplorer(document.getElementById("stage"));
