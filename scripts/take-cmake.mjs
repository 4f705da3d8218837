// Moves the addon that cmake-js built to build/Release, where the loader looks.
import fs from "node:fs";
import path from "node:path";
import { root } from "./native-flags.mjs";

const built = ["build/cmake/outrider.node", "build/cmake/Release/outrider.node"]
  .map((file) => path.join(root, file))
  .find(fs.existsSync);
if (!built) throw new Error("cmake-js left no outrider.node under build/cmake");
fs.mkdirSync(path.join(root, "build/Release"), { recursive: true });
fs.copyFileSync(built, path.join(root, "build/Release/outrider.node"));
