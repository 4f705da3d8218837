"""Trains the head that ends drafts of a draft model (SpecDec++, arXiv:2405.19715) and writes it for draftModel({ head }).

The head reads the state that the draft model's LM head reads, after the final norm, and says how likely the token drawn from it is the one that the
target says. Both models are frozen. The target continues pieces of the text; some tokens of each continuation are exchanged for what the draft model would
have said there, since the head will read drafts; and at every position of the result the two models' own distributions say how likely they agree.
"""

import argparse
import json
import math

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer


class Head(nn.Module):
    """Blocks of x + silu(W x + b), then two classes of which the second is acceptance."""

    def __init__(self, hidden, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.classes = nn.Linear(hidden, 2)

    def forward(self, x):
        for block in self.blocks:
            x = x + nn.functional.silu(block(x))
        return self.classes(x)


def coupled_acceptance(p, q):
    """How likely p and q give the same token under one Gumbel noise, of rows [N, V]: sum_x 1 / sum_y max(p_y / p_x, q_y / q_x).

    Sorted by p / q, the maximum is the first ratio for all y before x and the second for all behind it.
    """
    order = (p / q.clamp_min(1e-300)).argsort(dim=-1, descending=True)
    p, q = p.gather(-1, order), q.gather(-1, order)
    before, behind = p.cumsum(-1), 1 - q.cumsum(-1)
    return (p * q / (before * q + behind.clamp_min(0) * p).clamp_min(1e-300)).sum(-1)


def check_coupled_acceptance(generator):
    """Against the definition: a wrong label would pass unnoticed."""
    p, q = torch.randn(2, 5, 40, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    ratios = torch.maximum(p[:, None, :] / p[:, :, None], q[:, None, :] / q[:, :, None])
    assert torch.allclose(coupled_acceptance(p, q), (1 / ratios.sum(-1)).sum(-1), rtol=1e-9)
    assert torch.allclose(coupled_acceptance(p, p), torch.ones(5, dtype=torch.float64), rtol=1e-9)


def acceptance(target, draft, temperature):
    """How likely the token drawn by the draft model is the target's, from logits [N, V]: equality of the best, or of draws that share their noise."""
    if temperature == 0:
        return (target.argmax(-1) == draft.argmax(-1)).float()
    p, q = ((logits.double() / temperature).softmax(-1) for logits in (target, draft))
    return coupled_acceptance(p, q).float().clamp(0, 1)


def draw(logits, temperature, generator):
    """Tokens of logits [..., V]."""
    if temperature == 0:
        return logits.argmax(-1)
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits / temperature - noise.log()).argmax(-1)


def continued(model, tokens, count, temperature, generator):
    """Texts [N, P] and what the model says next, [N, P + count]."""
    past, step = None, tokens
    for _ in range(count):
        out = model(input_ids=step, past_key_values=past, use_cache=True)
        past, step = out.past_key_values, draw(out.logits[:, -1], temperature, generator)[:, None]
        tokens = torch.cat([tokens, step], dim=1)
    return tokens


@torch.no_grad()
def examples(target, draft, prompts, args, temperature, generator):
    """States [N, hidden] of the draft model, and how likely the token drawn from each is accepted, [N]."""
    states, labels = [], []
    first = prompts.shape[1]
    for batch in prompts.split(32):
        text = continued(target, batch, args.continuation, temperature, generator)
        said = draw(draft(input_ids=text).logits[:, :-1], temperature, generator)
        mixed = torch.rand(said[:, first - 1 :].shape, generator=generator) < args.mix
        text[:, first:] = torch.where(mixed, said[:, first - 1 :], text[:, first:])
        out = draft(input_ids=text, output_hidden_states=True)
        rows = slice(first - 1, -1)  # what draws the tokens behind the prompt
        states.append(out.hidden_states[-1][:, rows].flatten(0, 1))
        logits = target(input_ids=text).logits[:, rows].flatten(0, 1)
        labels.append(acceptance(logits, out.logits[:, rows].flatten(0, 1), temperature))
    return torch.cat(states), torch.cat(labels)


def entropy(logits, labels, weight):
    """Binary cross entropy where what is not accepted counts `weight` times, over the sum of the weights."""
    log = logits.log_softmax(-1)
    rejected = weight * (1 - labels)
    return -(labels * log[:, 1] + rejected * log[:, 0]).sum() / (labels + rejected).sum()


def accuracy(logits, labels, weight):
    """Share of that weight that the likelier class has."""
    accepted = logits[:, 1] > logits[:, 0]
    rejected = weight * (1 - labels)
    return torch.where(accepted, labels, rejected).sum() / (labels + rejected).sum()


@torch.no_grad()
def report(name, logits, labels, weight):
    # A head trained with weights says odds / weight of what it believes; plain numbers are of what it believes.
    plain = logits + torch.tensor([0.0, math.log(weight)])
    print(
        f"{name:9s} weighted: BCE {entropy(logits, labels, weight):.4f}, accuracy {accuracy(logits, labels, weight):.4f}; "
        f"plain: BCE {entropy(plain, labels, 1):.4f}, accuracy {accuracy(plain, labels, 1):.4f}"
    )


def constant(labels, weight):
    """Logits of the best head that does not look: the mean acceptance."""
    mean = labels.mean()
    return torch.stack([weight * (1 - mean), mean]).log().expand(len(labels), 2)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="folder of the larger model")
    parser.add_argument("--draft", required=True, help="folder of the draft model, same tokens")
    parser.add_argument("--text", required=True, nargs="+", help="text files; the last tenth of each is held out")
    parser.add_argument("--output", required=True, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--texts", type=int, default=1600, help="pieces of text that are continued; a tenth as many held out")
    parser.add_argument("--prompt", type=int, default=48, help="tokens of a piece")
    parser.add_argument("--continuation", type=int, default=96, help="tokens that the target says behind it")
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0], help="of the draws; several share the texts")
    parser.add_argument("--mix", type=float, default=0.15, help="share of tokens exchanged for the draft model's")
    parser.add_argument("--weight", type=float, default=6.0, help="of tokens that are not accepted")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=1024, help="positions in a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--f32", action="store_true", help="weights in 32 bits; 16 otherwise")
    return parser.parse_args()


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(args.seed)
    check_coupled_acceptance(generator)
    target, draft = (AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval() for name in (args.target, args.draft))
    tokenizer = AutoTokenizer.from_pretrained(args.draft)
    if target.config.vocab_size != draft.config.vocab_size:
        raise SystemExit("Expected two models with the same tokens")

    texts = []
    for name in args.text:
        with open(name, encoding="utf-8") as file:
            texts.append(torch.tensor(tokenizer(file.read(), add_special_tokens=False)["input_ids"]))
    train = torch.cat([text[: len(text) * 9 // 10] for text in texts])
    held = torch.cat([text[len(text) * 9 // 10 :] for text in texts])

    def pieces(text, count):
        starts = torch.randint(len(text) - args.prompt + 1, (count,), generator=generator)
        return text[starts[:, None] + torch.arange(args.prompt)]

    def made(text, count):
        share = max(1, count // len(args.temperature))
        parts = [examples(target, draft, pieces(text, share), args, t, generator) for t in args.temperature]
        return (torch.cat(side) for side in zip(*parts))

    states, labels = made(train, args.texts)
    held_states, held_labels = made(held, args.texts // 10)
    print(f"{len(labels)} positions, {labels.mean():.4f} accepted; held out: {len(held_labels)}, {held_labels.mean():.4f}")

    head = Head(draft.config.hidden_size, args.blocks)
    report("constant", constant(held_labels, args.weight), held_labels, args.weight)
    report("before", head(held_states), held_labels, args.weight)
    optimiser = torch.optim.AdamW(head.parameters(), lr=args.rate, weight_decay=args.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.steps)
    for _ in range(args.steps):
        rows = torch.randint(len(labels), (args.batch,), generator=generator)
        loss = entropy(head(states[rows]), labels[rows], args.weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    stored = {name: value.detach().to(torch.float32 if args.f32 else torch.float16) for name, value in head.state_dict().items()}
    head.load_state_dict(stored)  # what is measured is what is written
    report("training", head(states), labels, args.weight)
    report("after", head(held_states), held_labels, args.weight)
    config = draft.config
    about = {"version": 1, "hidden": config.hidden_size, "blocks": args.blocks, "layers": config.num_hidden_layers, "vocab": config.vocab_size}
    save_file(stored, args.output, metadata={"outrider.head": json.dumps(about)})


if __name__ == "__main__":
    main()
