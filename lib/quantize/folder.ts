// The files of a quantised model beside its tensors: config, tokenizer, model card.

import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { OutriderError } from "../errors.ts";
import type { ModelFiles } from "../load/source.ts";
import { configFromGguf } from "../model/gguf-config.ts";
import { ggufTokenizerFiles } from "../text/tokenizer.ts";
import type { QuantizedModel } from "./quantize-model.ts";
import { writeText } from "./safetensors-writer.ts";

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/**
 * The config.json of a source in Hugging Face form.
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED for GGUF files whose RoPE no config.json key describes.
 */
export function sourceConfig(files: ModelFiles): Record<string, unknown> {
  if (files.kind === "folder") return { ...files.config };
  if (files.tensors.has("rope_freqs.weight")) {
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected a model whose RoPE config.json can describe, received rope_freqs.weight in ${files.path}; quantize the Hugging Face folder it was made from`,
    );
  }
  const config = configFromGguf(files.metadata ?? new Map(), files.tensors);
  const { description, config: tokens } = ggufTokenizerFiles(files.metadata ?? new Map());
  const id = (content: unknown) =>
    description.added_tokens.find((token) => token.content === content)?.id ??
    (typeof content === "string" ? (description.model.vocab as Record<string, number>)[content] : undefined);
  const ends = new Set([id(tokens.eos_token), ...(tokens.end_ids as number[])].filter((end) => end !== undefined));
  return { ...config, bos_token_id: id(tokens.bos_token), eos_token_id: [...ends] };
}

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"];

async function writeTokenizer(files: ModelFiles, out: string): Promise<void> {
  if (files.kind === "gguf") {
    const { description, config } = ggufTokenizerFiles(files.metadata ?? new Map());
    const { end_ids: _, ...rest } = config;
    await writeText(path.join(out, "tokenizer.json"), JSON.stringify(description));
    // Without it, transformers goes by the family and puts another pre-tokenizer in.
    await writeText(
      path.join(out, "tokenizer_config.json"),
      json({ tokenizer_class: "PreTrainedTokenizerFast", ...rest }),
    );
    return;
  }
  for (const name of tokenizerFiles) {
    const from = path.join(files.path, name);
    if (await stat(from).catch(() => undefined)) await writeText(path.join(out, name), await readFile(from, "utf8"));
  }
}

function card(model: QuantizedModel, origin: string): string {
  const { bits, group, budget, method, blockEpochs, distillSteps, tokens, distillTokens, calibration } = model.settings;
  const name = path.basename(origin);
  const { measured } = model;
  const lost = measured
    ? `
On ${measured.tokens} tokens of the same kinds of text that were held out: perplexity ${measured.perplexity[1].toFixed(2)} (${name}: ${measured.perplexity[0].toFixed(2)}), KL
divergence ${measured.kl.mean.toFixed(4)} nats a token (99th percentile ${measured.kl.p99.toFixed(3)}), the same likeliest token at ${(100 * measured.top1).toFixed(1)} %.
`
    : "";
  const shapes =
    budget === undefined
      ? `${bits} bits, groups of ${group}`
      : `as many bits each as pay most within ${(budget / 2 ** 20).toFixed(1)} MiB`;
  const trained = [
    `scales, zeros and norms trained block by block for ${blockEpochs} passes`,
    `then all together for ${distillSteps} steps on ${distillTokens} tokens, from ${model.divergence?.before.toFixed(3)} to ${model.divergence?.after.toFixed(3)} nats of KL divergence a token`,
  ].filter((_, i) => (i === 0 ? model.blocks.some(({ error }) => error) : model.divergence));
  return `# ${name}, quantised

Made by \`outrider quantize\` from ${name}: matrices of the blocks in ${shapes}, method ${method}, on ${tokens} calibration
tokens (${calibration.map((from) => path.basename(from)).join(", ")})${trained.map((what) => `; ${what}`).join("")}. Embeddings in ${model.settings.embeddings} bits.

${model.bitsPerWeight.toFixed(2)} bits for a weight of the blocks, scales and zeros counted; ${(model.bytes / 2 ** 20).toFixed(1)} MiB.
${lost}
Every matrix \`NAME\` is \`NAME.codes\` (u8, rows of unsigned codes, lowest bits first), \`NAME.scale\` and \`NAME.zero\` (f16, one for each row and
group of inputs): \`weight = scale * code + zero\`. Bits and group size are in \`quantization_config\` of config.json. The licence is that of
the model it was made from.
`;
}

/** The model card. */
export const writeCard = (files: ModelFiles, out: string, model: QuantizedModel): Promise<void> =>
  writeText(path.join(out, "README.md"), card(model, files.path));

/** Everything but the tensors and the card. */
export async function writeFolder(
  files: ModelFiles,
  out: string,
  quantization: Record<string, unknown>,
): Promise<void> {
  const { quantization_config: _, ...config } = sourceConfig(files);
  await writeTokenizer(files, out);
  // Last: a folder with a config is a whole one.
  await writeText(path.join(out, "config.json"), json({ ...config, quantization_config: quantization }));
}
