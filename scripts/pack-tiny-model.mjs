#!/usr/bin/env node
// Packs a small f16 Hugging Face folder as the tiny model of the tests: matrices become 8-bit affine codes in groups of 64.
//   node scripts/pack-tiny-model.mjs SOURCE_FOLDER [test/fixtures/tiny]
import fs from "node:fs";
import path from "node:path";

const [source, target = "test/fixtures/tiny"] = process.argv.slice(2);
if (!source) {
  console.error("Usage: node scripts/pack-tiny-model.mjs SOURCE_FOLDER [TARGET_FOLDER]");
  process.exit(2);
}
const bits = 8;
const group = 64;

function fromF16(h) {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const mantissa = h & 1023;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

/** Nearest f16 in the direction asked for (-1 down, 1 up), as bits; for finite values in range. */
function toF16(value, direction) {
  let low = 0;
  let high = 0x7bff; // magnitudes are ordered like their bits
  const magnitude = Math.abs(value);
  const up = value < 0 ? direction < 0 : direction > 0;
  while (low < high) {
    const middle = (low + high + (up ? 0 : 1)) >> 1;
    const at = fromF16(middle);
    if (up && at >= magnitude) high = middle;
    else if (up) low = middle + 1;
    else if (at <= magnitude) low = middle;
    else high = middle - 1;
  }
  return low | (value < 0 ? 0x8000 : 0);
}

const raw = fs.readFileSync(path.join(source, "model.safetensors"));
const headerBytes = Number(raw.readBigUInt64LE());
const header = JSON.parse(raw.toString("utf8", 8, 8 + headerBytes));
const out = [];
for (const [name, entry] of Object.entries(header)) {
  if (name === "__metadata__") continue;
  const { dtype, shape } = entry;
  const [begin, end] = entry.data_offsets;
  if (dtype !== "F16") throw new Error(`Expected F16 tensors, ${name} is ${dtype}`);
  const bytes = raw.subarray(8 + headerBytes + begin, 8 + headerBytes + end);
  if (shape.length !== 2) {
    out.push({ name, dtype, shape, bytes });
    continue;
  }
  const [rows, cols] = shape;
  const groups = Math.ceil(cols / group);
  const codes = Buffer.alloc(rows * cols);
  const scale = Buffer.alloc(rows * groups * 2);
  const zero = Buffer.alloc(rows * groups * 2);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++) {
      const values = [];
      for (let k = g * group; k < Math.min((g + 1) * group, cols); k++)
        values.push(fromF16(bytes.readUInt16LE((r * cols + k) * 2)));
      const z = toF16(Math.min(...values), -1);
      const low = fromF16(z);
      const s = toF16(Math.max((Math.max(...values) - low) / 255, 2 ** -24), 1);
      scale.writeUInt16LE(s, (r * groups + g) * 2);
      zero.writeUInt16LE(z, (r * groups + g) * 2);
      values.forEach((value, i) => {
        codes[r * cols + g * group + i] = Math.min(255, Math.max(0, Math.round((value - low) / fromF16(s))));
      });
    }
  }
  const module = name.replace(/\.weight$/, "");
  out.push({ name: `${module}.codes`, dtype: "U8", shape: [rows, cols], bytes: codes });
  out.push({ name: `${module}.scale`, dtype: "F16", shape: [rows, groups], bytes: scale });
  out.push({ name: `${module}.zero`, dtype: "F16", shape: [rows, groups], bytes: zero });
}

let at = 0;
const newHeader = {};
for (const { name, dtype, shape, bytes } of out) {
  newHeader[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
  at += bytes.length;
}
let json = JSON.stringify(newHeader);
json += " ".repeat((8 - (json.length % 8)) % 8);
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(json.length));
fs.mkdirSync(target, { recursive: true });
fs.writeFileSync(
  path.join(target, "model.safetensors"),
  Buffer.concat([length, Buffer.from(json), ...out.map(({ bytes }) => bytes)]),
);
const config = JSON.parse(fs.readFileSync(path.join(source, "config.json"), "utf8"));
config.quantization_config = { quant_method: "affine", bits, group_size: group };
fs.writeFileSync(path.join(target, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
for (const file of ["generation_config.json", "tokenizer_config.json"]) {
  const value = JSON.parse(fs.readFileSync(path.join(source, file), "utf8"));
  fs.writeFileSync(path.join(target, file), `${JSON.stringify(value, null, 2)}\n`);
}
// The largest text file: kept compact.
fs.writeFileSync(
  path.join(target, "tokenizer.json"),
  JSON.stringify(JSON.parse(fs.readFileSync(path.join(source, "tokenizer.json"), "utf8"))),
);
console.log(`${target}: ${out.length} tensors, ${at} bytes`);
