import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["fuzz/**/*.fuzz.ts"],
    pool: "forks",
    testTimeout: 0,
    hookTimeout: 0,
    disableConsoleIntercept: true,
  },
});
