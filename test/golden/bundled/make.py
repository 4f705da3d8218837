"""Writes what transformers computes in f32 with the weights of the models in this repository, dequantised.

    pip install torch transformers numpy && python test/golden/bundled/make.py [tiny | smollm2-135m-instruct]
"""

import json
import math
import pathlib
import sys

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

here = pathlib.Path(__file__).parent
root = here.parents[2]
sys.path.insert(0, str(root / "examples"))
from read_quantized import dequantize, read_safetensors  # noqa: E402

MODELS = {"tiny": "test/fixtures/tiny", "smollm2-135m-instruct": "models/smollm2-135m-instruct"}
TEXT = """The harbour was quiet before dawn. A small boat came in with the tide, and the old man who sat at the oars
looked neither left nor right. He had been out for three days, and nobody had expected him. When the rope was fast he
stepped on the stones, put down his bag, and said that the wind had changed. The children ran to tell the others; the
women came down with bread and a lantern. It was the year of the great storm, and every return was a feast. "We saw the
ships," he said, "and none of them had a flag." After that he slept until the evening bell. """ * 3
PROMPTS = ["Once upon a time", "The capital of the country is", "naïve café, 1234 – ok?", "In the beginning"]
WINDOW = 128


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = read_safetensors(folder / "model.safetensors")
    weights = {}
    for name, tensor in tensors.items():
        if name.endswith(".codes"):
            module = name.removesuffix(".codes")
            weights[f"{module}.weight"] = torch.from_numpy(dequantize(tensors, config, module))
        elif not name.endswith((".scale", ".zero")):
            weights[name] = torch.tensor(tensor.tolist(), dtype=torch.float32)
    del config["quantization_config"]
    model = LlamaForCausalLM(LlamaConfig(**{**config, "dtype": "float32"})).float().eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    return model, AutoTokenizer.from_pretrained(folder)


def golden(model, tokenizer):
    prompts = []
    eos = model.config.eos_token_id
    ends = eos if isinstance(eos, list) else [eos]  # never chosen, as with ignoreEos
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        top = model(torch.tensor([ids])).logits[0].topk(16, dim=-1)
        row, gaps = list(ids), []
        for _ in range(48):
            logits = model(torch.tensor([row])).logits[0, -1]
            logits[ends] = -math.inf
            last = logits.topk(2)
            gaps.append(round(float(last.values[0] - last.values[1]), 5))
            row.append(int(last.indices[0]))
        prompts.append({
            "prompt": prompt,
            "ids": ids,
            "topIds": top.indices.tolist(),
            "topLogits": [[round(value, 5) for value in values] for values in top.values.tolist()],
            "greedy": row[len(ids) :],
            "text": tokenizer.decode(row[len(ids) :], skip_special_tokens=True),
            "gaps": gaps,
        })  # fmt: skip
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    windows = [ids[at : at + WINDOW] for at in range(0, len(ids) - 1, WINDOW)]  # the last one may be short
    nll = 0.0
    for part in windows:
        logprobs = model(torch.tensor([part])).logits[0, :-1].double().log_softmax(-1)
        nll -= float(logprobs.gather(1, torch.tensor(part[1:])[:, None]).sum())
    perplexity = math.exp(nll / (len(ids) - len(windows)))
    return {"prompts": prompts, "text": TEXT, "window": WINDOW, "perplexity": perplexity}


for name in sys.argv[1:] or MODELS:
    with torch.inference_mode():
        found = golden(*load(root / MODELS[name]))
    (here / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False) + "\n")
