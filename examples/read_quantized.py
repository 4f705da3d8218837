#!/usr/bin/env python3
"""Reads a folder that `outrider quantize` wrote, with numpy alone.

    python3 examples/read_quantized.py FOLDER                 lists the quantised modules
    python3 examples/read_quantized.py FOLDER MODULE OUT.npy  writes one of them as float32 [outputs, inputs]

A module NAME is three tensors of model.safetensors: NAME.codes (u8, one row of unsigned codes after the other, lowest bits first, rows padded
to whole bytes), NAME.scale and NAME.zero (f16, a row for each output, a column for each group of inputs). A weight is scale * code + zero.
Bits and group size are in quantization_config of config.json, with exceptions under "modules".
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

DTYPES = {"U8": np.uint8, "F16": np.float16, "F32": np.float32}


def read_safetensors(file):
    """Name to array, without copying."""
    data = np.memmap(file, mode="r")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    start = 8 + length
    return {
        name: data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        .view(DTYPES[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items()
    }


def shape_of(config, module):
    """Bits of a stored code and inputs of a group."""
    quantization = config["quantization_config"]
    own = quantization.get("modules", {}).get(module, {})
    return own.get("bits", quantization["bits"]), own.get("group_size", quantization["group_size"])


def dequantize(tensors, config, module):
    """float32 [outputs, inputs]."""
    bits, group = shape_of(config, module)
    codes, scale, zero = (tensors[f"{module}.{part}"] for part in ("codes", "scale", "zero"))
    stream = np.unpackbits(codes, axis=1, bitorder="little")
    whole = stream.shape[1] // bits * bits
    fields = stream[:, :whole].reshape(codes.shape[0], -1, bits)
    values = (fields << np.arange(bits, dtype=np.uint8)).sum(axis=2).astype(np.float32)
    wide = lambda parameter: np.repeat(parameter.astype(np.float32), group, axis=1)[:, : values.shape[1]]
    inputs = min(values.shape[1], scale.shape[1] * group)
    return wide(scale)[:, :inputs] * values[:, :inputs] + wide(zero)[:, :inputs]


def main(folder, module=None, out=None):
    config = json.loads((Path(folder) / "config.json").read_text())
    tensors = read_safetensors(Path(folder) / "model.safetensors")
    if module is None:
        for name in sorted(tensors):
            if name.endswith(".codes"):
                bits, group = shape_of(config, name[: -len(".codes")])
                print(f"{name[: -len('.codes')]}  {bits} bits, groups of {group}, {tensors[name].shape[0]} outputs")
        return
    np.save(out, dequantize(tensors, config, module))


if __name__ == "__main__":
    main(*sys.argv[1:])
