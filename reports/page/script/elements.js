// Elements: every text is set as text, never as HTML.
const page = JSON.parse(document.getElementById("data").textContent);

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function said(text) {
  return make("bdi", {}, String(text));
}

function save(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

for (const block of document.querySelectorAll("pre[data-save]")) {
  const text = block.textContent;
  const tools = make("p", { class: "tools" });
  const copied = make("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(block);
      copied.textContent = "selected: copy it now";
    }
  };
  tools.append(make("button", { type: "button", onclick: copy }, "Copy"));
  const name = block.dataset.save;
  if (name) {
    tools.append(make("button", { type: "button", onclick: () => save(name, text, "text/plain") }, `Download ${name}`));
  }
  tools.append(copied);
  block.after(tools);
}
