// Numbers and tokens as they are shown.
const MISSING = "–";

function shown(value, digits = 4) {
  if (value === null || value === undefined || (typeof value === "number" && Number.isNaN(value))) return MISSING;
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const text = value.toPrecision(digits);
  if (text.includes("e")) return text;
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

// White space at either end, control characters, and what would stand on the character before it, made visible.
function token(text) {
  if (text === "") return "∅";
  let seen = text.replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
  seen = seen.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^\p{M}/u, (mark) => `◌${mark}`);
  return seen.replace(/\p{C}/gu, (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);
}

// In a chart: kept short, and with a direction of its own.
function label(text, longest = 16) {
  const characters = [...token(text)];
  const short = characters.length <= longest ? characters : [...characters.slice(0, longest - 5), "…", ...characters.slice(-4)];
  return `\u2068${short.join("")}\u2069`;
}
