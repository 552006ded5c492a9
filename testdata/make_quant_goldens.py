#!/usr/bin/env python3
"""Writes testdata/quant: random blocks of each weight format and what they decode to.

The values come from llama.cpp's Python package (`pip install gguf==0.19.0`), which shares no code with
foretoken. Run from anywhere; the output depends on nothing but this file and the package.

  <format>.blocks   stored bytes of BLOCKS blocks
  <format>.values   their f32 values, little-endian
  encode.values     f32 input of the encoders
  <format>.encoded  its bytes in a format that can be encoded
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

OUT = Path(__file__).parent / "quant"
BLOCKS = 4
# Byte offsets of the f16 factors within a block.
FACTORS = {Type.F16: [0], Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}


def blocks(rng: np.random.Generator, kind: Type) -> np.ndarray:
    """Random bytes whose factors are ordinary f16 numbers, so that every value is finite."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    count = BLOCKS * 256 // values if values < 256 else BLOCKS
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in FACTORS.get(kind, []):
        factor = rng.normal(0, 0.02, count).astype(np.float16)
        factor[0] = np.float16(6e-8)  # the smallest subnormal
        raw[:, at : at + 2] = factor.view(np.uint8).reshape(count, 2)
    if kind == Type.BF16:
        raw = (rng.normal(0, 1, count).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(raw).view(np.uint8).reshape(-1)


def encoder_input(rng: np.random.Generator) -> np.ndarray:
    """Groups of 32 with the shapes that rounding goes wrong on."""
    groups = rng.normal(0, 1, (24, 32)).astype(np.float32)
    groups[1] = 0
    groups[2] = np.linspace(-127, 127, 32).round()  # scale one: no rounding
    groups[3] = np.arange(32) - 15.5  # half steps: ties
    groups[3, 0] = 127
    groups[4] = 0
    groups[4, 7], groups[4, 9] = 8.0, -8.0  # equal magnitudes: the first decides the sign
    groups[5] *= 1e-6  # subnormal f16 scale
    groups[6] *= 1e-12  # scale rounds to zero
    groups[7] = 3.0
    groups[8] = -3.0
    groups[9] *= 1e4
    return groups.reshape(-1)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(20261123)
    for kind in [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_K, Type.Q5_K, Type.Q6_K]:
        raw = blocks(rng, kind)
        values = dequantize(raw, kind).astype("<f4")
        assert np.isfinite(values).all()
        name = kind.name.lower()
        (OUT / f"{name}.blocks").write_bytes(raw.tobytes())
        (OUT / f"{name}.values").write_bytes(values.tobytes())
    source = encoder_input(rng)
    (OUT / "encode.values").write_bytes(source.astype("<f4").tobytes())
    for kind in [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0]:
        (OUT / f"{kind.name.lower()}.encoded").write_bytes(quantize(source, kind).tobytes())


if __name__ == "__main__":
    main()
