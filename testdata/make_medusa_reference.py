#!/usr/bin/env python3
"""Writes testdata/medusa/reference and reference.json: Medusa decoding on a tiny checkpoint, step by step.

Needs `torch`, `transformers` and `safetensors`. Run from anywhere. It follows the paper (Cai et al. 2024,
sections 2.1 to 2.3) in the plainest way: no cache, every step runs the whole text with the tree behind it.

  reference/         four heads for checkpoints/llama-gqa, trained a little on its own greedy text
  reference.json     the buffers of the published 63-node tree, and for each step the tokens of its nodes, the
                     leaf whose path is accepted furthest (the first of equals) and how far

Tokens are written as letters, `chr(0xC0 + id)`.
"""

import json
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).parent
HEADS, TOP, RUNS, STEPS, LENGTH = 4, 10, 10, 20, 6
# The tree `mc_sim_7b_63`: each word is a path, each digit the rank of a guess.
CHOICES = """0 00 1 01 2 000 10 02 3 03 4 04 20 05 001 5 06 6 07 010 11 7 08 002 30 09 8 9 100 020 12 003
40 21 004 005 0000 011 006 030 50 13 007 008 009 60 040 14 70 012 200 31 22 80 050 15 101 021 90 060 0001
16 070"""


class Head(torch.nn.Module):
    def __init__(self, hidden: int, vocab: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden, hidden)
        self.output = torch.nn.Linear(hidden, vocab, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(x + torch.nn.functional.silu(self.linear(x)))


def buffers(choices: list[tuple[int, ...]]) -> dict:
    """Tree buffers: nodes sorted by length, then ranks, the root first."""
    paths = sorted(choices, key=lambda path: (len(path), path))
    node = {(): 0} | {path: i + 1 for i, path in enumerate(paths)}
    ancestors = [[node[path[:end]] for end in range(len(path) + 1)] for path in [(), *paths]]
    parents = {path[:-1] for path in paths}
    return {
        "tree_indices": [0] + [1 + TOP * (len(path) - 1) + path[-1] for path in paths],
        "depths": [0] + [len(path) for path in paths],
        "ancestors": ancestors,
        "retrieve": [ancestors[node[path]] for path in paths if path not in parents],
    }


def final_states(model, tokens: list[int], positions: list[int], mask: torch.Tensor) -> torch.Tensor:
    bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    out = model.model(
        input_ids=torch.tensor([tokens]),
        position_ids=torch.tensor([positions]),
        attention_mask=bias[None, None],
        use_cache=False,
    )
    return out.last_hidden_state[0]


def chain_states(model, tokens: list[int]) -> torch.Tensor:
    n = len(tokens)
    return final_states(model, tokens, list(range(n)), torch.ones(n, n, dtype=torch.bool).tril())


def greedy(model, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model.lm_head(chain_states(model, tokens)[-1]).argmax()))
    return tokens


def train(model, texts: list[list[int]]) -> list[Head]:
    """Heads that are often right on these texts and not always on others, on a grid that bf16 holds."""
    hidden, vocab = model.config.hidden_size, model.config.vocab_size
    heads = [Head(hidden, vocab) for _ in range(HEADS)]
    states = [chain_states(model, text) for text in texts]
    optimizer = torch.optim.Adam([p for head in heads for p in head.parameters()], lr=0.01)
    for _ in range(150):
        loss = torch.zeros(())
        for depth, head in enumerate(heads, start=2):
            x = torch.cat([state[:-depth] for state in states])
            y = torch.cat([torch.tensor(text[depth:]) for text in texts])
            loss = loss + torch.nn.functional.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for head in heads:
        for parameter in head.parameters():
            parameter.data = parameter.data.bfloat16().float()
    return heads


class TooClose(Exception):
    """An order that hangs on rounding."""


def apart(values: torch.Tensor, count: int) -> None:
    best = values.topk(count + 1).values
    if (best[:-1] - best[1:]).min() < 5e-5:
        raise TooClose


def decode(model, heads: list[Head], tree: dict, prompt: list[int]) -> list:
    text, steps = list(prompt), []
    state = chain_states(model, text)[-1]
    while len(steps) < STEPS:
        logits = model.lm_head(state)
        apart(logits, 1)
        text.append(int(logits.argmax()))
        flat = [text[-1]]
        for head in heads:
            apart(head(state), TOP)
            flat += head(state).topk(TOP).indices.tolist()
        nodes = [flat[index] for index in tree["tree_indices"]]
        base, n = len(text) - 1, len(nodes)
        mask = torch.zeros(base + n, base + n, dtype=torch.bool)
        mask[:base, :base] = torch.ones(base, base).tril()
        mask[base:, :base] = True
        for row, seen in enumerate(tree["ancestors"]):
            mask[base + row, [base + node for node in seen]] = True
        positions = list(range(base)) + [base + depth for depth in tree["depths"]]
        states = final_states(model, text[:-1] + nodes, positions, mask)[base:]
        logits = model.lm_head(states)
        next_token = logits.argmax(-1).tolist()

        def accepted(path: list[int]) -> int:
            length = 0
            while length + 1 < len(path) and nodes[path[length + 1]] == next_token[path[length]]:
                length += 1
            return length

        lengths = [accepted(path) for path in tree["retrieve"]]
        best = lengths.index(max(lengths))
        path = tree["retrieve"][best][: lengths[best] + 1]
        for node in path:
            apart(logits[node], 1)
        text += [nodes[node] for node in path[1:]]
        state = states[path[-1]]
        steps.append(["".join(map(letter, nodes)), best, lengths[best]])
    return steps


def letter(token: int) -> str:
    return chr(0xC0 + token)


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(
        ROOT / "checkpoints/llama-gqa", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    dice = torch.Generator().manual_seed(2)
    prompts = torch.randint(0, model.config.vocab_size, (80, LENGTH), generator=dice).tolist()
    with torch.no_grad():
        texts = [greedy(model, prompt, 40) for prompt in prompts[:50]]
    for parameter in model.parameters():
        parameter.requires_grad = False
    heads = train(model, texts)
    tree = buffers([tuple(map(int, word)) for word in CHOICES.split()])
    runs = []
    for prompt in prompts[50:]:
        with torch.no_grad(), suppress(TooClose):
            runs.append({"prompt": "".join(map(letter, prompt)), "steps": decode(model, heads, tree, prompt)})
    runs = runs[:RUNS]
    assert len(runs) == RUNS, "too few prompts on which nothing hangs on rounding"
    lengths = [step[2] for run in runs for step in run["steps"]]
    print("accepted", {n: lengths.count(n) for n in sorted(set(lengths))})

    folder = ROOT / "medusa/reference"
    folder.mkdir(exist_ok=True)
    tensors = {}
    for k, head in enumerate(heads):
        tensors[f"{k}.0.linear.weight"] = head.linear.weight.data.bfloat16()
        tensors[f"{k}.0.linear.bias"] = head.linear.bias.data.bfloat16()
        tensors[f"{k}.1.weight"] = head.output.weight.data.bfloat16()
    save_file(tensors, folder / "medusa_lm_head.safetensors")
    config = {"base_model_name_or_path": "tiny/llama-gqa", "medusa_num_heads": HEADS, "medusa_num_layers": 1}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    lines = [f'{json.dumps(key)}: {json.dumps(value)}' for key, value in tree.items()]
    lines += ['"runs": [\n' + ",\n".join(json.dumps(run, ensure_ascii=False) for run in runs) + "\n]"]
    (ROOT / "medusa/reference.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
