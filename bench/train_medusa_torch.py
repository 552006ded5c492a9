#!/usr/bin/env python3
"""Train Medusa-1 heads with PyTorch: the yardstick for `foretoken train medusa`, written from the paper (Cai et al. 2024) and from
nothing of foretoken's.

A head is `x + silu(W x + b)` with W = 0 at first, then an output matrix that begins as the model's. Head k (from 0) predicts the
token k + 2 places ahead of the last one its hidden state has seen; losses are cross-entropies weighted by 0.8^k, on a frozen model.
Documents are laid end to end, so every token is one of the budget, and each is seen once per time it is in the file.

usage: train_medusa_torch.py MODEL DATA.jsonl OUT --tokens N [--from HEADS] [--heads 4] [--batch 16] [--length 256] [--rate 1e-3]
       [--threads 2]
       DATA: JSON lines with `text`, or with `tokens` and `prompt` (tokens of the prompt are not learned)
       HEADS: a folder written by this script, whose heads learn on
needs: torch, transformers, tokenizers, safetensors
"""
import argparse, json, math, os, time

import torch, torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("model"); ap.add_argument("data"); ap.add_argument("out")
ap.add_argument("--tokens", type=int, required=True); ap.add_argument("--heads", type=int, default=4)
ap.add_argument("--batch", type=int, default=16); ap.add_argument("--length", type=int, default=256)
ap.add_argument("--rate", type=float, default=1e-3); ap.add_argument("--warm-up", type=int, default=40)
ap.add_argument("--from", dest="start"); ap.add_argument("--decay", type=float, default=0.8); ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--threads", type=int, default=2)
a = ap.parse_args()
torch.set_num_threads(a.threads); torch.manual_seed(a.seed)

model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval().requires_grad_(False)
width, vocab = model.config.hidden_size, model.config.vocab_size
tokenizer = Tokenizer.from_file(os.path.join(a.model, "tokenizer.json"))


def stream():
    """Tokens and what each counts as a label."""
    for line in open(a.data):
        record = json.loads(line)
        if "tokens" in record:
            ids, prompt = record["tokens"], record["prompt"]
        else:
            ids, prompt = [0] + tokenizer.encode(record["text"], add_special_tokens=False).ids + [3], 0
        yield from zip(ids, [0.0] * prompt + [1.0] * (len(ids) - prompt))


def batches():
    size, ids, weights = a.batch * a.length, [], []
    for token, weight in stream():
        ids.append(token); weights.append(weight)
        if len(ids) == size:
            yield torch.tensor(ids).view(a.batch, a.length), torch.tensor(weights).view(a.batch, a.length)
            ids, weights = [], []


FILE = "medusa_lm_head.safetensors"


def parameters(k, head):
    """Those of head k, by their names in a file."""
    return {f"{k}.0.linear.weight": head.block.weight, f"{k}.0.linear.bias": head.block.bias, f"{k}.1.weight": head.output.weight}


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Linear(width, width)
        torch.nn.init.zeros_(self.block.weight)
        self.output = torch.nn.Linear(width, vocab, bias=False)
        self.output.weight.data = model.lm_head.weight.detach().clone()

    def forward(self, x):
        return self.output(x + F.silu(self.block(x)))


heads = torch.nn.ModuleList(Head() for _ in range(a.heads))
if a.start:
    learned = load_file(os.path.join(a.start, FILE))
    for k, head in enumerate(heads):
        for name, parameter in parameters(k, head).items(): parameter.data = learned[name].float()
optimiser = torch.optim.AdamW(heads.parameters(), lr=a.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
steps = a.tokens // (a.batch * a.length)
started = time.time()
for step, (ids, weights) in zip(range(steps), batches()):
    rate = a.rate * min((step + 1) / a.warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)))
    for group in optimiser.param_groups: group["lr"] = rate
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad(): x = model.model(ids).last_hidden_state
        losses = []
        for k, head in enumerate(heads):
            logits = head(x[:, : -2 - k]).float()
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 2 + k:].flatten(), reduction="none")
            weight = weights[:, 2 + k:].flatten()
            losses.append((loss * weight).sum() / weight.sum().clamp(min=1))
    sum(a.decay**k * loss for k, loss in enumerate(losses)).backward()
    torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
    optimiser.step(); optimiser.zero_grad(set_to_none=True)
    if step % 50 == 0 or step == steps - 1:
        done = (step + 1) * a.batch * a.length
        print(f"{done / 1e6:.2f} M tokens, losses {' '.join(f'{l.item():.3f}' for l in losses)}, "
              f"{done / (time.time() - started):.0f} tokens/s", flush=True)

os.makedirs(a.out, exist_ok=True)
tensors = {name: t for k, head in enumerate(heads) for name, t in parameters(k, head).items()}
save_file({n: t.detach().bfloat16().contiguous() for n, t in tensors.items()}, os.path.join(a.out, FILE))
json.dump({"medusa_num_heads": a.heads, "medusa_num_layers": 1, "base_model_name_or_path": a.model}, open(os.path.join(a.out, "config.json"), "w"))
