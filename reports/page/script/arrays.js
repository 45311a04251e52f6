// Bytes and arrays as the page carries them: deflated, in base64, the first bytes of all numbers first.
async function unpackBytes(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const HALVES = (() => {
  let table = null;
  return () => {
    if (table) return table;
    table = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
      if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
      else if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
      else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    }
    return table;
  };
})();

const unpacked = new Map();

// An array with its shape; `at(...)` gives what lies behind leading indices.
function unpack(packed) {
  if (!unpacked.has(packed)) {
    unpacked.set(packed, (async () => {
      const planes = await unpackBytes(packed.data);
      const size = packed.kind === "float16" ? 2 : 4;
      const count = planes.length / size;
      const bytes = new Uint8Array(planes.length);
      for (let plane = 0; plane < size; plane++) {
        for (let place = 0; place < count; place++) bytes[place * size + plane] = planes[plane * count + place];
      }
      const halves = size === 2 ? new Uint16Array(bytes.buffer) : null;
      const values = halves ? Float32Array.from(halves, (bits) => HALVES()[bits]) : new Float32Array(bytes.buffer);
      const at = (...indices) => {
        const inner = packed.shape.slice(indices.length).reduce((a, b) => a * b, 1);
        const start = indices.reduce((place, index, axis) => place * packed.shape[axis] + index, 0) * inner;
        return values.subarray(start, start + inner);
      };
      return { shape: packed.shape, at };
    })());
  }
  return unpacked.get(packed);
}
