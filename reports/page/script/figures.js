// Figures as SVG, each with its download.
for (const figure of document.querySelectorAll("figure[data-figure]")) {
  const kind = figure.dataset.figure;
  unpackBytes(page.figures[kind]).then((bytes) => {
    const picture = new Blob([bytes], { type: "image/svg+xml" });
    const wide = (image) => figure.classList.toggle("broad", image.naturalWidth > 1.9 * image.naturalHeight);
    figure.querySelector(".card").append(make("img", { onload: (event) => wide(event.target), src: URL.createObjectURL(picture), alt: `Figure: ${kind.replace(/[_-]/g, " ")} of ${page.analysis}; its numbers are in the tables below` }));
    figure.querySelector("figcaption").append(make("button", { type: "button", onclick: () => save(`${kind}.svg`, picture), "aria-label": `Download SVG of ${kind}` }, "Download SVG"));
  });
}
