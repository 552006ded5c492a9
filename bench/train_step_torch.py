#!/usr/bin/env python3
"""Time steps of training of a Llama of 11 M parameters in PyTorch, taking turns with foretoken's: the yardstick for `foretoken train base`.

The model is that of `crates/foretoken-train/examples/step_timing.rs`, whose binary is run in turns with this process. A step is loss,
gradients, clipping to a norm of 1 and fused AdamW on random tokens, with PyTorch's own attention and norms, in bf16 autocast or f32.

usage: train_step_torch.py target/release/examples/step_timing [--rounds 3] [--steps 6] [--batch 16] [--length 256] [--threads 2]
       [--precision bf16|f32] [--compile]
needs: torch (and a C++ compiler with --compile)
"""
import argparse, re, statistics, subprocess, time

import torch, torch.nn.functional as F
from torch import nn

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("foretoken"); ap.add_argument("--rounds", type=int, default=3); ap.add_argument("--steps", type=int, default=6)
ap.add_argument("--batch", type=int, default=16); ap.add_argument("--length", type=int, default=256)
ap.add_argument("--threads", type=int, default=2); ap.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
ap.add_argument("--compile", action="store_true")
a = ap.parse_args()
torch.set_num_threads(a.threads); torch.manual_seed(0)

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, SIZE, FFN, THETA = 4096, 384, 6, 6, 2, 64, 1024, 10_000.0


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(HIDDEN, eps=1e-5), nn.RMSNorm(HIDDEN, eps=1e-5)
        self.query, self.output = linear(HIDDEN, HEADS * SIZE), linear(HEADS * SIZE, HIDDEN)
        self.key, self.value = linear(HIDDEN, KV_HEADS * SIZE), linear(HIDDEN, KV_HEADS * SIZE)
        self.gate, self.up, self.down = linear(HIDDEN, FFN), linear(HIDDEN, FFN), linear(FFN, HIDDEN)

    def forward(self, x, cos, sin):
        def split(y):
            return y.view(*y.shape[:2], -1, SIZE).transpose(1, 2)

        def rotate(y):
            first, second = y.chunk(2, -1)
            return y * cos + torch.cat([-second, first], -1) * sin

        y = self.attention_norm(x)
        query, key, value = rotate(split(self.query(y))), rotate(split(self.key(y))), split(self.value(y))
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        x = x + self.output(y.transpose(1, 2).flatten(2))
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(VOCAB, HIDDEN), nn.RMSNorm(HIDDEN, eps=1e-5)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        angles = torch.outer(torch.arange(a.length), THETA ** (-torch.arange(0, SIZE, 2) / SIZE)).repeat(1, 2)
        kind = torch.bfloat16 if a.precision == "bf16" else torch.float32
        self.register_buffer("cos", angles.cos().to(kind)); self.register_buffer("sin", angles.sin().to(kind))

    def forward(self, tokens):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embedding.weight)


model = Llama()
forward = torch.compile(model) if a.compile else model
adam = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
text = torch.randint(0, VOCAB, (a.batch * a.length + 1,))


def step():
    with torch.autocast("cpu", torch.bfloat16, enabled=a.precision == "bf16"):
        logits = forward(text[:-1].view(a.batch, a.length))
        loss = F.cross_entropy(logits.view(-1, VOCAB), text[1:])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step(); adam.zero_grad()
    return loss.item()


def ours():
    command = [a.foretoken, *map(str, (a.batch, a.length, a.steps, a.threads)), a.precision]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"^step .* (\d+) tokens/s", report, re.M)[1])


def theirs():
    seconds = []
    for _ in range(a.steps):
        start = time.perf_counter(); step(); seconds.append(time.perf_counter() - start)
    return a.batch * a.length / statistics.median(seconds)


print(f"{sum(p.numel() for p in model.parameters())} parameters, PyTorch {torch.__version__}, {a.threads} threads, loss {step():.4f}")
pairs = []
for _ in range(a.rounds):
    pairs.append((ours(), theirs()))
    print("foretoken {:.0f}, PyTorch {:.0f} tokens/s, ratio {:.3f}".format(*pairs[-1], pairs[-1][0] / pairs[-1][1]), flush=True)
print(f"median ratio {statistics.median(x / y for x, y in pairs):.3f}")
