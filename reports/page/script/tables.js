// Every table of the study: sorted by a click on a column's name, filtered, and paged.
const ROWS_A_PAGE = 25;

function tidyTable(table) {
  const body = make("div");
  const rows = table.rows === table.shown ? `${table.rows} row${table.rows === 1 ? "" : "s"}` : `${table.shown} of ${table.rows} rows`;
  const details = make("details", { class: "tidy", "data-table": table.name }, make("summary", {}, table.name, make("small", {}, `${rows}: ${table.meaning}`)), body);
  details.addEventListener("toggle", () => { if (details.open && !body.firstChild) fillTable(body, table); });
  return details;
}

function fillTable(body, table) {
  const state = { sorted: -1, direction: 1, filter: "", start: 0 };
  const columns = table.columns;
  const isAmount = (column) => column.kind === "number" || column.kind === "integer";
  const heads = columns.map((column, place) => {
    const told = [column.meaning, column.unit && `(${column.unit})`, column.source && `– ${column.source}`].filter(Boolean).join(" ");
    return make("th", { scope: "col", "aria-sort": "none", class: isAmount(column) ? "amount" : null, title: told },
      make("button", { type: "button", onclick: () => sortBy(place) }, column.name));
  });
  const list = make("tbody");
  const told = make("span", { role: "status" });
  const before = make("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const after = make("button", { type: "button", onclick: () => turn(1) }, "Next");
  const filter = make("input", { type: "search", placeholder: "filter rows", "aria-label": `Filter the rows of ${table.name}`,
    oninput: () => { state.filter = filter.value.toLowerCase(); state.start = 0; draw(); } });

  function order() {
    let places = Array.from({ length: table.shown }, (_, place) => place);
    if (state.filter) {
      places = places.filter((place) => columns.some((column) => shown(column.values[place]).toLowerCase().includes(state.filter)));
    }
    if (state.sorted < 0) return places;
    const { values, kind } = columns[state.sorted];
    const number = (value) => (value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);
    const compare = kind === "text" ? (a, b) => a.localeCompare(b) : (a, b) => number(a) - number(b);
    // What is missing comes last, in whichever direction.
    return places.sort((a, b) => {
      const [left, right] = [values[a], values[b]];
      if (left === null || right === null) return (left === null) - (right === null) || a - b;
      return state.direction * compare(left, right) || a - b;
    });
  }

  function draw() {
    const places = order();
    const last = Math.min(state.start + ROWS_A_PAGE, places.length);
    list.replaceChildren(...places.slice(state.start, last).map((place) => make("tr", {}, ...columns.map((column) => {
      const long = column.kind === "text" && String(column.values[place] ?? "").length > 24;
      return make("td", { class: isAmount(column) ? "amount" : long ? "text" : null, dir: column.kind === "text" ? "auto" : null }, shown(column.values[place]));
    }))));
    told.textContent = places.length ? `rows ${state.start + 1} to ${last} of ${places.length}` : "no row has that";
    before.disabled = state.start === 0;
    after.disabled = last >= places.length;
    heads.forEach((head, place) => head.setAttribute("aria-sort", place !== state.sorted ? "none" : state.direction > 0 ? "ascending" : "descending"));
  }

  function sortBy(place) {
    state.direction = state.sorted === place ? -state.direction : 1;
    state.sorted = place;
    state.start = 0;
    draw();
  }

  function turn(pages) {
    state.start = Math.max(0, state.start + pages * ROWS_A_PAGE);
    draw();
  }

  const tools = make("div", { class: "tools" }, filter, before, after, told);
  const whole = make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `Table ${table.name}` },
    make("table", {}, make("thead", {}, make("tr", {}, ...heads)), list));
  body.append(tools, whole);
  if (table.shown < table.rows) {
    body.append(make("p", { class: "note" }, `The first ${table.shown} of ${table.rows} rows, so that this page can be sent; all of them are in ${table.name}.csv.`));
  }
  draw();
}

document.getElementById("table-list").append(...page.tables.map(tidyTable));
