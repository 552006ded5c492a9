#!/usr/bin/env python3
"""Writes testdata/medusa: the same tiny Medusa heads in every layout they are published in.

Needs `torch` and `safetensors`. Run from anywhere; the values depend on nothing but this file.

  values.json         the tensors, named as in Medusa v0.1: three heads of one block
  <case>/             a folder of heads, most of them these
  legacy.pt           torch.save's format before version 1.6
  strided.pt          heads whose first output matrix is the transpose of what is stored

Every value is a multiple of 1/64 within +-1, so f32, bf16 and f16 hold the same numbers.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file, save_model

OUT = Path(__file__).parent / "medusa"
HEADS, HIDDEN, VOCAB = 3, 8, 24
TOKEN_MAP = [0, 1, 2, 5, 7, 11, 13, 23]


class ResBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(HIDDEN, HIDDEN)


def heads(blocks: int) -> torch.nn.ModuleList:
    """Heads as they are trained: more than one block means the same one again."""
    output = [torch.nn.Linear(HIDDEN, VOCAB, bias=False) for _ in range(HEADS)]
    return torch.nn.ModuleList(torch.nn.Sequential(*[ResBlock()] * blocks, last) for last in output)


def values(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-64, 65, shape, generator=generator).float() / 64


def fill(module: torch.nn.Module) -> None:
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = values(seed, *parameter.shape)


def folder(case: str, config: dict | None = None) -> Path:
    path = OUT / case
    path.mkdir(parents=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return path


def v01(heads_claimed: int, blocks: int = 1, **more: object) -> dict:
    base = {"base_model_name_or_path": "tiny/base", "medusa_num_heads": heads_claimed}
    return base | {"medusa_num_layers": blocks, **more}


def vllm(**more: object) -> dict:
    base = {"architectures": ["MedusaModel"], "model_type": "medusa", "hidden_size": HIDDEN}
    return base | {"vocab_size": VOCAB, "num_heads": HEADS, "num_hidden_layers": 1, **more}


def vllm_name(name: str) -> str:
    head, index, rest = name.split(".", 2)
    return f"blocks.{head}.layers.{index}.{rest[7:]}" if "linear" in rest else f"lm_heads.{head}.weight"


def base_tensors() -> dict[str, torch.Tensor]:
    """A llama of one layer, two heads and no training."""
    layer = {f"self_attn.{x}_proj.weight": (HIDDEN, HIDDEN) for x in "qkvo"}
    layer |= {f"mlp.{x}_proj.weight": (16, HIDDEN) for x in ("gate", "up")} | {"mlp.down_proj.weight": (HIDDEN, 16)}
    layer |= {f"{x}_layernorm.weight": (HIDDEN,) for x in ("input", "post_attention")}
    shapes = {f"model.layers.0.{name}": shape for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (VOCAB, HIDDEN), "lm_head.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    return {name: values(100 + i, *shape) for i, (name, shape) in enumerate(shapes.items())}


def full_model(state: dict[str, torch.Tensor]) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN}
    config |= {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "rms_norm_eps": 1e-5}
    config |= {"max_position_embeddings": 64, "medusa_num_heads": HEADS, "medusa_num_layers": 1}
    path = folder("full-model", config)
    tensors = base_tensors() | {f"medusa_head.{name}": tensor for name, tensor in state.items()}
    names, index = sorted(tensors), {}
    for shard, part in enumerate([names[::2], names[1::2]], 1):
        file = f"model-{shard:05}-of-00002.safetensors"
        save_file({name: tensors[name].bfloat16().contiguous() for name in part}, path / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": index}, indent=2, sort_keys=True)
    (path / "model.safetensors.index.json").write_text(text + "\n")


def vllm_folders(state: dict[str, torch.Tensor]) -> None:
    renamed = {vllm_name(name): tensor for name, tensor in state.items()}
    prefixed = {f"medusa_heads.{name}": tensor.half() for name, tensor in renamed.items()}
    save_file(prefixed, folder("vllm", vllm(medusa_fc_bias=True)) / "model.safetensors")
    config = vllm(truncated_vocab_size=len(TOKEN_MAP))
    truncated = {name: tensor for name, tensor in renamed.items() if "bias" not in name}
    truncated = {name: tensor[TOKEN_MAP] if "lm_heads" in name else tensor for name, tensor in truncated.items()}
    truncated["token_map"] = torch.tensor(TOKEN_MAP)
    save_file(truncated, folder("vllm-token-map", config) / "model.safetensors")
    torch.save(truncated, folder("vllm-token-map-pt", config) / "pytorch_model.bin")
    original = {name: tensor for name, tensor in renamed.items() if "lm_heads" not in name}
    original["lm_heads.0.weight"] = base_tensors()["lm_head.weight"]
    save_file(original, folder("vllm-original-head", vllm(original_lm_head=True, medusa_fc_bias=True)) / "model.safetensors")


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    module = heads(1)
    fill(module)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    rows = ",\n".join(f"  {json.dumps(name)}: {tensor.flatten().tolist()}" for name, tensor in state.items())
    (OUT / "values.json").write_text(f"{{\n{rows}\n}}\n")
    file = "medusa_lm_head.pt"
    # The published configuration of v0.1 counts two heads where the file holds five.
    torch.save(module.state_dict(), folder("v01", v01(2)) / file)
    torch.save({name: tensor.half() for name, tensor in state.items()}, folder("v01-f16") / file)
    torch.save(dict(module.named_parameters()), folder("v01-parameters") / file, pickle_protocol=4)
    save_file({name: tensor.bfloat16() for name, tensor in state.items()}, folder("v01-bf16", v01(HEADS)) / "medusa_lm_head.safetensors")
    linear = {name: tensor for name, tensor in state.items() if "linear" in name}
    save_file(linear, folder("version2", v01(HEADS, version="2")) / "medusa_lm_head.safetensors")
    tied = heads(2)
    fill(tied)
    torch.save(tied.state_dict(), folder("tied", v01(HEADS, 2)) / file)
    save_model(tied, folder("tied-safetensors", v01(HEADS, 2)) / "medusa_lm_head.safetensors")
    full_model(state)
    vllm_folders(state)
    torch.save(module.state_dict(), OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(state | {"0.1.weight": values(50, HIDDEN, VOCAB).t()}, OUT / "strided.pt")


if __name__ == "__main__":
    main()
