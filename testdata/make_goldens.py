#!/usr/bin/env python3
"""Make the small random checkpoints of the reader and decoder tests, and what transformers computes from them.

usage: make_goldens.py [OUT]            (OUT: this folder; about one minute on one core)
needs: gguf 0.19, numpy, safetensors, torch, transformers 5.23

Writes, for each case, OUT/checkpoints/<case>/ (Hugging Face) and OUT/goldens/<case>.json; for some, OUT/gguf/<case>.gguf
with the same weights; OUT/goldens/rope.json with rotary frequencies; OUT/goldens/blocks.json with sums over decoded
blocks. Golden values are computed in float32 with eager attention. Running it again writes the same bytes.
"""
import json, math, pathlib, shutil, sys

import gguf, numpy as np, torch
from gguf.quants import dequantize
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

PROMPT, GREEDY, ROWS = 32, 24, (0, 15, 31)
MARGIN = 0.02  # least gap between the two best tokens of a greedy step, far above the tests' tolerance

SHAPE = dict(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, attn_implementation="eager")
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
WIDE = dict(num_attention_heads=2, num_key_value_heads=1)  # heads of 16 values: frequencies on both sides of every ramp

# name: (model class, config class, changes of the shape, options)
CASES = {
    "llama-mha": (LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=4), {}),
    "llama-gqa": (LlamaForCausalLM, LlamaConfig, dict(tie_word_embeddings=True), dict(gguf="llama")),
    "llama3-rope": (LlamaForCausalLM, LlamaConfig, dict(rope_parameters=LLAMA3, **WIDE), dict(gguf="llama")),
    "llama-linear": (LlamaForCausalLM, LlamaConfig,
                     dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)), dict(old_rope=True)),
    "llama-dynamic": (LlamaForCausalLM, LlamaConfig,
                      dict(rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0),
                           max_position_embeddings=16, **WIDE), dict(context=64)),
    "llama-yarn": (LlamaForCausalLM, LlamaConfig, dict(rope_parameters=YARN, **WIDE), dict(old_rope=True)),
    "llama-biases": (LlamaForCausalLM, LlamaConfig, dict(attention_bias=True, mlp_bias=True), {}),
    "llama-sharded": (LlamaForCausalLM, LlamaConfig, {}, dict(shard="40KB")),
    "llama-f16": (LlamaForCausalLM, LlamaConfig, {}, dict(dtype=torch.float16)),
    "llama-bf16": (LlamaForCausalLM, LlamaConfig, {}, dict(dtype=torch.bfloat16)),
    "mistral-window": (MistralForCausalLM, MistralConfig, dict(sliding_window=8), {}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}, dict(gguf="qwen2")),
    "qwen2-window": (Qwen2ForCausalLM, Qwen2Config,
                     dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=1), dict(drop="layer_types")),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, dict(head_dim=16, tie_word_embeddings=True), dict(gguf="qwen3")),
}


def randomise(model, seed, spread):
    """Matrices with standard deviation `spread`, gains near 1, biases away from 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("bias"): weight.copy_(0.3 * noise)
            elif weight.ndim == 1: weight.copy_(1 + 0.2 * noise)
            else: weight.copy_(spread * noise)


def fix_dynamic(model, context):
    """Fix the frequencies of a dynamic scaling for `context`, as an engine does whose text may not depend on the length."""
    rotary = model.model.rotary_emb
    rotary.inv_freq, rotary.attention_scaling = ROPE_INIT_FUNCTIONS["dynamic"](model.config, "cpu", seq_len=context)
    rotary.rope_type = "default"  # no update on growth


@torch.no_grad()
def golden(model, seed):
    """Log-probabilities of a random prompt and the greedy text after it; None if a greedy choice is too close."""
    vocab = model.config.vocab_size
    prompt = np.random.default_rng(seed).integers(3, vocab, PROMPT).tolist()
    tokens = list(prompt)
    for _ in range(GREEDY):
        row = model(torch.tensor([tokens])).logits[0, -1].double()
        best = torch.topk(row, 2).values
        if best[0] - best[1] < MARGIN: return None
        tokens.append(int(row.argmax()))
    logprobs = torch.log_softmax(model(torch.tensor([prompt])).logits[0].double(), -1)
    return {"prompt": prompt,
            "logprobs": [round(float(logprobs[i, t]), 5) for i, t in enumerate(prompt[1:])],
            "rows": {str(i): [round(float(x), 5) for x in logprobs[i]] for i in ROWS},
            "greedy": tokens[PROMPT:]}


def dump(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def rewrite(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config, indent=2) + "\n")


def old_spelling(config):
    """`rope_parameters` as the older `rope_theta` and `rope_scaling`."""
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    config["rope_scaling"] = scaling


def make_case(out, name, index):
    model_class, config_class, changes, options = CASES[name]
    dtype = options.get("dtype", torch.float32)
    context = options.get("context", SHAPE["max_position_embeddings"])
    for seed in range(1000 * index, 1000 * index + 1000):
        model = model_class(config_class(**{**SHAPE, **changes})).eval()
        randomise(model, seed, 0.3)
        for weight in model.parameters():  # the goldens are those of the rounded weights, in float32 throughout
            weight.data = weight.data.to(dtype).to(torch.float32)
        if "context" in options: fix_dynamic(model, context)
        values = golden(model, seed)
        if values: break
    folder = out / "checkpoints" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=options.get("shard", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if options.get("old_rope"): rewrite(folder, old_spelling)
    if "drop" in options: rewrite(folder, lambda config: config.pop(options["drop"]))
    files = [f"checkpoints/{name}"]
    if "gguf" in options:
        files.append(f"gguf/{name}.gguf")
        write_gguf(out / files[-1], model, options["gguf"])
    dump(out / f"goldens/{name}.json", {"files": files, "context": context, **values})


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    top = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
           "model.norm.weight": "output_norm.weight"}
    if name in top: return top[name]
    _, _, layer, rest = name.split(".", 3)
    base, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[base]}.{kind}"


def interleave(x, heads):
    """llama.cpp's llama rotates neighbouring pairs; Hugging Face rotates halves."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def write_metadata(writer, config):
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    pieces = ["<unk>", "<s>", "</s>"] + [f"\u2581{i}" for i in range(config.vocab_size - 3)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(i) for i in range(len(pieces))])
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (len(pieces) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(3)


def rope_divisors(config):
    """The divisors llama.cpp's converter writes for Llama 3.1's scaling."""
    rope = config.rope_parameters
    head_size = config.head_dim
    low, high = (rope["original_max_position_embeddings"] / rope[k] for k in ("low_freq_factor", "high_freq_factor"))
    divisors = []
    for i in range(0, head_size, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / head_size)
        if wavelength < high: divisors.append(1.0)
        elif wavelength > low: divisors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def write_gguf(path, model, architecture):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, config = gguf.GGUFWriter(str(path), architecture), model.config
    write_metadata(writer, config)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config))
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings: continue
        x = weight.float().numpy()
        if architecture == "llama" and ".q_proj." in name: x = interleave(x, config.num_attention_heads)
        if architecture == "llama" and ".k_proj." in name: x = interleave(x, config.num_key_value_heads)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(x))
    close(writer)


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


Q = gguf.GGMLQuantizationType
# Values per block, then its parts in file order: (kind, bytes). Scales are drawn so that weights spread by about 0.1.
BLOCKS = {Q.Q8_0: (32, [("scale", 1.4e-3), ("bits", 32)]),
          Q.Q4_0: (32, [("scale", 2.2e-2), ("bits", 16)]),
          Q.Q4_K: (256, [("scale", 6e-4), ("scale", 4.5e-3), ("bits", 12 + 128)]),
          Q.Q5_K: (256, [("scale", 3e-4), ("scale", 4.5e-3), ("bits", 12 + 32 + 128)]),
          Q.Q6_K: (256, [("bits", 128 + 64 + 16), ("scale", 8e-5)])}


def random_blocks(random, kind, rows, columns):
    """Random bytes of a block format, `[rows, bytes]`; every bit pattern of the quants and sub-scales is valid."""
    block, parts = BLOCKS[kind]
    count = rows * columns // block
    columns_of_bytes = []
    for part, value in parts:
        if part == "bits": columns_of_bytes.append(random.integers(0, 256, (count, value), dtype=np.uint8))
        else: columns_of_bytes.append((value * random.uniform(0.5, 1.5, (count, 1))).astype(np.float16).view(np.uint8))
    return np.concatenate(columns_of_bytes, axis=1).reshape(rows, -1)


QUANTS = [  # per layer
    dict(q_proj=Q.Q4_K, k_proj=Q.Q5_K, v_proj=Q.Q6_K, o_proj=Q.Q4_0, gate_proj=Q.Q8_0, up_proj=Q.Q4_K, down_proj=Q.Q8_0),
    dict(q_proj=Q.Q6_K, k_proj=Q.Q4_0, v_proj=Q.Q8_0, o_proj=Q.Q8_0, gate_proj=Q.Q5_K, up_proj=Q.Q6_K, down_proj=Q.Q4_0)]


def make_quantised(out, name, index):
    """A llama of random blocks in GGUF, its goldens from the decoded weights, and sums over each decoded matrix."""
    config = LlamaConfig(**{**SHAPE, "vocab_size": 64, "hidden_size": 256, "intermediate_size": 64, "head_dim": 16,
                            "tie_word_embeddings": True})
    for seed in range(1000 * index, 1000 * index + 1000):
        random = np.random.default_rng(seed)
        model = LlamaForCausalLM(config).eval()
        randomise(model, seed, 0.1)
        blocks, sums = {}, {}
        for parameter, weight in model.named_parameters():
            if weight.ndim != 2: continue
            kind = Q.Q6_K
            if ".layers." in parameter:
                _, _, layer, rest = parameter.split(".", 3)
                kind = QUANTS[int(layer)][rest.split(".")[1]]
            data = random_blocks(random, kind, *weight.shape)
            decoded = dequantize(data, kind).astype(np.float32)
            blocks[parameter] = (kind, data)
            sums[gguf_name(parameter)] = {
                "format": kind.name, "sum": float(decoded.astype(np.float64).sum()),
                "weighted": float((decoded.astype(np.float64).ravel() * np.cos(np.arange(decoded.size))).sum())}
            heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
            for projection, count in heads.items():
                if projection in parameter:  # the inverse of `interleave`
                    decoded = decoded.reshape(count, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
            weight.data.copy_(torch.from_numpy(np.ascontiguousarray(decoded)))
        values = golden(model, seed)
        if values: break
    path = out / f"gguf/{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "llama")
    write_metadata(writer, config)
    for parameter, weight in model.named_parameters():
        if parameter in blocks: writer.add_tensor(gguf_name(parameter), blocks[parameter][1], raw_dtype=blocks[parameter][0])
        else: writer.add_tensor(gguf_name(parameter), weight.detach().numpy())
    close(writer)
    dump(out / f"goldens/{name}.json", {"files": [f"gguf/{name}.gguf"], "context": config.max_position_embeddings, **values})
    dump(out / "goldens/blocks.json", {"file": f"gguf/{name}.gguf", "tensors": sums})


ROPES = [  # (head size, max_position_embeddings, context, the object of the configuration)
    (64, 4096, 4096, dict(rope_type="default", rope_theta=500000.0)),
    (64, 4096, 4096, dict(rope_type="linear", rope_theta=10000.0, factor=2.5)),
    (64, 2048, 2048, dict(rope_type="dynamic", rope_theta=10000.0, factor=4.0)),
    (64, 2048, 8192, dict(rope_type="dynamic", rope_theta=10000.0, factor=4.0)),
    (128, 131072, 131072, dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                               high_freq_factor=4.0, original_max_position_embeddings=8192)),
    (64, 131072, 131072, dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0,
                              high_freq_factor=4.0, original_max_position_embeddings=8192)),
    (128, 131072, 131072, dict(rope_type="yarn", rope_theta=1000000.0, factor=4.0,
                               original_max_position_embeddings=32768)),
    (128, 131072, 131072, dict(rope_type="yarn", rope_theta=10000.0, factor=16.0, beta_fast=24.0, beta_slow=2.0,
                               original_max_position_embeddings=8192, truncate=False)),
    (64, 163840, 163840, dict(rope_type="yarn", rope_theta=10000.0, factor=40.0, mscale=1.0, mscale_all_dim=0.8,
                              original_max_position_embeddings=4096)),
    (64, 16384, 16384, dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, attention_factor=1.25,
                            original_max_position_embeddings=4096)),
    (64, 16384, 16384, dict(rope_type="yarn", rope_theta=10000.0, factor=None, original_max_position_embeddings=4096)),
]


def make_rope(out):
    cases = []
    for head_size, positions, context, rope in ROPES:
        config = LlamaConfig(**{**SHAPE, "hidden_size": 2 * head_size, "num_attention_heads": 2,
                                "max_position_embeddings": positions, "rope_parameters": dict(rope)})
        kind = rope["rope_type"]
        compute = ROPE_INIT_FUNCTIONS.get(kind)
        if compute is None:
            frequencies, factor = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_size, 2).float() / head_size), 1.0
        else:
            frequencies, factor = compute(config, "cpu", seq_len=context if kind == "dynamic" else None)
        cases.append({"head_size": head_size, "max_position_embeddings": positions, "context": context,
                      "rope_parameters": rope, "frequencies": [float(f"{x:.8g}") for x in frequencies.double()],
                      "attention_factor": float(factor)})
    dump(out / "goldens/rope.json", cases)


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    torch.set_num_threads(1)
    for index, name in enumerate(CASES): make_case(out, name, index)
    make_quantised(out, "llama-quantised", len(CASES))
    make_rope(out)


if __name__ == "__main__":
    main()
