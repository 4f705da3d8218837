// Streaming text: pieces never hold half a character and put together give the whole; stop strings are found wherever they are cut.
import { describe, expect, test } from "vitest";
import { Detokenizer } from "../../../lib/text/detokenizer.ts";
import { StopMatcher } from "../../../lib/text/stop.ts";
import { Tokenizer } from "../../../lib/text/tokenizer.ts";
import { microSentencePiece } from "../../support/micro-model.ts";
import { uniform } from "../../support/random.ts";
import { tinyModel } from "../../support/tiny.ts";

const texts = ["", "plain", "naïve façade", "日本語と😀👩‍👩‍👧", "\u0000\ufffd\u200b", "tab\tnewline\n\n  spaces  "];

describe("Detokenizer", () => {
  test("pieces are whole characters and give the text", async () => {
    const tokenizer = await Tokenizer.fromFolder(tinyModel);
    for (const text of texts) {
      const ids = tokenizer.encode(text, { special: false });
      const detokenizer = new Detokenizer(tokenizer);
      const pieces = Array.from(ids, (id) => detokenizer.push(id));
      for (const piece of pieces) expect(Buffer.from(piece).toString()).toBe(piece); // no lone surrogates
      if (!text.includes("\ufffd")) for (const piece of pieces) expect(piece).not.toContain("\ufffd");
      expect(pieces.join("") + detokenizer.flush()).toBe(text);
    }
  });

  test("random ids give what decode gives", async () => {
    const tokenizer = await Tokenizer.fromFolder(tinyModel);
    const next = uniform(3);
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 1 + Math.floor(next() * 30) }, () => Math.floor(next() * tokenizer.vocabSize));
      const detokenizer = new Detokenizer(tokenizer);
      const streamed = ids.map((id) => detokenizer.push(id)).join("") + detokenizer.flush();
      expect(streamed).toBe(tokenizer.decode(ids, { skipSpecial: true }));
    }
  });

  test("byte tokens of SentencePiece models join to characters, and the first space goes", () => {
    const tokenizer = new Tokenizer(microSentencePiece as never);
    const [c3, a9] = ["<0xC3>", "<0xA9>"].map((token) => tokenizer.idOf(token) as number);
    const detokenizer = new Detokenizer(tokenizer);
    expect(["▁th", "a"].map((token) => detokenizer.push(tokenizer.idOf(token) as number))).toEqual(["th", "a"]);
    expect([detokenizer.push(c3), detokenizer.push(a9), detokenizer.flush()]).toEqual(["", "é", ""]);
    expect([detokenizer.push(c3), detokenizer.push(c3), detokenizer.flush()]).toEqual(["", "\ufffd", "\ufffd"]);
    const going = new Detokenizer(tokenizer, { continues: true });
    expect(going.push(tokenizer.idOf("▁th") as number)).toBe(" th");
  });
});

describe("StopMatcher", () => {
  /** The definition: the match that ends first, the longest of those that end together. */
  function cut(text: string, stops: string[]): { emit: string; stopped?: string } {
    for (let end = 1; end <= text.length; end++) {
      const [stopped] = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length);
      if (stopped) return { emit: text.slice(0, end - stopped.length), stopped };
    }
    return { emit: text };
  }

  test("any cutting of the text finds a stop string where the whole has one", () => {
    const next = uniform(9);
    const letters = (most: number) =>
      Array.from({ length: 1 + Math.floor(next() * most) }, () => "ab."[Math.floor(next() * 3)]).join("");
    for (let round = 0; round < 2000; round++) {
      const stops = Array.from({ length: 1 + Math.floor(next() * 3) }, () => letters(4));
      const text = letters(20);
      const matcher = new StopMatcher(stops);
      let emitted = "";
      let stopped: string | undefined;
      for (let at = 0; at < text.length && stopped === undefined; ) {
        const to = at + 1 + Math.floor(next() * 4);
        const step = matcher.push(text.slice(at, to));
        emitted += step.emit;
        stopped = step.stopped;
        at = to;
      }
      if (stopped === undefined) emitted += matcher.flush();
      expect({ emit: emitted, stopped }, `${text} | ${stops}`).toEqual({ stopped: undefined, ...cut(text, stops) });
    }
  });

  test("holds back no more than may still become a stop string", () => {
    const matcher = new StopMatcher(["###", "end"]);
    expect(matcher.push("a#")).toEqual({ emit: "a" });
    expect(matcher.push("b e")).toEqual({ emit: "#b " });
    expect(matcher.push("nx")).toEqual({ emit: "enx" });
    expect(matcher.push("##")).toEqual({ emit: "" });
    expect(matcher.flush()).toBe("##");
  });
});
