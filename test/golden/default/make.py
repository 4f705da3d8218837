"""Writes golden.json: what transformers computes in f32 with the weights of models/default, dequantised.

    pip install torch transformers safetensors && python test/golden/default/make.py
"""

import json
import math
import pathlib

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

here = pathlib.Path(__file__).parent
folder = here.parents[2] / "models/default"
config = json.loads((folder / "config.json").read_text())
bits, group = (config["quantization_config"][key] for key in ("bits", "group_size"))
assert bits == 8

stored = load_file(folder / "model.safetensors")
weights = {}
for name, tensor in stored.items():
    if name.endswith(".codes"):
        module = name.removesuffix(".codes")
        scale, zero = (stored[f"{module}.{part}"].float().repeat_interleave(group, 1) for part in ("scale", "zero"))
        weights[f"{module}.weight"] = tensor.float() * scale[:, : tensor.shape[1]] + zero[:, : tensor.shape[1]]
    elif not name.endswith((".scale", ".zero")):
        weights[name] = tensor.float()
del config["quantization_config"]
model = LlamaForCausalLM(LlamaConfig(**{**config, "dtype": "float32"})).float().eval()
missing, unexpected = model.load_state_dict(weights, strict=False)
assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
tokenizer = AutoTokenizer.from_pretrained(folder)

text = """The harbour was quiet before dawn. A small boat came in with the tide, and the old man who sat at the oars
looked neither left nor right. He had been out for three days, and nobody had expected him. When the rope was fast he
stepped on the stones, put down his bag, and said that the wind had changed. The children ran to tell the others; the
women came down with bread and a lantern. It was the year of the great storm, and every return was a feast. "We saw the
ships," he said, "and none of them had a flag." After that he slept until the evening bell. """ * 3
prompts = ["Once upon a time", "The capital of the country is", "naïve café, 1234 – ok?", "In the beginning"]

golden = {"prompts": [], "text": text}
with torch.inference_mode():
    for prompt in prompts:
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        logits = model(torch.tensor([ids])).logits[0]
        top = logits.topk(16, dim=-1)
        row, gaps = list(ids), []
        for _ in range(48):
            last = model(torch.tensor([row])).logits[0, -1].topk(2)
            gaps.append(round(float(last.values[0] - last.values[1]), 5))
            row.append(int(last.indices[0]))
        golden["prompts"].append({
            "prompt": prompt,
            "ids": ids,
            "topIds": top.indices.tolist(),
            "topLogits": [[round(value, 5) for value in values] for values in top.values.tolist()],
            "greedy": row[len(ids) :],
            "gaps": gaps,
        })  # fmt: skip
    ids = tokenizer.encode(text, add_special_tokens=False)
    window = 128
    windows = [ids[at : at + window] for at in range(0, len(ids) - 1, window)]  # the last one may be short
    nll = 0.0
    for part in windows:
        logprobs = model(torch.tensor([part])).logits[0, :-1].double().log_softmax(-1)
        nll -= float(logprobs.gather(1, torch.tensor(part[1:])[:, None]).sum())
    golden["window"] = window
    golden["perplexity"] = math.exp(nll / (len(ids) - len(windows)))
(here / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
