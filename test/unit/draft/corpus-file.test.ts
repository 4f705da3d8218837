// A corpus in a file: read once for each model, kept as token ids, and the same as a corpus that is given as ids.
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { copy } from "../../../lib/draft/copy.ts";
import type { DraftContext, Drafter } from "../../../lib/draft/drafter.ts";
import type { TokenTree } from "../../../lib/tree/token-tree.ts";
import { contextOf, greedy } from "../../support/eager.ts";
import { code } from "../../support/errors.ts";

let root: string;
let file: string;
// Lines of some characters, then one that is longer than what is encoded at a time.
const text = `${Array.from({ length: 900 }, (_, i) => `line ${i} of the corpus, ${(i * 7919) % 1009}`).join("\n")}\n${"xy".repeat(40_000)}z`;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "outrider-corpus-"));
  file = path.join(root, "corpus.txt");
  writeFileSync(file, text);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const end = "line 500 of the";

/** What is copied behind the beginning of a line. */
async function copied(drafter: Drafter, context: DraftContext): Promise<string | undefined> {
  await drafter.prepare?.(context);
  const session = drafter.start(context.encode(end), context, greedy);
  let tree: TokenTree | undefined;
  for (let i = 0; i < 200; i++) tree = session.propose({ nodes: 8, depth: 8 }) as TokenTree | undefined;
  return tree && String.fromCharCode(...tree.token);
}

test("the same as its token ids, for every model that drafts with it", async () => {
  const drafter = copy({ corpus: file });
  for (const fingerprint of ["a", "b"]) {
    const context = contextOf(256, fingerprint);
    expect(await copied(drafter, context)).toBe("e corpus,");
    expect(await copied(copy({ corpus: context.encode(text) }), context)).toBe("e corpus,");
  }
});

test("kept in a folder it is not encoded again, until the file says something else", async () => {
  const folder = path.join(root, "kept");
  const counted = () => {
    const context = contextOf(256, "c");
    return { ...context, encode: vi.fn(context.encode) };
  };
  const first = counted();
  expect(await copied(copy({ corpus: file, folder }), first)).toBe("e corpus,");
  expect(
    first.encode.mock.calls
      .map(([piece]) => piece)
      .slice(0, -1)
      .join(""),
  ).toBe(text);
  const [kept] = readdirSync(folder);
  const second = counted();
  expect(await copied(copy({ corpus: file, folder }), second)).toBe("e corpus,");
  expect(second.encode.mock.calls).toEqual([[end]]);

  const bytes = readFileSync(path.join(folder, kept));
  bytes[bytes.length - 5] ^= 1;
  writeFileSync(path.join(folder, kept), bytes); // damaged: made anew
  const third = counted();
  expect(await copied(copy({ corpus: file, folder }), third)).toBe("e corpus,");
  expect(third.encode.mock.calls.length).toBeGreaterThan(1);

  const other = path.join(root, "other.txt");
  writeFileSync(other, "line 500 of the day");
  expect(await copied(copy({ corpus: other, folder }), counted())).toBe("e day");
  expect(readdirSync(folder)).toHaveLength(2);
});

test("a file that is not there is what the call rejects with, and it may come later", async () => {
  const missing = path.join(root, "later.txt");
  const drafter = copy({ corpus: missing });
  const context = contextOf(256);
  await expect(drafter.prepare?.(context)).rejects.toThrow(code("OUTRIDER_NOT_FOUND"));
  await expect(copy({ corpus: root }).prepare?.(context)).rejects.toThrow(code("OUTRIDER_UNSUPPORTED"));
  const large = path.join(root, "large.txt");
  writeFileSync(large, "");
  truncateSync(large, 2 ** 28 + 1);
  await expect(copy({ corpus: large }).prepare?.(context)).rejects.toThrow(code("OUTRIDER_UNSUPPORTED"));
  await expect(copy({ corpus: path.join(file, "below") }).prepare?.(context)).rejects.toThrow(code("OUTRIDER_IO"));
  writeFileSync(missing, text);
  expect(await copied(drafter, context)).toBe("e corpus,");
});

test.each([{ corpus: "" }, { corpus: 7 }, { corpus: "x", folder: "" }])("%o is refused", (options) => {
  expect(() => copy(options as Parameters<typeof copy>[0])).toThrow(code("OUTRIDER_ARGUMENT"));
});
