"""Deltas against float64 einsum, and against the convolutions that trainers actually run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from checkpoints import write_safetensors
from loralathe.adapters.adapter import Adapter, open_adapter
from loralathe.adapters.factors import delta, load_factors
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1

LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
R, OUT, IN = 3, 8, 5


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


def layouts() -> dict[str, tuple[str, dict[str, torch.Tensor], tuple[int, ...]]]:
    """name → (module, factors as a file holds them, shape of the weight)"""
    up4, down4 = random(OUT, R, 1, 1), random(R, IN, 1, 1)
    return {
        "linear": (LINEAR, {"up": random(OUT, R), "down": random(R, IN)}, (OUT, IN)),
        "1x1 conv": (LINEAR, {"up": up4, "down": down4}, (OUT, IN, 1, 1)),
        "1x1 factors on a linear layer": (LINEAR, {"up": up4, "down": down4}, (OUT, IN)),
        "linear factors on a 1x1 conv": (
            LINEAR,
            {"up": up4[:, :, 0, 0], "down": down4[:, :, 0, 0]},
            (OUT, IN, 1, 1),
        ),
        "3x3 conv": (CONV, {"up": up4, "down": random(R, IN, 3, 3)}, (OUT, IN, 3, 3)),
        "3x3 conv, 2-D up": (CONV, {"up": random(OUT, R), "down": random(R, IN, 3, 3)}, (OUT, IN, 3, 3)),
        "Tucker": (CONV, {"up": up4, "down": down4, "mid": random(R, R, 3, 3)}, (OUT, IN, 3, 3)),
        "Tucker, two ranks": (
            CONV,
            {"up": random(OUT, 4, 1, 1), "down": down4, "mid": random(4, R, 3, 3)},
            (OUT, IN, 3, 3),
        ),
    }


def opened(path: Path, module: str, factors: dict[str, torch.Tensor], alpha: float | None) -> Adapter:
    tensors = {f"{module}.lora_{part}.weight": tensor.contiguous() for part, tensor in factors.items()}
    if alpha is not None:
        tensors[f"{module}.alpha"] = torch.tensor(alpha)
    return open_adapter(write_safetensors(path / "a.safetensors", tensors), SD1)


def reference(factors: dict[str, torch.Tensor], scale: float, shape: tuple[int, ...]) -> np.ndarray:
    """The definition in float64: scale · Σ_r up down, scale · Σ_rs up mid down."""
    up = factors["up"].double().numpy().reshape(factors["up"].shape[:2])
    down = factors["down"].double().numpy()
    if "mid" in factors:
        core = factors["mid"].double().numpy()
        return scale * np.einsum("or,rskl,si->oikl", up, core, down[:, :, 0, 0])
    return (scale * np.einsum("or,r...->o...", up, down)).reshape(shape)


@pytest.mark.parametrize("alpha", [None, 1.0, -2.0, 7.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", layouts())
def test_delta_is_the_definition(
    tmp_path: Path, layout: str, dtype: torch.dtype, alpha: float | None
) -> None:
    module, factors, shape = layouts()[layout]
    factors = {part: tensor.to(dtype) for part, tensor in factors.items()}
    with opened(tmp_path, module, factors, alpha) as adapter:
        (found,) = adapter.modules.values()
        loaded = load_factors(adapter, found)
        dense = delta(loaded, shape)
    scale = 1.0 if alpha is None else alpha / R
    expected = reference(factors, scale, shape)
    assert dense.dtype == torch.float32
    assert tuple(dense.shape) == shape
    magnitude = reference({part: tensor.abs() for part, tensor in factors.items()}, abs(scale), shape)
    assert np.all(np.abs(dense.double().numpy() - expected) <= 16 * 2.0**-24 * magnitude)
    assert loaded.up.shape[1] == factors["up"].shape[1]


def test_float64_factors_are_exact_to_float64(tmp_path: Path) -> None:
    module, factors, shape = layouts()["3x3 conv"]
    with opened(tmp_path, module, factors, 1.0) as adapter:
        (found,) = adapter.modules.values()
        dense = delta(load_factors(adapter, found, torch.float64), shape)
    np.testing.assert_allclose(dense.numpy(), reference(factors, 1 / 3, shape), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("layout", ["3x3 conv", "Tucker", "Tucker, two ranks"])
def test_delta_acts_as_the_trained_branch(tmp_path: Path, layout: str) -> None:
    """down, (core), up run one after the other, as at training time, give the convolution with the delta."""
    module, factors, shape = layouts()[layout]
    image = random(2, IN, 6, 7).double()
    down, up = factors["down"].double(), factors["up"].double()
    if "mid" in factors:
        branch = conv2d(conv2d(conv2d(image, down), factors["mid"].double(), padding=1), up)
    else:
        branch = conv2d(conv2d(image, down, padding=1), up)
    with opened(tmp_path, module, factors, 1.5) as adapter:
        (found,) = adapter.modules.values()
        dense = delta(load_factors(adapter, found, torch.float64), shape)
    torch.testing.assert_close(conv2d(image, dense, padding=1), branch * 1.5 / R)


def test_sizes_that_make_no_delta(tmp_path: Path) -> None:
    module, factors, _ = layouts()["linear"]
    with opened(tmp_path, module, factors, None) as adapter:
        (found,) = adapter.modules.values()
        with pytest.raises(ValueError, match="make no delta for \\(8, 6\\)"):
            delta(load_factors(adapter, found), (8, 6))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    module, factors, _ = layouts()["linear"]
    factors["down"][1, 2] = bad
    with opened(tmp_path, module, factors, None) as adapter:
        (found,) = adapter.modules.values()
        with pytest.raises(InputError) as caught:
            load_factors(adapter, found)
        assert str(caught.value) == (
            "the tensor holds NaN or infinity\n"
            f"  where: {adapter.file.path}, tensor '{LINEAR}.lora_down.weight'\n"
            "  fix:   the training or its save went wrong; use another epoch of the LoRA"
        )
