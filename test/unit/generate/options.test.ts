// Options of generation: defaults, what a model brings along, and refusals by name.
import { describe, expect, test } from "vitest";
import { defaultsFromConfig, type GenerateOptions, resolveOptions } from "../../../lib/generate/options.ts";

describe("resolveOptions", () => {
  test("defaults are greedy and without filters", () => {
    expect(resolveOptions({}, {}, 10)).toMatchObject({
      temperature: 0,
      topK: 0,
      topP: 1,
      minP: 0,
      typicalP: 1,
      repetitionPenalty: 1,
      maxTokens: Number.MAX_SAFE_INTEGER,
      stop: [],
      ignoreEos: false,
    });
  });

  test("a call's options win over the model's, undefined ones do not", () => {
    const { temperature, topP } = resolveOptions(
      { temperature: 0.5, topP: undefined },
      { temperature: 1, topP: 0.9 },
      10,
    );
    expect([temperature, topP]).toEqual([0.5, 0.9]);
  });

  test("seeds are taken modulo 2^64", () => {
    expect(resolveOptions({ seed: -1 }, {}, 10).seed).toBe(2n ** 64n - 1n);
    expect(resolveOptions({ seed: 2n ** 64n + 5n }, {}, 10).seed).toBe(5n);
  });

  test("approximate: off, the paper's typical acceptance, or a rule with its defaults", () => {
    const of = (approximate: GenerateOptions["approximate"]) => resolveOptions({ approximate }, {}, 10).approximate;
    expect([of(undefined), of(false)]).toEqual([undefined, undefined]);
    expect(of(true)).toEqual({ rule: "typical", epsilon: 0.09, delta: 0.3 });
    expect(of({ rule: "typical", delta: 0.5 })).toEqual({ rule: "typical", epsilon: 0.09, delta: 0.5 });
    expect(of({ rule: "relaxed" })).toEqual({ rule: "relaxed", top: 3, gap: 1 });
    expect(of({ rule: "relaxed", top: 1, gap: 0 })).toEqual({ rule: "relaxed", top: 1, gap: 0 });
  });

  test.each<[string, Record<string, unknown>]>([
    ["temperature", { temperature: -0.1 }],
    ["temperature", { temperature: Number.POSITIVE_INFINITY }],
    ["topP", { topP: 0 }],
    ["topP", { topP: 1.1 }],
    ["topK", { topK: 1.5 }],
    ["minP", { minP: "0.1" }],
    ["repetitionPenalty", { repetitionPenalty: 0 }],
    ["seed", { seed: 0.5 }],
    ["stop", { stop: [""] }],
    ["stop", { stop: 5 }],
    ["stopTokens", { stopTokens: [10] }],
    ["logitBias", { logitBias: { 10: 1 } }],
    ["logitBias", { logitBias: { 1: Number.NaN } }],
    ["logprobs", { logprobs: 65 }],
    ["maxTokens", { maxTokens: -1 }],
    ["signal", { signal: {} }],
    ["approximate", { approximate: "typical" }],
    ["approximate", { approximate: 1 }],
    ["approximate", { approximate: null }],
    ["approximate.rule", { approximate: {} }],
    ["approximate.rule", { approximate: ["typical"] }],
    ["approximate.rule", { approximate: { rule: "judge" } }],
    ["approximate", { approximate: { rule: "typical", gap: 1 } }],
    ["approximate", { approximate: { rule: "relaxed", epsilon: 0.1 } }],
    ["approximate.epsilon", { approximate: { rule: "typical", epsilon: 0 } }],
    ["approximate.epsilon", { approximate: { rule: "typical", epsilon: Number.NaN } }],
    ["approximate.delta", { approximate: { rule: "typical", delta: 1.01 } }],
    ["approximate.delta", { approximate: { rule: "typical", delta: "0.3" } }],
    ["approximate.top", { approximate: { rule: "relaxed", top: 0 } }],
    ["approximate.top", { approximate: { rule: "relaxed", top: 2.5 } }],
    ["approximate.gap", { approximate: { rule: "relaxed", gap: -0.1 } }],
    ["approximate.gap", { approximate: { rule: "relaxed", gap: Number.POSITIVE_INFINITY } }],
    ["approximate.gap", { approximate: { rule: "relaxed", gap: "1" } }],
    ["options", { maxNewTokens: 5 }],
  ])("%s is refused by name: %o", (name, options) => {
    expect(() => resolveOptions(options, {}, 10)).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT", message: expect.stringContaining(name) }),
    );
  });
});

describe("generation_config.json", () => {
  test("samples only where do_sample says so", () => {
    expect(resolveOptions({}, defaultsFromConfig({ temperature: 0.7, top_p: 0.9 }), 10)).toMatchObject({
      temperature: 0,
      topP: 1,
    });
    const config = { do_sample: true, temperature: 0.7, top_p: 0.9, top_k: 40, repetition_penalty: 1.1 };
    expect(resolveOptions({}, defaultsFromConfig(config), 10)).toMatchObject({
      temperature: 0.7,
      topP: 0.9,
      topK: 40,
      repetitionPenalty: 1.1,
    });
  });

  test("values of the wrong type are left out", () => {
    expect(defaultsFromConfig({ do_sample: true, top_k: "many", top_p: null })).toMatchObject({ temperature: 1 });
  });
});
