// A child process that measures one library.
import { fork } from "node:child_process";
import path from "node:path";

/** Starts a script of this folder; `ask(task, options)` gives tokens/s. */
export async function start(script, file, threads, contextSize) {
  const child = fork(path.join(import.meta.dirname, script), [file ?? "", String(threads), String(contextSize)], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const next = () =>
    new Promise((resolve, reject) => {
      const failed = (code) => reject(new Error(`${script} ended with ${code}`));
      child.once("exit", failed);
      child.once("message", (message) => {
        child.off("exit", failed);
        resolve(message);
      });
    });
  await next();
  const ask = (task, options = {}) => {
    child.send({ task, ...options });
    return next();
  };
  return { ask, stop: () => child.kill() };
}
