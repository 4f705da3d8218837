// Messages to prompt text through the model's own Jinja template.

import { Template } from "@huggingface/jinja";
import { badArgument, OutriderError } from "../errors.ts";

/** One turn of a conversation. */
export interface Message {
  role: string;
  content: string;
}

/** Options of {@link ChatTemplate.render}. */
export interface RenderOptions {
  /** End with the opening of the assistant's turn. @default true */
  addGenerationPrompt?: boolean;
  /** Extra variables for the template, such as `tools`. */
  variables?: Record<string, unknown>;
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `messages` is a list of { role, content } strings. */
export function checkMessages(messages: unknown): asserts messages is Message[] {
  if (!Array.isArray(messages)) throw badArgument("messages", "a list of { role, content }", messages);
  messages.forEach((message, i) => {
    if (typeof message?.role !== "string") throw badArgument(`messages[${i}].role`, "a string", message?.role);
    if (typeof message.content !== "string") throw badArgument(`messages[${i}].content`, "a string", message.content);
  });
}

/** A compiled chat template. */
export class ChatTemplate {
  readonly #template: Template | undefined;
  readonly #tokens: Record<string, string>;

  /** @param source Jinja source; undefined for models without one. */
  constructor(source: string | undefined, tokens: { bosToken?: string; eosToken?: string } = {}) {
    this.#tokens = { bos_token: tokens.bosToken ?? "", eos_token: tokens.eosToken ?? "" };
    try {
      this.#template = source === undefined ? undefined : new Template(source);
    } catch (error) {
      throw new OutriderError("OUTRIDER_FORMAT", `Cannot read the chat template: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /** Whether the model has a template. */
  get exists(): boolean {
    return this.#template !== undefined;
  }

  /**
   * The prompt of a conversation.
   * @throws {OutriderError} OUTRIDER_UNSUPPORTED without a template; OUTRIDER_ARGUMENT when the template refuses the messages.
   */
  render(messages: readonly Message[], { addGenerationPrompt = true, variables = {} }: RenderOptions = {}): string {
    checkMessages(messages);
    if (!this.#template) {
      throw new OutriderError(
        "OUTRIDER_UNSUPPORTED",
        "Expected a model with a chat template; use generate() with a prompt of your own",
      );
    }
    try {
      return this.#template.render({
        ...variables,
        messages: [...messages],
        add_generation_prompt: addGenerationPrompt,
        ...this.#tokens,
      });
    } catch (error) {
      throw new OutriderError(
        "OUTRIDER_ARGUMENT",
        `The chat template refused the messages: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }
}
