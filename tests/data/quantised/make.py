"""Makes the two files beside it; run by hand, with packages that tests do not need.

    pip install comfy-kitchen==0.2.40 bitsandbytes==0.50.2 torchao==0.18.0

One random matrix of 144 × 96, stored by those programs in each of their formats, as they name the tensors;
and some rows of it as their own functions give them back in fp32. mxfp8 and nvfp4 are decoded by torchao as
well, which has to agree.
"""

from __future__ import annotations

import json
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from comfy_kitchen.backends.eager import quantization as kitchen
from comfy_kitchen.float_utils import from_blocked
from safetensors.torch import save_file
from torchao.prototype.mx_formats.mx_tensor import MXTensor
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor

HERE = Path(__file__).parent
ROWS = (0, 1, 31, 32, 95, 96, 127, 128, 143)
GROUP = 16


def text(**told: object) -> torch.Tensor:
    return torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)


def main() -> None:
    weight = 0.02 * torch.randn(144, 96, generator=torch.Generator().manual_seed(5))
    layers: dict[str, torch.Tensor] = {}
    values: dict[str, torch.Tensor] = {}

    for name in ("float8_e4m3fn", "float8_e5m2"):
        dtype = getattr(torch, name)
        scale = weight.abs().max() / torch.finfo(dtype).max
        codes = kitchen.quantize_per_tensor_fp8(weight, scale, dtype)
        layers |= {
            f"{name}.weight": codes,
            f"{name}.weight_scale": scale,
            f"{name}.comfy_quant": text(format=name),
        }
        layers[f"{name}.input_scale"] = torch.tensor(0.5)
        values[name] = kitchen.dequantize_per_tensor_fp8(codes, scale, torch.float32)

    for name, (codes, scale) in {
        "int8": kitchen.quantize_int8_tensorwise(weight),
        "int8_rows": kitchen.quantize_int8_rowwise(weight),
    }.items():
        layers |= {f"{name}.weight": codes, f"{name}.weight_scale": scale}
        layers[f"{name}.comfy_quant"] = text(format="int8_tensorwise")
        values[name] = kitchen.dequantize_int8_simple(codes, scale)

    codes, scale = kitchen.quantize_int8_convrot_weight(weight, GROUP)
    layers |= {"int8_turned.weight": codes, "int8_turned.weight_scale": scale}
    layers["int8_turned.comfy_quant"] = text(format="int8_tensorwise", convrot=True, convrot_groupsize=GROUP)
    values["int8_turned"] = kitchen.dequantize_int8_convrot_weight(codes, scale, GROUP)

    codes, scale = kitchen.quantize_mxfp8(weight)
    layers |= {"mxfp8.weight": codes, "mxfp8.weight_scale": scale, "mxfp8.comfy_quant": text(format="mxfp8")}
    values["mxfp8"] = kitchen.dequantize_mxfp8(codes, scale, torch.float32)
    plain = from_blocked(scale.view(torch.uint8), 144, 3).view(torch.float8_e8m0fnu)
    other = MXTensor(codes, plain, torch.float8_e4m3fn, 32, torch.float32, None, None, False)
    assert torch.equal(other.dequantize(torch.float32), values["mxfp8"])

    whole = weight.abs().max() / (448 * 6)
    codes, scale = kitchen.quantize_nvfp4(weight, whole)
    layers |= {"nvfp4.weight": codes, "nvfp4.weight_scale": scale, "nvfp4.weight_scale_2": whole}
    layers["nvfp4.comfy_quant"] = text(format="nvfp4")
    values["nvfp4"] = kitchen.dequantize_nvfp4(codes, whole, scale, torch.float32)
    swapped = (codes << 4) | (codes >> 4)
    second = NVFP4Tensor(swapped, from_blocked(scale, 144, 6), 16, torch.float32, whole)
    assert torch.allclose(second.dequantize(torch.float32), values["nvfp4"], rtol=1e-6, atol=0)

    # bitsandbytes' CPU code gives wrong numbers where blocks of 64 do not end with the rows.
    wide = weight.reshape(108, 128)
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            name = kind + "_nested" * nested
            codes, state = bnb.quantize_4bit(wide, blocksize=64, quant_type=kind, compress_statistics=nested)
            layers[f"{name}.weight"] = codes
            layers |= {f"{name}.weight.{part}": value for part, value in state.as_dict(packed=True).items()}
            values[name] = bnb.dequantize_4bit(codes, state).reshape(weight.shape)

    layers = {name: tensor.contiguous().clone() for name, tensor in layers.items()}
    kept = {name: value[list(ROWS)].float().contiguous() for name, value in values.items()}
    save_file(layers, HERE / "layers.safetensors")
    save_file({**kept, "matrix": weight[list(ROWS)]}, HERE / "values.safetensors")


if __name__ == "__main__":
    main()
