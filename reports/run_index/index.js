"use strict";
// Lists runs; what is chosen stands in the address, so that it can be sent to somebody.
const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
const byPath = new Map(runs.map((run) => [run.path, run]));
for (const run of runs) run.found = new Map(run.measures.map(([name, ...numbers]) => [name, numbers]));
const get = (id) => document.getElementById(id);
const FILTERS = ["analysis", "model", "task", "state"];
const COLUMNS = [
  ["path", "Run"], ["state", "State"], ["analysis", "Analysis"], ["model", "Model"], ["task", "Task"],
  ["date", "Date (UTC)"], ["alarms", "Alarms"],
];
const state = read();

function read() {
  const asked = new URLSearchParams(location.hash.slice(1));
  return {
    search: asked.get("search") || "",
    ...Object.fromEntries(FILTERS.map((name) => [name, asked.get(name) || ""])),
    sort: asked.get("sort") || "date",
    down: asked.get("down") !== "0",
    measures: asked.getAll("measure").map((name) => data.names.indexOf(name)).filter((name) => name >= 0),
    chosen: new Set(asked.getAll("run").filter((path) => byPath.has(path))),
    beside: asked.get("beside") === "1",
  };
}

function write() {
  const asked = new URLSearchParams();
  for (const name of ["search", ...FILTERS]) if (state[name]) asked.set(name, state[name]);
  if (state.sort !== "date") asked.set("sort", state.sort);
  if (!state.down) asked.set("down", "0");
  for (const name of state.measures) asked.append("measure", data.names[name]);
  for (const path of state.chosen) asked.append("run", path);
  if (state.beside) asked.set("beside", "1");
  history.replaceState(null, "", "#" + asked);
}

function element(kind, text, attributes = {}) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function number(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(+value.toPrecision(4));
}

function valueOf(run, column) {
  if (column.startsWith("measure:")) {
    const found = run.found.get(Number(column.slice(8)));
    return found ? found[0] : null;
  }
  return column === "alarms" ? run.alarms.length : run[column] || null;
}

function shown() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = runs.filter((run) => {
    if (FILTERS.some((name) => state[name] && run[name] !== state[name])) return false;
    const text = [run.path, run.analysis, run.model, run.task, run.date, run.note].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const direction = state.down ? -1 : 1;
  return kept.sort((one, other) => {
    const [a, b] = [valueOf(one, state.sort), valueOf(other, state.sort)];
    // What a run does not have stands last, whichever way.
    if (a === null || b === null) return (a === null) - (b === null);
    return direction * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
}

function drawHead() {
  const row = element("tr");
  row.append(element("th", undefined, { scope: "col" }));
  row.firstChild.append(element("span", "☑", { "aria-hidden": "true" }));
  row.firstChild.setAttribute("aria-label", "selected");
  const columns = [...COLUMNS, ...state.measures.map((name) => [`measure:${name}`, label(name)])];
  for (const [column, text] of columns) {
    const cell = element("th", undefined, { scope: "col" });
    const sorted = state.sort === column;
    cell.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
    const button = element("button", text + (sorted ? (state.down ? " ▼" : " ▲") : ""), { type: "button" });
    button.addEventListener("click", () => {
      if (state.sort === column) state.down = !state.down;
      else [state.sort, state.down] = [column, column === "date" || column.startsWith("measure:")];
      draw();
      document.querySelector(`th[data-column="${column}"] button`).focus();
    });
    cell.dataset.column = column;
    cell.append(button);
    if (column.startsWith("measure:")) {
      cell.className = "measure";
      const remove = element("button", "×", { type: "button", class: "remove", "aria-label": `Remove ${text}` });
      remove.addEventListener("click", () => {
        state.measures = state.measures.filter((name) => `measure:${name}` !== column);
        if (state.sort === column) state.sort = "date";
        draw();
      });
      cell.append(remove);
    }
    row.append(cell);
  }
  get("runs").tHead.replaceChildren(row);
}

function label(name) {
  return data.names[name] + (data.units[name] ? ` (${data.units[name]})` : "");
}

function measureCell(found, first) {
  if (!found) return element("td", "–", { class: "number" });
  const [value, low, high] = found;
  const cell = element("td", number(value), { class: "number" });
  if (low !== null && high !== null) {
    cell.append(element("span", `[${number(low)}, ${number(high)}]`, { class: "interval" }));
  }
  if (first !== undefined && first !== found) {
    const change = value - first[0];
    cell.append(element("span", `${change < 0 ? "−" : "+"}${number(Math.abs(change))}`, { class: "difference" }));
  }
  return cell;
}

function fileOf(run, name) {
  return `files/${run.path.split("/").map(encodeURIComponent).join("/")}/${name}`;
}

function drawRow(run) {
  const row = element("tr");
  const box = element("input", undefined, { type: "checkbox", "aria-label": `Select ${run.path}` });
  box.checked = state.chosen.has(run.path);
  box.disabled = run.state !== "finished";
  box.addEventListener("change", () => {
    if (box.checked) state.chosen.add(run.path);
    else state.chosen.delete(run.path);
    drawChoice();
    write();
  });
  row.append(element("td"));
  row.firstChild.append(box);
  const name = element("td", undefined, { class: "run" });
  const text = element("bdi", run.path);
  if (run.state === "finished") {
    const link = element("a", undefined, { href: fileOf(run, run.page ? "page.html" : "table.txt") });
    link.append(text);
    name.append(link);
  } else name.append(text);
  if (run.note) name.append(element("span", run.note, { class: "note" }));
  row.append(name, element("td", run.state, { class: run.state }));
  for (const column of ["analysis", "model", "task"]) {
    const cell = element("td");
    cell.append(element("bdi", run[column] || "–"));
    row.append(cell);
  }
  row.append(element("td", run.date ? run.date.slice(0, 16).replace("T", " ") : "–"));
  const alarms = element("td", run.alarms.length ? String(run.alarms.length) : "");
  if (run.alarms.length) {
    alarms.className = "alarm";
    alarms.title = run.alarms.join("\n");
  }
  row.append(alarms, ...state.measures.map((measure) => measureCell(run.found.get(measure))));
  return row;
}

function draw() {
  for (const name of ["search", ...FILTERS]) get(name).value = state[name];
  drawHead();
  const kept = shown();
  get("runs").tBodies[0].replaceChildren(...kept.map(drawRow));
  const counted = ["finished", "running", "broken", "unknown", "sweep"]
    .map((name) => [kept.filter((run) => run.state === name).length, name])
    .filter(([count]) => count);
  get("counts").textContent =
    `${kept.length} of ${runs.length} runs: ` + (counted.map(([count, name]) => `${count} ${name}`).join(", ") || "none");
  drawChoice();
  write();
}

function drawChoice() {
  const count = state.chosen.size;
  get("compare").disabled = count < 2;
  get("clear").disabled = count < 1;
  get("selection").textContent = count ? `${count} selected` : "Select two or more runs to see them beside each other.";
  if (count < 2) state.beside = false;
  get("beside").hidden = !state.beside;
  if (state.beside) drawBeside();
}

async function settingsOf(run) {
  if (data.settings) return data.settings[run.path] || {};
  const answer = await fetch(`settings/${run.path.split("/").map(encodeURIComponent).join("/")}`);
  return answer.ok ? answer.json() : {};
}

async function drawBeside() {
  const chosen = [...state.chosen].map((path) => byPath.get(path));
  const asked = await Promise.all(chosen.map(settingsOf));
  const fields = [...new Set(asked.flatMap((each) => Object.keys(each)))];
  const differing = fields.filter((field) => new Set(asked.map((each) => each[field])).size > 1);
  const names = [...new Set(chosen.flatMap((run) => run.measures.map(([name]) => name)))];
  const tables = [];
  if (differing.length) {
    tables.push(table("What was asked differently", chosen, differing.map((field) => [
      field, asked.map((each) => element("td", each[field] === undefined ? "–" : each[field])),
    ])));
  } else tables.push(element("p", "All of them were asked the same."));
  const alarms = chosen.flatMap((run) => run.alarms.map((alarm) => element("li", `${run.path}: ${alarm}`, { class: "alarm" })));
  if (alarms.length) {
    const list = element("ul");
    list.append(...alarms);
    tables.push(list);
  }
  tables.push(table("What was found: value, [interval], difference from the first", chosen, names.map((name) => {
    const first = chosen[0].found.get(name);
    return [label(name), chosen.map((run) => measureCell(run.found.get(name), first))];
  })));
  get("beside-tables").replaceChildren(...tables);
}

function table(caption, chosen, rows) {
  const made = element("table");
  made.append(element("caption", caption));
  const head = element("tr");
  head.append(element("th", "", { scope: "col" }), ...chosen.map((run) => element("th", run.path, { scope: "col" })));
  head.firstChild.setAttribute("aria-label", "what");
  made.createTHead().append(head);
  const body = made.createTBody();
  for (const [name, cells] of rows) {
    const row = element("tr");
    row.append(element("th", name, { scope: "row" }), ...cells);
    body.append(row);
  }
  const wide = element("div", undefined, { class: "wide", tabindex: "0", role: "region", "aria-label": caption });
  wide.append(made);
  return wide;
}

function fill(id, values, all) {
  get(id).replaceChildren(element("option", all, { value: "" }), ...values.map((value) => element("option", value, { value })));
}

get("title").textContent = data.title;
document.title = data.title;
for (const name of FILTERS) {
  fill(name, [...new Set(runs.map((run) => run[name]).filter(Boolean))].sort(), "all");
  get(name).addEventListener("change", (event) => { state[name] = event.target.value; draw(); });
}
fill("measure", data.names.map((_, name) => label(name)), "choose…");
get("measure").addEventListener("change", (event) => {
  const name = event.target.selectedIndex - 1;
  event.target.value = "";
  if (name >= 0 && !state.measures.includes(name)) state.measures.push(name);
  draw();
});
get("search").addEventListener("input", (event) => { state.search = event.target.value; draw(); });
get("filters").addEventListener("submit", (event) => event.preventDefault());
get("compare").addEventListener("click", () => { state.beside = true; drawChoice(); write(); get("beside").focus(); });
get("clear").addEventListener("click", () => { state.chosen.clear(); draw(); });
addEventListener("hashchange", () => { Object.assign(state, read()); draw(); });
draw();
