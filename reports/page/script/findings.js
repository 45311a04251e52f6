// What was found, with how sure it is: each value in its interval, and a cross where there would be nothing to find.
function drawFindings() {
  const place = document.getElementById("intervals");
  if (!place || !page.findings.length) return;
  const units = d3.groups(page.findings, (each) => each.unit);
  for (const [unit, found] of units) {
    place.append(make("p", { class: "panel-title" }, `${unit === "%" ? "Shares, %" : unit ? unit : "Numbers"}${scaleOf(ends(found)) ? ", log scale, 0 at its foot" : ""}`),
      chart(`Intervals of ${found.length} findings; the table has the same numbers`, (width) => intervalChart(found, unit, width)));
  }
  place.append(make("p", { class: "note" }, "dot: value, line: interval, ×: null"));
}
drawFindings();
