// load() with an onProgress that throws, again and again: each rejects with that error, nothing is uncaught, and no timer keeps the
// process.
import { load } from "../../../dist/index.js";

let rejected = 0;
for (let i = 0; i < 20; i++) {
  const error = new Error("the caller's own");
  const onProgress = () => {
    throw error;
  };
  await load(undefined, { threads: 1, onProgress }).catch((caught) => {
    if (caught === error) rejected += 1;
  });
}
console.log(`${rejected} rejected`);
