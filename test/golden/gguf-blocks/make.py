"""Writes blocks.safetensors: random blocks of each GGUF type, decoded by the Python package `gguf` as an independent oracle.

    pip install gguf numpy && python test/golden/gguf-blocks/make.py
"""

import json
import pathlib
import struct

import gguf
import numpy

ROWS, COLS = 3, 512
# Byte offsets of the f16 factors within a block.
FACTORS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip
random = numpy.random.default_rng(3)
tensors = {}
for name, offsets in FACTORS.items():
    kind = getattr(gguf.GGMLQuantizationType, name)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (ROWS * COLS // elements, size), dtype=numpy.uint8)
    for offset in offsets:
        factors = (random.standard_normal(len(blocks)) * 0.05).astype(numpy.float16)
        factors[0] = 0
        factors[1] = 5e-7  # subnormal
        factors[-1] = -300
        blocks[:, offset : offset + 2] = factors.view(numpy.uint8).reshape(-1, 2)
    rows = blocks.reshape(ROWS, -1)
    tensors[f"{name.lower()}.bytes"] = ("U8", rows)
    tensors[f"{name.lower()}.values"] = ("F32", gguf.quants.dequantize(rows, kind).astype(numpy.float32))

header, data = {}, b""
for name, (dtype, array) in tensors.items():
    raw = numpy.ascontiguousarray(array).tobytes()
    header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
out = pathlib.Path(__file__).parent / "blocks.safetensors"
out.write_bytes(struct.pack("<Q", len(text)) + text + data)
