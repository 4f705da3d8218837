// Typed reading of a hostile config.json.

import { describe, OutriderError } from "../errors.ts";

/** Members of a JSON object with their types and ranges checked; errors name the key. */
export class ConfigReader {
  readonly values: Record<string, unknown>;

  constructor(values: Record<string, unknown>) {
    this.values = values;
  }

  bad(key: string, what: string): OutriderError {
    return new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected ${what} for ${key} in the model's config, received ${describe(this.values[key])}`,
    );
  }

  unsupported(key: string, what: string): OutriderError {
    return new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected ${what} for ${key} in the model's config, received ${describe(this.values[key])}`,
    );
  }

  has(key: string): boolean {
    return this.values[key] !== undefined && this.values[key] !== null;
  }

  /** A positive integer up to `max`. */
  integer(key: string, max: number, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.values[key];
    if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > max)
      throw this.bad(key, `an integer from 1 to ${max}`);
    return value;
  }

  number(key: string, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.values[key];
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.bad(key, "a finite number");
    return value;
  }

  flag(key: string, fallback = false): boolean {
    if (!this.has(key)) return fallback;
    const value = this.values[key];
    if (typeof value !== "boolean") throw this.bad(key, "true or false");
    return value;
  }

  string(key: string, fallback?: string): string {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.values[key];
    if (typeof value !== "string") throw this.bad(key, "a string");
    return value;
  }

  /** A nested object, or undefined. */
  object(key: string): ConfigReader | undefined {
    if (!this.has(key)) return undefined;
    const value = this.values[key];
    if (typeof value !== "object" || Array.isArray(value)) throw this.bad(key, "an object");
    return new ConfigReader(value as Record<string, unknown>);
  }

  /** An array of exactly `length` entries, or undefined. */
  array(key: string, length: number): unknown[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.values[key];
    if (!Array.isArray(value) || value.length !== length) throw this.bad(key, `an array of ${length}`);
    return value;
  }
}
