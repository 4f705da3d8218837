// The one place that knows how native code is compiled; build-native.mjs uses it, binding.gyp and CMakeLists.txt repeat it.
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

export const defines = [
  "NAPI_VERSION=8",
  "NODE_ADDON_API_CPP_EXCEPTIONS",
  "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",
  "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
  "NODE_GYP_MODULE_NAME=outrider",
  "BUILDING_NODE_EXTENSION",
];

/** Include folders of our own code and of the two header packages; nothing is downloaded. */
export function includes() {
  return [
    path.join(root, "native"),
    path.dirname(require.resolve("node-addon-api/package.json")),
    require("node-api-headers").include_dir,
  ];
}

// -ffp-contract=off: a compiler that fuses multiply and add on its own would make results depend on the compiler.
export const compileFlags = [
  "-std=c++20",
  "-O3",
  "-fPIC",
  "-fvisibility=hidden",
  "-fvisibility-inlines-hidden",
  "-fno-math-errno",
  "-ffp-contract=off",
  "-fno-strict-aliasing",
  "-Wall",
  "-Wextra",
  "-Wno-maybe-uninitialized", // both: false alarms inside the intrinsics headers of GCC 12
  "-Wno-uninitialized",
  "-Wno-unknown-warning-option",
];
