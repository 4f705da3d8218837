// Tokenizers and chat templates that are wrong or not supported say so; those of GGUF files are built from their metadata.
import { describe, expect, test } from "vitest";
import { ChatTemplate } from "../../../lib/text/chat-template.ts";
import { checkDescription } from "../../../lib/text/description.ts";
import { describeGgufTokenizer } from "../../../lib/text/gguf-tokenizer.ts";
import { Tokenizer } from "../../../lib/text/tokenizer.ts";
import { code } from "../../support/errors.ts";
import { microTokenizer } from "../../support/micro-model.ts";
import { uniform } from "../../support/random.ts";

const gguf = (entries: Record<string, unknown>) =>
  Tokenizer.fromGguf(
    new Map(
      Object.entries(entries).map(([key, value]) => [
        `tokenizer.${key === "chat_template" ? "" : "ggml."}${key}`,
        value,
      ]),
    ),
  );

describe("from GGUF metadata", () => {
  const pieces = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "t", "h", "th", "▁th", "e"];
  const sentencePiece = {
    model: "llama",
    tokens: pieces,
    scores: Float32Array.from([0, 0, 0, 0, 0, -5, -6, -7, -1, -2, -8]),
    token_type: Int32Array.from([2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1]),
    bos_token_id: 1,
    eos_token_id: 2,
    unknown_token_id: 0,
    add_bos_token: true,
  };

  test("SentencePiece: merges follow the scores, bytes stand in for unknown characters, BOS frames", () => {
    const tokenizer = gguf(sentencePiece);
    expect(Array.from(tokenizer.encode("the"))).toEqual([9, 10]);
    expect(Array.from(tokenizer.encode("é", { frame: true }))).toEqual([1, 5, 3, 4]);
    expect(tokenizer.decode([9, 10])).toBe("the");
    expect(tokenizer.decode(tokenizer.encode("thé th"))).toBe("thé th");
    expect([tokenizer.bosToken, tokenizer.eosToken, [...tokenizer.endIds]]).toEqual(["<s>", "</s>", [2]]);
  });

  test("SentencePiece: merges are every split into two pieces, as the definition says", () => {
    // Pieces of few letters, so that most are prefixes, suffixes and repetitions of others; some hold surrogate pairs.
    const random = uniform(7);
    const letters = ["a", "b", "\u2581", "\u{1F600}", "\u{1F601}"];
    const tokens = ["", ...letters];
    for (let i = 0; i < 400; i++) {
      const length = 1 + Math.floor(random() * 6);
      tokens.push(Array.from({ length }, () => letters[Math.floor(random() ** 2 * letters.length)]).join(""));
    }
    const scores = Float32Array.from(tokens, () => -Math.floor(random() * 20));
    const first = (piece: string) => tokens.indexOf(piece);
    const merges = tokens.flatMap((token, id) => {
      const characters = Array.from(token);
      return characters.slice(1).flatMap((_, cut) => {
        const [left, right] = [characters.slice(0, cut + 1).join(""), characters.slice(cut + 1).join("")];
        const [l, r] = [first(left), first(right)];
        return l < 0 || r < 0 ? [] : [{ left, right, score: scores[id], l, r }];
      });
    });
    merges.sort((a, b) => b.score - a.score || a.l - b.l || a.r - b.r);
    const metadata = new Map<string, unknown>([
      ["tokenizer.ggml.model", "llama"],
      ["tokenizer.ggml.tokens", tokens],
      ["tokenizer.ggml.scores", scores],
    ]);
    expect(merges.length).toBeGreaterThan(400);
    expect(describeGgufTokenizer(metadata).model.merges).toEqual(merges.map(({ left, right }) => [left, right]));
  });

  test("long pieces and pieces that split everywhere are refused before they cost anything", () => {
    const build = (more: string[]) => {
      const tokens = [...pieces, ...more];
      return gguf({ model: "llama", tokens, scores: new Float32Array(tokens.length) });
    };
    build(["a".repeat(4096)]);
    const begin = performance.now();
    for (const more of [["a".repeat(4097)], ["a".repeat(1 << 26)]]) {
      expect(() => build(more)).toThrow(code("OUTRIDER_FORMAT", /at most 4096 characters/));
      expect(() => gguf({ model: "gpt2", tokens: more, merges: [] })).toThrow(code("OUTRIDER_FORMAT", /at most 4096/));
    }
    const runs = Array.from({ length: 4096 }, (_, i) => "a".repeat(i + 1));
    expect(() => build(runs)).toThrow(code("OUTRIDER_FORMAT", /merges/));
    // The same with no merges at all: 16 MB of pieces that share their beginnings.
    build(Array.from({ length: 4096 }, (_, i) => `${"a".repeat(4090)}b${i}`));
    expect(performance.now() - begin).toBeLessThan(10_000);
  });

  test("byte-level BPE of each known pre-tokenizer round-trips", () => {
    const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
    const tokens = [...letters, "Ġ", "Ċ", "Ã", "©", "th", "Ġth", "<|end|>"];
    const types = tokens.map((token) => (token === "<|end|>" ? 3 : 1));
    for (const pre of ["default", "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o"]) {
      const tokenizer = gguf({
        model: "gpt2",
        pre,
        tokens,
        token_type: Int32Array.from(types),
        merges: ["t h", "Ġ th"],
      });
      const text = "the thé 2024's\n\n x";
      expect(tokenizer.decode(tokenizer.encode(text)), pre).toBe(text);
      expect(Array.from(tokenizer.encode("a<|end|>")), pre).toEqual([64, 100]);
      expect(tokenizer.encode("<|end|>", { special: false }).length, pre).toBe(7);
    }
  });

  test("what is not supported or does not fit together is refused by name", () => {
    expect(() => gguf({ ...sentencePiece, model: "bert" })).toThrow(code("OUTRIDER_UNSUPPORTED"));
    expect(() => gguf({ model: "gpt2", pre: "martian", tokens: ["a"], merges: [] })).toThrow(/"martian"/);
    expect(() => gguf({ model: "gpt2", pre: "constructor", tokens: ["a"], merges: [] })).toThrow(
      code("OUTRIDER_UNSUPPORTED"),
    );
    expect(() => gguf({ ...sentencePiece, scores: new Float32Array(3) })).toThrow(code("OUTRIDER_FORMAT"));
    expect(() => gguf({ ...sentencePiece, tokens: "abc" })).toThrow(code("OUTRIDER_FORMAT"));
    expect(() => gguf({})).toThrow(code("OUTRIDER_UNSUPPORTED"));
  });
});

describe("tokenizer.json", () => {
  test.each([
    ["no model", {}, "OUTRIDER_FORMAT"],
    ["WordPiece", { model: { type: "WordPiece", vocab: { a: 0 } } }, "OUTRIDER_UNSUPPORTED"],
    ["repeated ids", { model: { type: "BPE", vocab: { a: 0, b: 0 }, merges: [] } }, "OUTRIDER_FORMAT"],
    ["huge ids", { model: { type: "BPE", vocab: { a: 2 ** 30 }, merges: [] } }, "OUTRIDER_FORMAT"],
    ["merges of three", { model: { type: "BPE", vocab: { a: 0 }, merges: ["a b c"] } }, "OUTRIDER_FORMAT"],
    [
      "an added token far away",
      { ...microTokenizer, added_tokens: [{ id: 4_000_000, content: "x" }] },
      "OUTRIDER_FORMAT",
    ],
  ])("%s", (_, value, expected) => {
    expect(() => checkDescription(value)).toThrow(code(expected));
  });
});

describe("chat templates", () => {
  test("render messages with the tokens of the model", () => {
    const template = new ChatTemplate(
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}>{% endif %}",
      { bosToken: "<s>", eosToken: "</s>" },
    );
    expect(template.render([{ role: "user", content: "hi" }])).toBe("<s>[user]hi</s>>");
  });

  test("say what is wrong", () => {
    expect(() => new ChatTemplate("{% for %}")).toThrow(code("OUTRIDER_FORMAT"));
    expect(() => new ChatTemplate(undefined).render([])).toThrow(code("OUTRIDER_UNSUPPORTED"));
    const strict = new ChatTemplate("{{ raise_exception('roles must alternate') }}");
    expect(() => strict.render([{ role: "user", content: "" }])).toThrow(/roles must alternate/);
    const template = new ChatTemplate("{{ messages[0].content }}");
    expect(() => template.render([{ role: "user" }] as never)).toThrow(code("OUTRIDER_ARGUMENT"));
  });
});
