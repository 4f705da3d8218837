// Writes GGUF files, from the format's definition: for models, for mutations of them and for shapes of random weights.

export const ggufTypes = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q2_k: 10,
  q3_k: 11,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  bf16: 30,
};

export const ggufAlignment = 32;

class Writer {
  #parts = [];
  length = 0;

  raw(bytes) {
    this.#parts.push(bytes);
    this.length += bytes.length;
  }
  number(bytes, write) {
    const view = new DataView(new ArrayBuffer(bytes));
    write(view);
    this.raw(new Uint8Array(view.buffer));
  }
  u32(value) {
    this.number(4, (view) => view.setUint32(0, value, true));
  }
  i32(value) {
    this.number(4, (view) => view.setInt32(0, value, true));
  }
  f32(value) {
    this.number(4, (view) => view.setFloat32(0, value, true));
  }
  u64(value) {
    this.number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }
  string(text) {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.raw(bytes);
  }
  list(type, values, each) {
    this.u32(9);
    this.u32(type);
    this.u64(values.length);
    values.forEach(each);
  }
  pad() {
    this.raw(new Uint8Array((ggufAlignment - (this.length % ggufAlignment)) % ggufAlignment));
  }
  bytes() {
    return Buffer.concat(this.#parts);
  }

  field(field) {
    if ("u32" in field) {
      this.u32(4);
      this.u32(field.u32);
    } else if ("i32" in field) {
      this.u32(5);
      this.i32(field.i32);
    } else if ("f32" in field) {
      this.u32(6);
      this.f32(field.f32);
    } else if ("bool" in field) {
      this.u32(7);
      this.raw(Uint8Array.of(field.bool ? 1 : 0));
    } else if ("string" in field) {
      this.u32(8);
      this.string(field.string);
    } else if ("strings" in field) {
      this.list(8, field.strings, (value) => this.string(value));
    } else if ("f32s" in field) {
      this.list(6, field.f32s, (value) => this.f32(value));
    } else {
      this.list(5, field.i32s, (value) => this.i32(value));
    }
  }
}

function head(metadata, tensors) {
  const writer = new Writer();
  writer.raw(new TextEncoder().encode("GGUF"));
  writer.u32(3);
  writer.u64(tensors.length);
  writer.u64(Object.keys(metadata).length);
  for (const [key, field] of Object.entries(metadata)) {
    writer.string(key);
    writer.field(field);
  }
  let offset = 0;
  for (const { name, shape, type, byteLength } of tensors) {
    writer.string(name);
    writer.u32(shape.length);
    for (const dimension of [...shape].reverse()) writer.u64(dimension);
    writer.u32(type);
    writer.u64(offset);
    offset += Math.ceil(byteLength / ggufAlignment) * ggufAlignment;
  }
  if (tensors.length > 0) writer.pad();
  return writer;
}

export function ggufHead(metadata, tensors) {
  return head(metadata, tensors).bytes();
}

export function writeGguf(metadata, tensors) {
  const writer = head(
    metadata,
    tensors.map(({ data, ...entry }) => ({ ...entry, byteLength: data.length })),
  );
  for (const { data } of tensors) {
    writer.pad();
    writer.raw(data);
  }
  writer.pad();
  return writer.bytes();
}
