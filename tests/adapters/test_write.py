"""What is written reads back as the same delta, in the shapes, alphas and notes that others expect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import header, manifest, write_safetensors
from loralathe.adapters.adapter import open_adapter
from loralathe.adapters.factors import load_factors
from loralathe.adapters.fit import weight_shape
from loralathe.adapters.write import AdapterFormat, NamedTensor, kohya_tensors
from loralathe.errors import InputError
from loralathe.families import Family
from loralathe.families.metadata import AdapterNotes, adapter_metadata
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL
from loralathe.lowrank import Factors

CONV = "unet.input_blocks.4.0.in_layers.2"
LINEAR = "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q"
PROJ = "unet.input_blocks.4.1.proj_in"


def factors(shape: tuple[int, ...], rank: int, *, core: bool = False, seed: int = 0) -> Factors:
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    out, inner, *kernel = shape
    if core:
        return Factors(normal(out, rank), normal(rank, inner), shape, normal(rank, rank, *kernel))
    return Factors(normal(out, rank), normal(rank, torch.Size((inner, *kernel)).numel()), shape)


def product(found: Factors) -> torch.Tensor:
    """The definition, in float64."""
    up, down = found.up.double(), found.down.double()
    if found.mid is None:
        return (up @ down).reshape(found.shape)
    return torch.einsum("or,rskl,si->oikl", up, found.mid.double(), down)


def written(tensors: tuple[NamedTensor, ...], path: Path) -> Path:
    return write_safetensors(path / "w.safetensors", {tensor.name: tensor.tensor for tensor in tensors})


@settings(max_examples=40, deadline=None)
@given(
    place=st.sampled_from([(LINEAR, (6, 5)), (PROJ, (6, 5, 1, 1)), (CONV, (6, 5, 3, 3))]),
    rank=st.integers(1, 9),
    alpha=st.floats(0.25, 512, width=32),
    pad=st.integers(0, 3),
    core=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_what_is_written_reads_back(
    *, tmp_path_factory: pytest.TempPathFactory,
    place: tuple[str, tuple[int, ...]], rank: int, alpha: float, pad: int, core: bool, seed: int,
) -> None:  # fmt: skip
    name, shape = place
    given_factors = factors(shape, rank, core=core and len(shape) == 4, seed=seed)
    delta_shape = AdapterFormat(SD1, alpha, "F32", pad_to=rank + pad if pad else None)
    path = written(kohya_tensors(name, given_factors, shape, delta_shape), tmp_path_factory.mktemp("w"))
    with open_adapter(path, SD1) as adapter:
        module = adapter.modules[name]
        assert (module.rank, module.alpha) == (rank + pad, pytest.approx(alpha, rel=1e-7))
        loaded = load_factors(adapter, module)
    wanted = product(given_factors)
    torch.testing.assert_close(product(loaded), wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("name", "shape", "core", "shapes"),
    [
        (LINEAR, (6, 5), False, {"lora_up.weight": (6, 2), "lora_down.weight": (2, 5), "alpha": ()}),
        (PROJ, (6, 5, 1, 1), False, {"lora_up.weight": (6, 2, 1, 1), "lora_down.weight": (2, 5, 1, 1),
                                     "alpha": ()}),
        (CONV, (6, 5, 3, 3), False, {"lora_up.weight": (6, 2, 1, 1), "lora_down.weight": (2, 5, 3, 3),
                                     "alpha": ()}),
        (CONV, (6, 5, 3, 3), True, {"lora_up.weight": (6, 2, 1, 1), "lora_down.weight": (2, 5, 1, 1),
                                    "lora_mid.weight": (2, 2, 3, 3), "alpha": ()}),
    ],
)  # fmt: skip
def test_shapes_as_kohya_writes_them(
    name: str, shape: tuple[int, ...], core: bool, shapes: dict[str, tuple[int, ...]]
) -> None:
    tensors = kohya_tensors(name, factors(shape, 2, core=core), shape, AdapterFormat(SD1, 4.0))
    stem = SD1.kohya_name(name)
    assert {tensor.name: tuple(tensor.tensor.shape) for tensor in tensors} == {
        f"{stem}.{part}": size for part, size in shapes.items()
    }
    assert {tensor.dtype for tensor in tensors} == {"F16"}
    assert all(tensor.tensor.is_contiguous() for tensor in tensors)


@pytest.mark.parametrize(
    ("family", "checkpoint", "lora"),
    [
        (SD1, "ckpt_sd15", "lora_kohya_sd15_conv"),
        (SD2, "ckpt_sd21_768v", "lora_kohya_sd21_linear"),
        (SDXL, "ckpt_sdxl_base", "lora_kohya_sdxl_conv"),
    ],
)
def test_whole_files_have_the_names_and_shapes_of_the_trainer(
    family: Family, checkpoint: str, lora: str
) -> None:
    """Every module at full width and rank 8: names and shapes are those of sd-scripts' own file."""
    base = header(checkpoint)
    delta_shape = AdapterFormat(family, 8.0, "F16")
    expected = manifest(lora)
    shapes: dict[str, tuple[int, ...]] = {}
    for module in family.modules(base.tensors).values():
        if module.scope == "linear" or (module.scope == "conv" and lora.endswith("conv")):
            shape = weight_shape(module, base.tensors)
            zeros = Factors(torch.zeros(shape[0], 8), torch.zeros(8, torch.Size(shape[1:]).numel()), shape)
            for tensor in kohya_tensors(module.name, zeros, shape, delta_shape):
                shapes[tensor.name] = tuple(tensor.tensor.shape)
    assert shapes == {name: spec.shape for name, spec in expected.items()}


@pytest.mark.parametrize(
    ("alpha", "dtype", "stored"),
    [(64.0, "F16", "F16"), (320.0, "BF16", "BF16"), (301.0, "BF16", "F32"), (2049.0, "F16", "F32"),
     (301.0, "F32", "F32")],
)  # fmt: skip
def test_alpha_is_stored_exactly(alpha: float, dtype: str, stored: str) -> None:
    tensor = kohya_tensors(LINEAR, factors((6, 5), 2), (6, 5), AdapterFormat(SD1, alpha, dtype))[-1]
    assert (tensor.name, tensor.dtype, tensor.tensor.item()) == (
        f"{SD1.kohya_name(LINEAR)}.alpha",
        stored,
        alpha,
    )
    assert tensor.tensor.shape == ()


def test_scale_is_shared_by_both_factors() -> None:
    """Balanced factors stay balanced, so neither runs out of the range of 16-bit floats first."""
    one = factors((6, 5), 4)
    up, down, _ = kohya_tensors(LINEAR, one, (6, 5), AdapterFormat(SD1, 1.0, "F32"))
    torch.testing.assert_close(up.tensor, 2 * one.up)
    torch.testing.assert_close(down.tensor, 2 * one.down)


def test_padding_keeps_what_is_there_and_refuses_to_cut() -> None:
    one = factors((6, 5), 2)
    up, down, _ = kohya_tensors(LINEAR, one, (6, 5), AdapterFormat(SD1, 4.0, "F32", pad_to=4))
    torch.testing.assert_close(up.tensor, torch.cat([one.up, torch.zeros(6, 2)], dim=1))
    torch.testing.assert_close(down.tensor, torch.cat([one.down, torch.zeros(2, 5)]))
    with pytest.raises(ValueError, match="rank 2 cannot be padded to 1"):
        kohya_tensors(LINEAR, one, (6, 5), AdapterFormat(SD1, 4.0, pad_to=1))


def test_a_core_of_two_ranks_becomes_square() -> None:
    two = factors((6, 5, 3, 3), 3, core=True)
    assert two.mid is not None
    two = replace(two, up=two.up[:, :2], mid=two.mid[:2])
    up, down, mid, alpha = kohya_tensors(CONV, two, (6, 5, 3, 3), AdapterFormat(SD1, 3.0, "F32"))
    assert (up.tensor.shape, mid.tensor.shape[:2], down.tensor.shape[:1]) == ((6, 3, 1, 1), (3, 3), (3,))
    again = Factors(up.tensor.flatten(1), down.tensor.flatten(1), two.shape, mid.tensor)
    torch.testing.assert_close(product(again), product(two))
    assert alpha.tensor.item() == 3


def test_overflow_names_the_tensor() -> None:
    big = factors((6, 5), 2)
    big = replace(big, up=torch.full_like(big.up, 7e4))
    with pytest.raises(InputError) as caught:
        kohya_tensors(LINEAR, big, (6, 5), AdapterFormat(SD1, 2.0))
    assert str(caught.value) == (
        "a value of 7e+04 overflows F16\n"
        f"  where: tensor '{SD1.kohya_name(LINEAR)}.lora_up.weight'\n"
        '  fix:   save with dtype="bf16" or dtype="fp32"'
    )
    kohya_tensors(LINEAR, big, (6, 5), AdapterFormat(SD1, 2.0, "BF16"))
    with pytest.raises(InputError, match="NaN or infinity"):
        kohya_tensors(LINEAR, replace(big, up=big.up * float("nan")), (6, 5), AdapterFormat(SD1, 2.0))


@pytest.mark.parametrize(("dtype", "alpha"), [("F8_E4M3", 4.0), ("F16", 0.0), ("F16", float("nan"))])
def test_formats_that_are_not_written(dtype: str, alpha: float) -> None:
    with pytest.raises(InputError):
        AdapterFormat(SD1, alpha, dtype)


@pytest.mark.parametrize(
    ("family", "notes", "expected"),
    [
        (SD1, AdapterNotes(64, 64), {
            "modelspec.architecture": "stable-diffusion-v1/lora", "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "epsilon", "modelspec.resolution": "512x512",
            "modelspec.sai_model_spec": "1.0.1", "ss_base_model_version": "sd_v1",
            "ss_network_alpha": "64.0", "ss_network_args": "{}", "ss_network_dim": "64",
            "ss_network_module": "networks.lora", "ss_v2": "False"}),
        (SD2, AdapterNotes(4, 4, conv_rank=8, prediction="v", title="hina"), {
            "modelspec.architecture": "stable-diffusion-v2-768-v/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "v", "modelspec.resolution": "768x768",
            "modelspec.sai_model_spec": "1.0.1", "modelspec.title": "hina",
            "ss_base_model_version": "sd_v2_v",
            "ss_network_alpha": "4.0", "ss_network_args": '{"conv_dim": "8", "conv_alpha": "4.0"}',
            "ss_network_dim": "4", "ss_network_module": "networks.lora", "ss_v2": "True"}),
        (SDXL, AdapterNotes(None, 32, prediction="edm-v"), {
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.prediction_type": "v", "modelspec.resolution": "1024x1024",
            "modelspec.sai_model_spec": "1.0.1", "ss_base_model_version": "sdxl_base_v1-0",
            "ss_network_alpha": "32.0", "ss_network_args": "{}", "ss_network_dim": "Dynamic",
            "ss_network_module": "networks.lora", "ss_v2": "False"}),
    ],
)  # fmt: skip
def test_metadata(family: Family, notes: AdapterNotes, expected: dict[str, str]) -> None:
    metadata = adapter_metadata(family.words, notes)
    assert metadata == expected
    assert list(metadata) == sorted(metadata)
