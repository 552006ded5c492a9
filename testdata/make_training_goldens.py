#!/usr/bin/env python3
"""Make the golden values of training: three steps of a tiny Llama, and of Medusa heads on it, by PyTorch.

usage: make_training_goldens.py [OUT]            (OUT: this folder; seconds)
needs: torch, safetensors

Writes OUT/training/<case>/model.safetensors and config.json (the model before the first step), and
OUT/training/<case>/golden.safetensors: `tokens`, `targets`, `weights`, `starts` of the batch; `loss` of each of three
steps; `norm` of the first step's gradients; `gradient.NAME` of the first step; `after.NAME`, the parameters after
three steps of AdamW with clipping. The model is written out here in float64, so that its values are exact for a test
in float32; weights are float32. Running it again writes the same bytes.

OUT/training/medusa/medusa_lm_head.safetensors holds two heads for the model of `own-packed` before the first step, and
golden.safetensors beside it the same values of them on the same batch, for labels that are text (`text.loss`, ...) and
for those that are the model's own distribution (`soft.loss`, ...).
"""
import json, math, pathlib, sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD, FFN, CONTEXT = 80, 24, 2, 4, 2, 6, 40, 48
SEQUENCES, LENGTH, STEPS = 3, 21, 3
EPS, THETA = 1e-5, 1000.0
RATE, BETAS, ADAM_EPS, DECAY, CLIP = 3e-3, (0.9, 0.95), 1e-8, 0.1, 0.7


def parameters(tied, generator):
    """Name -> float32 tensor, gains away from one."""
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes |= {layer + "input_layernorm.weight": (HIDDEN,), layer + "self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
                   layer + "self_attn.k_proj.weight": (KV_HEADS * HEAD, HIDDEN),
                   layer + "self_attn.v_proj.weight": (KV_HEADS * HEAD, HIDDEN),
                   layer + "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
                   layer + "post_attention_layernorm.weight": (HIDDEN,), layer + "mlp.gate_proj.weight": (FFN, HIDDEN),
                   layer + "mlp.up_proj.weight": (FFN, HIDDEN), layer + "mlp.down_proj.weight": (HIDDEN, FFN)}
    shapes["model.norm.weight"] = (HIDDEN,)
    if not tied: shapes["lm_head.weight"] = (VOCAB, HIDDEN)
    noise = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: 1 + 0.1 * x if x.ndim == 1 else 0.2 * x for name, x in noise.items()}


def norm(x, gain): return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * gain


def rotate(x):
    frequencies = THETA ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)
    angles = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * frequencies
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([-high, low], -1) * sin


def hidden(w, tokens, starts):
    x = w["model.embed_tokens.weight"][tokens]
    rows = torch.arange(LENGTH)
    mask = (rows[None, None, :] <= rows[None, :, None]) & (rows[None, None, :] >= starts[:, :, None])
    for i in range(LAYERS):
        part = lambda name: w[f"model.layers.{i}.{name}.weight"]
        h = norm(x, part("input_layernorm"))
        heads = lambda name, n: (h @ part(f"self_attn.{name}_proj").T).view(*tokens.shape, n, HEAD).transpose(1, 2)
        q, k, v = rotate(heads("q", HEADS)), rotate(heads("k", KV_HEADS)), heads("v", KV_HEADS)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(HEAD)).masked_fill(~mask[:, None], -torch.inf)
        attention = (scores.softmax(-1) @ v).transpose(1, 2).reshape(*tokens.shape, HEADS * HEAD)
        x = x + attention @ part("self_attn.o_proj").T
        h = norm(x, part("post_attention_layernorm"))
        x = x + (F.silu(h @ part("mlp.gate_proj").T) * (h @ part("mlp.up_proj").T)) @ part("mlp.down_proj").T
    return norm(x, w["model.norm.weight"])


def logits(w, tokens, starts):
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return hidden(w, tokens, starts) @ head.T


def make_batch(generator, packed):
    text = torch.randint(VOCAB, (SEQUENCES, LENGTH + 1), generator=generator)
    tokens, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    counted = torch.rand((SEQUENCES, LENGTH), generator=generator) > 0.2
    weights = counted.float() / counted.sum()
    starts = torch.zeros((SEQUENCES, LENGTH), dtype=torch.int64)
    if packed: starts[0, 8:], starts[2, 3:], starts[2, 20:] = 8, 3, 20
    return tokens, targets, weights, starts


def train(start, loss_of):
    """Values of three steps from the parameters `start`; `loss_of` gets them in float64."""
    w = {name: x.double().requires_grad_() for name, x in start.items()}
    groups = [{"params": [x for x in w.values() if x.ndim > 1], "weight_decay": DECAY},
              {"params": [x for x in w.values() if x.ndim == 1], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=ADAM_EPS)
    out, losses = {}, []
    for step in range(STEPS):
        adam.zero_grad()
        loss = loss_of(w)
        loss.backward()
        losses.append(loss.item())
        if step == 0: out |= {f"gradient.{name}": x.grad.float() for name, x in w.items()}
        length = torch.nn.utils.clip_grad_norm_(w.values(), CLIP)
        if step == 0: out["norm"] = length.float().reshape(1)
        adam.step()
    out |= {f"after.{name}": x.detach().float() for name, x in w.items()}
    return out | {"loss": torch.tensor(losses)}


def inputs(batch):
    return {name: x if x.is_floating_point() else x.int() for name, x in zip(["tokens", "targets", "weights", "starts"], batch)}


def make_case(folder, tied, packed, seed):
    generator = torch.Generator().manual_seed(seed)
    start = parameters(tied, generator)
    tokens, targets, weights, starts = batch = make_batch(generator, packed)

    def loss(w):
        entropy = F.cross_entropy(logits(w, tokens, starts).flatten(0, 1), targets.flatten(), reduction="none")
        return (entropy * weights.double().flatten()).sum()

    out = train(start, loss) | inputs(batch)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(start, folder / "model.safetensors", {"format": "pt"})
    save_file(out, folder / "golden.safetensors")
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCAB, hidden_size=HIDDEN,
                  intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                  head_dim=HEAD, max_position_embeddings=CONTEXT, rms_norm_eps=EPS, rope_theta=THETA, hidden_act="silu",
                  tie_word_embeddings=tied, torch_dtype="float32")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def make_medusa(folder, seed, heads=2, decay=0.8):
    """Heads for the model and the batch of the case that `seed` made."""
    generator = torch.Generator().manual_seed(seed)
    base = {name: x.double() for name, x in parameters(False, generator).items()}
    tokens, targets, weights, starts = batch = make_batch(generator, packed=True)
    states = hidden(base, tokens, starts)
    teacher = (states @ base["lm_head.weight"].T).log_softmax(-1)
    shapes = {"0.linear.weight": (HIDDEN, HIDDEN), "0.linear.bias": (HIDDEN,), "1.weight": (VOCAB, HIDDEN)}
    start = {f"{k}.{name}": 0.2 * torch.randn(shape, generator=generator) for k in range(heads) for name, shape in shapes.items()}

    def loss(w, soft):
        total = 0
        for k in range(heads):
            ahead = 1 + k
            x, label = states[:, :-ahead], slice(ahead, None)
            x = x + F.silu(x @ w[f"{k}.0.linear.weight"].T + w[f"{k}.0.linear.bias"])
            said = (x @ w[f"{k}.1.weight"].T).log_softmax(-1)
            q = teacher[:, label]
            text = -said.gather(-1, targets[:, label, None])[..., 0]
            per_row = (q.exp() * (q - said)).sum(-1) if soft else text
            counted = weights[:, label].double() * (starts[:, :-ahead] == starts[:, label])
            total = total + decay**k * (per_row * counted).sum()
        return total

    out = inputs(batch)
    for name, soft in [("text", False), ("soft", True)]:
        out |= {f"{name}.{key}": x for key, x in train(start, lambda w: loss(w, soft)).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(start, folder / "medusa_lm_head.safetensors")
    save_file(out, folder / "golden.safetensors")


out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent) / "training"
make_case(out / "tied", tied=True, packed=False, seed=1)
make_case(out / "own-packed", tied=False, packed=True, seed=2)
make_medusa(out / "medusa", seed=2)
