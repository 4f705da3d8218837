// Mutations of valid inputs: bytes with knowledge of little-endian fields, JSON with knowledge of its structure.

/** A generator of uniform numbers in [0, 1). */
export type Random = () => number;

export const below = (next: Random, count: number): number => Math.floor(next() * count);
export const pick = <T>(next: Random, values: readonly T[]): T => values[below(next, values.length)];

const counts = [0n, 1n, 2n, 31n, 255n, 256n, 65535n, 65536n, (1n << 31n) - 1n, 1n << 31n, (1n << 32n) - 1n, 1n << 32n];
const wide = [
  ...counts,
  1n << 40n,
  (1n << 53n) - 1n,
  1n << 53n,
  1n << 62n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
];

/** One to four changes somewhere in bytes[from, to). */
export function mutateBytes(bytes: Uint8Array, next: Random, from = 0, to = bytes.length): Buffer {
  let out = Buffer.from(bytes);
  let end = Math.min(to, out.length);
  for (let changes = 1 + below(next, 4); changes > 0 && end > from; changes--) {
    const at = from + below(next, end - from);
    const length = Math.min(1 + below(next, 24), end - at);
    switch (below(next, 8)) {
      case 0:
        out[at] ^= 1 << below(next, 8);
        break;
      case 1:
        out[at] = pick(next, [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x7b, 0x7d]);
        break;
      case 2:
        if (at + 4 <= out.length) out.writeUInt32LE(Number(pick(next, counts) & 0xffffffffn), at);
        break;
      case 3:
        if (at + 8 <= out.length) out.writeBigUInt64LE(pick(next, wide), at);
        break;
      case 4: // remove
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)]);
        end -= length;
        break;
      case 5: // repeat
        out = Buffer.concat([out.subarray(0, at + length), out.subarray(at, at + length), out.subarray(at + length)]);
        end += length;
        break;
      case 6: // copy from elsewhere
        out.copyWithin(at, from + below(next, end - from), end);
        break;
      default:
        out = out.subarray(0, at);
        end = at;
    }
  }
  return out;
}

const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);

const oddValues: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  0.5,
  2 ** 31,
  2 ** 53,
  1e308,
  -1e308,
  "",
  "0",
  "x".repeat(5000),
  "\ud800",
  [],
  {},
  [[]],
  [null],
  { a: 1 },
  nested(40),
  "__proto__",
  "constructor",
];

type Node = Record<string, unknown> | unknown[];
const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null;

/** One to three changes somewhere in a JSON value: members replaced, removed, renamed, repeated, swapped or nudged. */
export function mutateJson<T>(value: T, next: Random): T {
  const out = structuredClone(value);
  for (let changes = 1 + below(next, 3); changes > 0; changes--) {
    let node = out as Node;
    let keys = Object.keys(node);
    // Walk down a while, so that deep members are met as often as shallow ones.
    while (keys.length > 0 && next() < 0.75) {
      const child = (node as Record<string, unknown>)[pick(next, keys)];
      if (!isNode(child) || Object.keys(child).length === 0) continue;
      node = child;
      keys = Object.keys(node);
    }
    if (keys.length === 0) continue;
    const members = node as Record<string, unknown>;
    const key = pick(next, keys);
    const old = members[key];
    const odd = () => structuredClone(pick(next, oddValues)); // copies: a shared member could come to hold itself
    switch (below(next, 6)) {
      case 0:
        if (Array.isArray(node)) node.splice(Number(key), 1);
        else delete members[key];
        break;
      case 1:
        if (Array.isArray(node)) node.push(structuredClone(old));
        else members[`${key}2`] = structuredClone(old);
        break;
      case 2:
        members[key] = structuredClone(members[pick(next, keys)]);
        break;
      case 3:
        if (typeof old === "number") members[key] = old + pick(next, [1, -1, 0.5, 1e6, -2 * old]);
        else if (typeof old === "string")
          members[key] =
            next() < 0.5 ? old.slice(below(next, old.length + 1)) : old + pick(next, ["(", "\\", "0", "[", "*"]);
        else members[key] = odd();
        break;
      default:
        members[key] = odd();
    }
  }
  return out;
}
