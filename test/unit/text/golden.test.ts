import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { readGguf } from "../../../lib/load/gguf.ts";
import { ChatTemplate } from "../../../lib/text/chat-template.ts";
import { Detokenizer } from "../../../lib/text/detokenizer.ts";
import { Tokenizer } from "../../../lib/text/tokenizer.ts";
import { describeShared } from "../../support/shared.ts";

describeShared("tokenizers against golden outputs", (shared) => {
  const open: Record<string, [string, () => Promise<Tokenizer>]> = {};
  for (const name of ["smollm2-135m-instruct", "tiny-target", "tiny-draft"]) {
    open[name] = [name, () => Tokenizer.fromFolder(path.join(shared, "models", name))];
  }
  open["smollm2 from GGUF metadata"] = [
    "smollm2-135m-instruct",
    async () => {
      const file = path.join(shared, "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
      return Tokenizer.fromGguf((await readGguf(file)).metadata);
    },
  ];
  for (const [title, [name, load]] of Object.entries(open)) {
    test(title, async () => {
      const tokenizer = await load();
      const read = (file: string) => JSON.parse(readFileSync(path.join(shared, "golden", name, file), "utf8"));
      for (const { text, ids } of read("tokens.json")) {
        expect(Array.from(tokenizer.encode(text)), text).toEqual(ids);
        expect(tokenizer.decode(ids), text).toBe(text);
        const detokenizer = new Detokenizer(tokenizer, { skipSpecial: false });
        expect(ids.map((id: number) => detokenizer.push(id)).join("") + detokenizer.flush()).toBe(text);
      }
      const template = new ChatTemplate(tokenizer.chatTemplate, tokenizer);
      for (const { messages, text, ids } of read("chat.json")) {
        expect(template.render(messages)).toBe(text);
        expect(Array.from(tokenizer.encode(text))).toEqual(ids);
      }
    });
  }
});
