// Model files: what is read, and what each kind of damage is called.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ggufTypes, writeGguf } from "../../../bench/shapes/gguf.mjs";
import { inspect, load } from "../../../lib/index.ts";
import { readGguf } from "../../../lib/load/gguf.ts";
import { readExactly, withFile } from "../../../lib/load/read-file.ts";
import { readSafetensors, readSafetensorsFolder } from "../../../lib/load/safetensors.ts";
import { code } from "../../support/errors.ts";
import {
  microConfig,
  microGguf,
  microTensors,
  type StoredTensor,
  safetensorsBytes,
  safetensorsFile,
  safetensorsHeader,
  writeMicroFolder,
} from "../../support/micro-model.ts";

const folder = mkdtempSync(path.join(tmpdir(), "outrider-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const put = (name: string, bytes: Uint8Array | string): string => {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  return file;
};

describe("safetensors", () => {
  const two: Record<string, StoredTensor> = {
    a: { dtype: "F32", shape: [2, 2], data: new Uint8Array(16) },
    b: { dtype: "U8", shape: [4], data: new Uint8Array(4) },
  };
  const file = (header: unknown, text = JSON.stringify(header)) => put("m.safetensors", safetensorsBytes(text, two));

  test("entries have name, format, shape and place", async () => {
    const { tensors } = await readSafetensors(file(safetensorsHeader(two)));
    const start = 8 + JSON.stringify(safetensorsHeader(two)).length;
    expect(tensors.get("a")).toMatchObject({ format: "f32", shape: [2, 2], offset: start, byteLength: 16 });
    expect(tensors.get("b")).toMatchObject({ format: "u8", shape: [4], offset: start + 16, byteLength: 4 });
  });

  const entry = (changes: Record<string, unknown>) => {
    const header = safetensorsHeader(two) as Record<string, Record<string, unknown>>;
    return { ...header, a: { ...header.a, ...changes } };
  };
  test.each([
    ["overlapping ranges", entry({ shape: [5], data_offsets: [0, 20] })],
    ["a hole", { b: safetensorsHeader(two).b }],
    ["bytes beyond the file", entry({ shape: [100], data_offsets: [0, 400] })],
    ["a shape of another size", entry({ shape: [3, 2] })],
    ["a negative dimension", entry({ shape: [-2, -2] })],
    ["an unknown dtype", entry({ dtype: "F12" })],
    ["offsets that run backwards", entry({ data_offsets: [16, 0] })],
    ["a product beyond 2^53", entry({ shape: [2 ** 40, 2 ** 40] })],
    ["an entry that is no object", { ...entry({}), a: 3 }],
  ])("%s", async (_, header) => {
    await expect(readSafetensors(file(header))).rejects.toEqual(code("OUTRIDER_FORMAT"));
  });

  test("a repeated name", async () => {
    const text = JSON.stringify(safetensorsHeader(two)).replace('"b":', '"a":');
    await expect(readSafetensors(file(undefined, text))).rejects.toEqual(code("OUTRIDER_FORMAT"));
  });

  test.each([
    ["written differently", (text: string) => text.replace('"b":', '"\\u0061" :')],
    ["of quotes, backslashes and brackets", (text: string) => text.replace(/"[ab]":/g, () => '"\\\\\\"{[:,":')],
  ])("a repeated name %s", async (_, change) => {
    const text = change(JSON.stringify(safetensorsHeader(two)));
    await expect(readSafetensors(file(undefined, text))).rejects.toEqual(code("OUTRIDER_FORMAT", /once .* twice/));
  });

  test("names are told from strings and objects inside entries", async () => {
    const odd: Record<string, StoredTensor> = { 'a"\\{[': two.a, "b:,}": two.b, "\\": { ...two.b, shape: [0] } };
    odd["\\"].data = new Uint8Array(0);
    const metadata = { a: '{"a":1,"a":2}', b: '\\"', "b:,}": "long ".repeat(10_000), c: "\\" };
    const text = JSON.stringify({ ...safetensorsHeader(odd), __metadata__: metadata }, undefined, " ");
    const found = await readSafetensors(file(undefined, text));
    expect([...found.tensors.keys()]).toEqual(Object.keys(odd));
    expect(found.metadata).toEqual(metadata);
  });

  const long = (length: number) => JSON.stringify({ ["n".repeat(length)]: two.a, b: 1 });
  test.each([
    ["a name of 4097 characters", long(4097), /names of at most 4096 characters .* received "nnn/],
    ["a name of 12 MB", long(12e6), /names of at most 4096 characters/],
    ["a name that never ends", `{"${"\\".repeat(12e6)}`, /JSON/],
    ["a value of 12 MB", JSON.stringify({ a: "v".repeat(12e6) }), /an object for tensor "a"/],
    ["entries nested 65 deep", `{"a":${"[".repeat(64)}${"]".repeat(64)}}`, /nested at most 64 deep/],
    ["entries nested 3 million deep", `{"a":${"[".repeat(3e6)}${"]".repeat(3e6)}}`, /nested at most 64 deep/],
    ["entries nested 64 deep", `{"a":${"[".repeat(63)}${"]".repeat(63)}}`, /dtype/],
    ["only closing brackets", "]".repeat(3e6), /JSON/],
  ])("%s", async (_, text, message) => {
    await expect(readSafetensors(file(undefined, text))).rejects.toEqual(code("OUTRIDER_FORMAT", message));
  });

  test("a header longer than the file, or no file", async () => {
    const bytes = safetensorsBytes("{}", two);
    bytes.writeBigUInt64LE(1n << 40n, 0);
    await expect(readSafetensors(put("m.safetensors", bytes))).rejects.toEqual(code("OUTRIDER_FORMAT"));
    await expect(readSafetensors(put("m.safetensors", new Uint8Array(3)))).rejects.toEqual(code("OUTRIDER_FORMAT"));
    await expect(readSafetensors(path.join(folder, "none"))).rejects.toEqual(code("OUTRIDER_NOT_FOUND"));
  });

  test("shards are joined by their index, which must stay in the folder and be whole", async () => {
    const tensors = microTensors();
    const names = Object.keys(tensors);
    const part = (from: number, to: number) =>
      Object.fromEntries(names.slice(from, to).map((name) => [name, tensors[name]]));
    const target = path.join(folder, "sharded");
    writeMicroFolder(target);
    rmSync(path.join(target, "model.safetensors"));
    const map: Record<string, string> = {};
    for (const [i, shard] of [part(0, 5), part(5, names.length)].entries()) {
      put(`sharded/model-${i}.safetensors`, safetensorsBytes(JSON.stringify(safetensorsHeader(shard)), shard));
      for (const name of Object.keys(shard)) map[name] = `model-${i}.safetensors`;
    }
    const index = (weight_map: unknown) => put("sharded/model.safetensors.index.json", JSON.stringify({ weight_map }));
    index(map);
    expect([...(await readSafetensorsFolder(target)).keys()].sort()).toEqual(names.sort());
    const sharded = await load(target, { threads: 1 });
    writeMicroFolder(path.join(folder, "whole"));
    const whole = await load(path.join(folder, "whole"), { threads: 1 });
    expect((await sharded.logits([2, 3, 4])).data).toEqual((await whole.logits([2, 3, 4])).data);
    await sharded.dispose();
    await whole.dispose();
    index({ ...map, [names[0]]: "../whole/model.safetensors" });
    await expect(readSafetensorsFolder(target)).rejects.toEqual(code("OUTRIDER_FORMAT"));
    index({ ...map, extra: "model-0.safetensors" });
    await expect(readSafetensorsFolder(target)).rejects.toEqual(code("OUTRIDER_FORMAT"));
    index({ ...map, [names[0]]: `${"s".repeat(12e6)}/` });
    await expect(readSafetensorsFolder(target)).rejects.toEqual(code("OUTRIDER_FORMAT"));
    index({ ...map, [names[0]]: "\0.safetensors" });
    await expect(readSafetensorsFolder(target)).rejects.toEqual(code("OUTRIDER_FORMAT"));
    put("sharded/model.safetensors.index.json", `{"weight_map":${"[".repeat(3e6)}${"]".repeat(3e6)}}`);
    await expect(readSafetensorsFolder(target)).rejects.toEqual(code("OUTRIDER_FORMAT", /nested at most 64 deep/));
    index({ ...map, [names[0]]: "model-9.safetensors" });
    await expect(readSafetensorsFolder(target)).rejects.toEqual(expect.objectContaining({ name: "OutriderError" }));
  });
});

describe("what goes wrong while a file is read", () => {
  const fail = (error: unknown) => withFile(put("any", "bytes"), () => Promise.reject(error));

  test("errors of the operating system are OUTRIDER_IO, others are not", async () => {
    const refused = Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", errno: -5, syscall: "read" });
    await expect(fail(refused)).rejects.toEqual(code("OUTRIDER_IO", /EIO/));
    await expect(withFile(folder, async () => {})).rejects.toEqual(code("OUTRIDER_IO", /regular file/));
    for (const bug of [new RangeError("Maximum call stack size exceeded"), new TypeError("x is undefined"), "a string"])
      await expect(fail(bug)).rejects.toEqual(code("OUTRIDER_INTERNAL"));
  });

  test("reads that are too large for memory or for a string say so", async () => {
    const file = put("any", "bytes");
    await expect(withFile(file, (handle) => readExactly(handle, file, 0, 2 ** 52))).rejects.toEqual(
      code("OUTRIDER_MEMORY", /4503599627370496 bytes/),
    );
    const long = Object.assign(new Error("Cannot create a string longer than"), { code: "ERR_STRING_TOO_LONG" });
    await expect(fail(long)).rejects.toEqual(code("OUTRIDER_FORMAT", /string/));
  });
});

describe("GGUF", () => {
  const { metadata, tensors } = microGguf();
  const whole = writeGguf(metadata, tensors);

  test("version 2 reads like version 3; others and other byte orders are refused", async () => {
    const version = (value: number) => {
      const bytes = Buffer.from(whole);
      bytes.writeUInt32LE(value, 4);
      return put("v.gguf", bytes);
    };
    expect((await readGguf(version(2))).tensors.size).toBe(tensors.length);
    for (const other of [1, 4, 0x03000000])
      await expect(readGguf(version(other))).rejects.toEqual(code("OUTRIDER_UNSUPPORTED"));
  });

  test("shapes are outermost first, offsets absolute", async () => {
    const found = (await readGguf(put("v.gguf", whole))).tensors.get("blk.0.ffn_down.weight");
    expect(found).toMatchObject({ format: "q4_0", shape: [32, 64], byteLength: (32 * 64 * 18) / 32 });
    expect((found?.offset ?? 1) % 32).toBe(0);
  });

  test("an unknown tensor type is named", async () => {
    const odd = [{ ...tensors[0], type: 20 }, ...tensors.slice(1)];
    await expect(readGguf(put("v.gguf", writeGguf(metadata, odd)))).rejects.toEqual(
      code("OUTRIDER_UNSUPPORTED", /IQ4_NL/),
    );
  });

  test("an unknown architecture, experts and long RoPE are named", async () => {
    const attempt = (changes: typeof metadata, extra: typeof tensors = []) =>
      load(put("v.gguf", writeGguf({ ...metadata, ...changes }, [...tensors, ...extra])));
    await expect(attempt({ "general.architecture": { string: "mamba" } })).rejects.toEqual(
      code("OUTRIDER_UNSUPPORTED", /mamba/),
    );
    await expect(attempt({ "qwen2.expert_count": { u32: 8 } })).rejects.toEqual(
      code("OUTRIDER_UNSUPPORTED", /experts/),
    );
    const factors = { name: "rope_factors_long.weight", shape: [8], type: ggufTypes.f32, data: new Uint8Array(32) };
    await expect(attempt({}, [factors])).rejects.toEqual(code("OUTRIDER_UNSUPPORTED", /longrope/));
  });

  test("a truncated file and missing tensors say what is missing", async () => {
    await expect(readGguf(put("v.gguf", whole.subarray(0, whole.length - 200)))).rejects.toEqual(
      code("OUTRIDER_FORMAT"),
    );
    const some = tensors.filter(({ name }) => name !== "blk.0.attn_k.weight");
    await expect(load(put("v.gguf", writeGguf(metadata, some)))).rejects.toEqual(code("OUTRIDER_FORMAT", /attn_k/));
  });
});

describe("folders", () => {
  const attempt = (config: unknown) => {
    writeMicroFolder(path.join(folder, "f"), { config });
    return load(path.join(folder, "f"), { threads: 1 });
  };

  test.each<[string, Record<string, unknown>, string, RegExp]>([
    ["another family", { model_type: "mixtral" }, "OUTRIDER_UNSUPPORTED", /mixtral/],
    ["experts", { num_local_experts: 8 }, "OUTRIDER_UNSUPPORTED", /num_local_experts/],
    ["another activation", { hidden_act: "relu" }, "OUTRIDER_UNSUPPORTED", /hidden_act/],
    ["another rotary type", { rope_scaling: { rope_type: "longrope" } }, "OUTRIDER_UNSUPPORTED", /rope_type/],
    ["another quantiser", { quantization_config: { quant_method: "gptq", bits: 4 } }, "OUTRIDER_UNSUPPORTED", /gptq/],
    [
      "bits of another width",
      { quantization_config: { ...microConfig.quantization_config, bits: 5 } },
      "OUTRIDER_UNSUPPORTED",
      /bits/,
    ],
    ["shapes of another model", { intermediate_size: 128 }, "OUTRIDER_FORMAT", /shape/i],
    [
      "heads that do not divide",
      { num_key_value_heads: 3, num_attention_heads: 4 },
      "OUTRIDER_FORMAT",
      /num_key_value_heads/,
    ],
    ["a fraction", { num_hidden_layers: 1.5 }, "OUTRIDER_FORMAT", /num_hidden_layers/],
    ["more layers than stored", { num_hidden_layers: 2 }, "OUTRIDER_FORMAT", /layers\.1/],
  ])("%s", async (_, changes, expected, message) => {
    await expect(attempt({ ...microConfig, ...changes })).rejects.toEqual(code(expected, message));
  });

  test("bits and group may differ by module", async () => {
    // What the modules say is used: the same codes read as groups of 8 do not fit the stored scales.
    const modules = { "model.layers.0.mlp.up_proj": { group_size: 8 } };
    const quantization_config = { ...microConfig.quantization_config, modules };
    await expect(attempt({ ...microConfig, quantization_config })).rejects.toEqual(code("OUTRIDER_FORMAT", /up_proj/));
    await (await attempt(microConfig)).dispose();
  });

  test("groups too long for int8 sums are refused at load", async () => {
    const [hidden, ffn] = [32, 65_600];
    const { "model.layers.0.mlp.down_proj.codes": _, ...tensors } = microTensors();
    const zeros = (count: number) => new Uint8Array(count);
    for (const name of ["gate", "up"]) {
      for (const part of ["codes", "scale", "zero"]) delete tensors[`model.layers.0.mlp.${name}_proj.${part}`];
      const shape = [ffn, hidden];
      tensors[`model.layers.0.mlp.${name}_proj.weight`] = { dtype: "BF16", shape, data: zeros(ffn * hidden * 2) };
    }
    const down = "model.layers.0.mlp.down_proj";
    tensors[`${down}.codes`] = { dtype: "U8", shape: [hidden, ffn / 2], data: zeros((hidden * ffn) / 2) };
    for (const part of ["scale", "zero"])
      tensors[`${down}.${part}`] = { dtype: "F16", shape: [hidden, 1], data: zeros(hidden * 2) };
    const quantization_config = { ...microConfig.quantization_config, group_size: 100_000 };
    const config = { ...microConfig, intermediate_size: ffn, quantization_config };
    const target = path.join(folder, "long-groups");
    writeMicroFolder(target, { config, weights: safetensorsFile(tensors) });
    await expect(load(target)).rejects.toEqual(
      code("OUTRIDER_UNSUPPORTED", /groups of at most 65536 inputs for layer 0 down, received 65600/),
    );
  });

  test("a folder with one GGUF file and no safetensors is that file, whatever lies beside it", async () => {
    const { metadata, tensors } = microGguf();
    const bytes = writeGguf(metadata, tensors);
    const target = path.join(folder, "gguf-only");
    writeMicroFolder(target, { config: { model_type: "other" } });
    rmSync(path.join(target, "model.safetensors"));
    const file = put("gguf-only/b.gguf", bytes);
    const model = await load(target, { threads: 1 });
    expect([model.info.file, model.info.family]).toEqual([file, "qwen2"]);
    await model.dispose();
    expect(await inspect(target)).toMatchObject({ path: file, kind: "gguf" });
    put("gguf-only/a.gguf", bytes);
    await expect(load(target)).rejects.toEqual(code("OUTRIDER_ARGUMENT", /the folder of a\.gguf, b\.gguf$/));
    mkdirSync(path.join(folder, "empty"));
    await expect(load(path.join(folder, "empty"))).rejects.toEqual(code("OUTRIDER_NOT_FOUND", /found neither/));
  });

  test("a .safetensors file is no model: its folder is", async () => {
    const target = path.join(folder, "whole-folder");
    writeMicroFolder(target);
    await expect(load(path.join(target, "model.safetensors"))).rejects.toEqual(
      code("OUTRIDER_ARGUMENT", /whole-folder, for source, received its file model\.safetensors$/),
    );
  });

  test("both spellings of rotary and dtype keys mean the same", async () => {
    const old = await attempt(microConfig);
    const { rope_theta, rope_scaling, torch_dtype, ...rest } = microConfig;
    const expected = (await old.logits([2, 3, 4, 5])).data;
    await old.dispose();
    const model = await attempt({ ...rest, dtype: torch_dtype, rope_parameters: { ...rope_scaling, rope_theta } });
    expect((await model.logits([2, 3, 4, 5])).data).toEqual(expected);
    await model.dispose();
  });
});
