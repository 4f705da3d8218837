// The packed tarball works in an empty folder, without scripts, and its binary runs on glibc 2.28.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const [zig, ...zigArgs] = (process.env.ZIG ?? "python3 -m ziglang").split(" ");
const hasZig = spawnSync(zig, [...zigArgs, "version"]).status === 0;

describe.skipIf(!hasZig)(hasZig ? "release" : "release (needs zig c++: pip install ziglang)", () => {
  let folder: string;
  let installed: string;

  const run = async (command: string, args: string[], cwd: string) => {
    const env = { ...process.env, OUTRIDER_NATIVE_PATH: "" };
    const { stdout } = await promisify(execFile)(command, args, { cwd, env, maxBuffer: 1 << 26 });
    return stdout;
  };

  beforeAll(async () => {
    await run("npm", ["run", "pack:release"], root);
    const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
    folder = mkdtempSync(path.join(os.tmpdir(), "outrider-release-"));
    writeFileSync(path.join(folder, "package.json"), '{"private":true}');
    await run("npm", ["install", "--ignore-scripts", path.join(root, `release/outrider-${version}.tgz`)], folder);
    installed = path.join(folder, "node_modules/outrider");
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true }));

  test("has neither binding.gyp nor scripts", () => {
    expect(existsSync(path.join(installed, "binding.gyp"))).toBe(false);
    expect(JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8")).scripts).toBeUndefined();
  });

  test("takes at most 10 MiB, and its model 64 MiB", () => {
    const bytesOf = (at: string): number =>
      readdirSync(at, { recursive: true, withFileTypes: true }).reduce(
        (sum, entry) =>
          sum + (entry.isFile() ? statSync(path.join(entry.parentPath ?? entry.path, entry.name)).size : 0),
        0,
      );
    const model = bytesOf(path.join(installed, "node_modules/outrider-smollm2-135m-instruct"));
    const own = bytesOf(installed) - model;
    console.log(`installed: ${(own / 2 ** 20).toFixed(1)} MiB and a model of ${(model / 2 ** 20).toFixed(1)} MiB`);
    expect(own).toBeGreaterThan(3e6);
    expect(own).toBeLessThanOrEqual(10 * 2 ** 20);
    expect(model).toBeGreaterThan(3e7);
    expect(model).toBeLessThanOrEqual(64 * 2 ** 20);
  });

  test("require and import give the same classes, and both generate", async () => {
    const code = `
      const required = require("outrider");
      import("outrider").then(async (imported) => {
        if (required.Model !== imported.Model || required.OutriderError !== imported.OutriderError) throw new Error("two copies");
        const model = await required.load();
        if (!(model instanceof imported.Model)) throw new Error("another class");
        const { text } = await model.generate("Once upon a time", { maxTokens: 8 });
        await model.dispose();
        console.log(JSON.stringify(text));
      });`;
    expect(JSON.parse(await run(process.execPath, ["--no-warnings", "-e", code], folder)).length).toBeGreaterThan(5);
    expect(await run("npx", ["outrider", "generate", "The sea", "-n", "4"], folder)).toContain("The sea");
  });

  test("strict TypeScript finds its types, from modules and from CommonJS", async () => {
    writeFileSync(
      path.join(folder, "a.mts"),
      `import { type GenerateOptions, load, type Model, type Piece, type Tensor } from "outrider";
       import { f32, gemm } from "outrider/ops";
       const options: GenerateOptions = { maxTokens: 3, signal: AbortSignal.timeout(1000) };
       const model: Model = await load();
       const pieces: Piece[] = [];
       for await (const piece of model.stream("a", options)) pieces.push(piece);
       export const logits: Tensor<"f32", 2> = await model.logits([1]);
       export const product: Tensor<"f32", 2> = gemm({ x: f32([1], [1, 1]), w: f32([2], [1, 1]) });
       // @ts-expect-error maxTokens is a number
       await model.generate("a", { maxTokens: "3" });`,
    );
    writeFileSync(
      path.join(folder, "b.cts"),
      `import outrider = require("outrider"); export const model: Promise<outrider.Model> = outrider.load();`,
    );
    const tsc = path.join(root, "node_modules/typescript/bin/tsc");
    const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck", "false"];
    const types = ["--types", "node", "--typeRoots", path.join(root, "node_modules/@types")];
    expect(await run(process.execPath, [tsc, ...flags, ...types, "a.mts", "b.cts"], folder)).toBe("");
  });

  test("the binary needs glibc 2.28 at most and no libstdc++", () => {
    const addon = readFileSync(path.join(installed, "prebuilds/linux-x64/outrider.node")).toString("latin1");
    const versions = [...addon.matchAll(/GLIBC_(\d+)\.(\d+)/g)].map(
      ([, major, minor]) => Number(major) * 1000 + Number(minor),
    );
    expect(versions.length).toBeGreaterThan(0);
    expect(Math.max(...versions)).toBeLessThanOrEqual(2028);
    expect(addon).not.toContain("GLIBCXX_");
    expect(addon).not.toContain("libstdc++.so");
  });
});
