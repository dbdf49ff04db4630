"""OFT, BOFT, GLoRA and (IA)³: their changes of a weight against float64 numpy, in bands of any height."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from checkpoints import tiny_checkpoint, write_safetensors
from loralathe.adapters import open_adapter
from loralathe.cli.app import lathe
from loralathe.errors import InputError
from loralathe.families.flux import FLUX
from loralathe.families.sd1 import SD1
from loralathe.inspection import inspect_file
from loralathe.tensorfiles import open_tensorfile
from loralathe.verification import VerifyOptions, verify_file

from . import changes

LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
UNIT = "lora_unet_down_blocks_0_attentions_0_proj_in"
KOHYA_OFT = LINEAR.replace("lora_unet", "oft_unet")
SHAPES = {LINEAR: (24, 36), KOHYA_OFT: (24, 36), CONV: (24, 12, 3, 3), UNIT: (24, 36, 1, 1)}
Tensors = dict[str, torch.Tensor]
Formula = Callable[[np.ndarray, changes.Arrays], np.ndarray]


def some(seed: int, *shape: int, size: float = 0.3) -> torch.Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ones(*shape: int) -> torch.Tensor:
    return some(9, *shape) + 1


def turns(count: int, size: int, *, offset: bool) -> torch.Tensor:
    """R of LyCORIS' older files, or R − I of the oldest."""
    blocks = [changes.cayley(some(seed, size, size).double().numpy()) for seed in range(count)]
    return torch.from_numpy(np.stack(blocks) - offset * np.eye(size)).float()


def diagonal(offset: float) -> Formula:
    def turned(w: np.ndarray, t: changes.Arrays) -> np.ndarray:
        blocks = t["oft_diag"] + offset * np.eye(6)
        return np.concatenate([r.T @ rows for r, rows in zip(blocks, np.split(w, 4), strict=True)]) - w

    return turned


def glora(**more: bool) -> Formula:
    return lambda w, t: changes.glora(
        w, {k: v for k, v in t.items() if k != "alpha"}, float(t["alpha"]), **more
    )


ALPHA = torch.tensor(3.0)
NOW = {"a1.weight": some(1, 36, 4), "a2.weight": some(2, 4, 36), "b1.weight": some(3, 24, 4),
       "b2.weight": some(4, 4, 36), "alpha": ALPHA}  # fmt: skip
KERNEL = {"a1.weight": some(1, 12, 4, 1, 1), "a2.weight": some(2, 4, 12, 1, 1), "alpha": ALPHA,
          "b1.weight": some(3, 24, 4, 1, 1)}  # fmt: skip
CASES: dict[str, tuple[str, Tensors, Formula]] = {
    "OFT": (LINEAR, {"oft_blocks": some(1, 4, 6, 6), "alpha": torch.tensor(0.0)}, changes.oft),
    "OFT of sd-scripts, constrained": (
        KOHYA_OFT, {"oft_blocks": some(1, 4, 6, 6), "alpha": torch.tensor(0.01)}, changes.oft,
    ),
    "OFT, constraint out of reach": (
        LINEAR, {"oft_blocks": some(1, 4, 6, 6), "alpha": torch.tensor(9.0)}, changes.oft,
    ),
    "OFT of a convolution, rescaled": (
        CONV, {"oft_blocks": some(1, 3, 8, 8), "rescale": ones(24, 1, 1, 1)}, changes.oft,
    ),
    "OFT in one block": (LINEAR, {"oft_blocks": some(1, 1, 24, 24)}, changes.oft),
    "OFT, stored as R": (LINEAR, {"oft_diag": turns(4, 6, offset=False)}, diagonal(0)),
    "OFT, stored as R − I": (LINEAR, {"oft_diag": turns(4, 6, offset=True)}, diagonal(1)),
    "BOFT, three stages": (LINEAR, {"oft_blocks": some(1, 3, 4, 6, 6)}, changes.boft),
    "BOFT, constrained and rescaled": (
        CONV,
        {"oft_blocks": some(1, 2, 4, 6, 6), "alpha": torch.tensor(0.02), "rescale": ones(24, 1, 1, 1)},
        changes.boft,
    ),
    "GLoRA": (LINEAR, NOW, glora()),
    "GLoRA, older names": (
        LINEAR,
        {"a1.weight": some(1, 4, 36), "a2.weight": some(2, 36, 4), "b1.weight": some(3, 4, 36),
         "b2.weight": some(4, 24, 4), "alpha": ALPHA},
        glora(before=True),
    ),
    "GLoRA of a convolution": (CONV, KERNEL | {"b2.weight": some(4, 4, 12, 3, 3)}, glora()),
    "GLoRA, Tucker": (
        CONV, KERNEL | {"b2.weight": some(4, 4, 12, 1, 1), "bm.weight": some(5, 4, 4, 3, 3)}, glora(),
    ),
    "GLoRA of a 1×1 convolution": (
        UNIT, {name: value[:, :, None, None] if value.dim() else value for name, value in NOW.items()},
        glora(),
    ),
    "(IA)³ of outputs": (LINEAR, {"weight": some(1, 24), "on_input": torch.tensor(0)}, changes.ia3),
    "(IA)³ of inputs": (
        LINEAR, {"weight": some(1, 36), "on_input": torch.tensor(1.0).half()}, changes.ia3,
    ),
    "(IA)³ of a convolution's inputs": (
        CONV, {"weight": some(1, 1, 12, 1, 1), "on_input": torch.tensor(1)}, changes.ia3,
    ),
}  # fmt: skip


def file_of(folder: Path, module: str, tensors: Tensors) -> Path:
    named = {f"{module}.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    return write_safetensors(folder / "L.safetensors", named)


def expected(name: str, weight: np.ndarray) -> np.ndarray:
    _, tensors, formula = CASES[name]
    return formula(weight, {part: tensor.double().numpy() for part, tensor in tensors.items()})


@pytest.mark.parametrize("name", CASES)
def test_changes(tmp_path: Path, name: str) -> None:
    module, tensors, _ = CASES[name]
    path, weight = file_of(tmp_path, module, tensors), some(7, *SHAPES[module], size=1.0).double().numpy()
    wanted = expected(name, weight)
    for height in (5, 24):
        found = changes.made_change(path, SD1, weight, height)
        assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max() + 2e-6, height


@pytest.mark.long
@pytest.mark.quick(4)
@pytest.mark.parametrize("name", CASES)
def test_merging_adds_the_strength_times_the_change(tmp_path: Path, name: str) -> None:
    """`lathe merge` writes the function by itself; block weights hold for all of the change."""
    module, tensors, _ = CASES[name]
    base = tiny_checkpoint("sd1", seed=1, dtype="F32")
    place = SD1.address_of_kohya(module)
    assert place is not None
    key, weight = SD1.module(place.module).key, some(7, *SHAPES[module], size=1.0)
    base[key] = weight
    write_safetensors(tmp_path / "A.safetensors", base)
    out = tmp_path / "out.safetensors"
    line = [
        "merge",
        str(tmp_path / "A.safetensors"),
        f"{file_of(tmp_path, module, tensors)}:-1.4:lbw=IN01=0.5,*=1",
    ]
    found = CliRunner().invoke(lathe, [*line, "-o", str(out)])
    assert found.exit_code == 0, found.output
    wanted = weight.double().numpy() - 0.7 * expected(name, weight.double().numpy())
    with open_tensorfile(out) as file:
        assert np.abs(file.read(key).double().numpy() - wanted).max() <= 2e-6 * np.abs(wanted).max()
        assert all(torch.equal(file.read(other), base[other]) for other in base if other != key)
    assert verify_file(out, options=VerifyOptions(everything=True)).ok


def test_layers_of_one_tensor_turn_apart(tmp_path: Path) -> None:
    """sd-scripts' OFT of Flux: q, k and v have blocks and constraints of their own."""
    name = "oft_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"oft_blocks.{index}": some(index, 2, 6, 6) for index in range(3)}
    path = file_of(tmp_path, name, tensors | {"alpha": torch.tensor(0.05)})
    weight = some(7, 36, 12, size=1.0).double().numpy()
    blocks = [tensor.double().numpy() for tensor in tensors.values()]
    wanted = np.concatenate([
        changes.oft(part, {"oft_blocks": own, "alpha": np.float64(0.05)})
        for own, part in zip(blocks, np.split(weight, 3), strict=True)
    ])  # fmt: skip
    for height in (7, 36):
        np.testing.assert_allclose(changes.made_change(path, FLUX, weight, height), wanted, atol=2e-6)


def test_lengths_and_angles_stay(tmp_path: Path) -> None:
    """A rotation of outputs keeps WᵀW, of OFT and BOFT alike."""
    weight = some(7, 24, 36, size=1.0).double().numpy()
    for name in ("OFT", "BOFT, three stages"):
        path = file_of(tmp_path, LINEAR, CASES[name][1])
        turned = weight + changes.made_change(path, SD1, weight, 24)
        np.testing.assert_allclose(turned.T @ turned, weight.T @ weight, atol=2e-5)


def test_inspect_names_them(tmp_path: Path) -> None:
    for name, what in (("OFT", "OFT"), ("BOFT, three stages", "BOFT"), ("GLoRA, older names", "GLoRA")):
        seen = inspect_file(file_of(tmp_path, LINEAR, CASES[name][1]))
        assert (seen.what.partition(" for ")[0], seen.note) == (what, None)
        assert seen.adapter is not None
        assert seen.adapter.ranks == {4 if what == "GLoRA" else None: 1}


WRONG = {
    "blocks that are not square": ({"oft_blocks": ones(4, 6, 5)}, "OFT module has shape [4, 6, 5]"),
    "a factor too few": ({"oft_blocks": ones(4, 6, 6), "rescale": ones(23, 1)}, "it should be (24, 1)"),
    "stages that do not pair": ({"oft_blocks": ones(4, 4, 6, 6)}, "4 blocks cannot be paired in 4 stages"),
    "an odd butterfly": ({"oft_blocks": ones(2, 4, 5, 5)}, "with an even size"),
    "half a GLoRA": (
        {"a1.weight": ones(36, 4), "b1.weight": ones(24, 4)}, "a2.weight and b2.weight are missing",
    ),
    "ranks of a GLoRA": (
        {**NOW, "a2.weight": ones(5, 36)},
        "the factors of this GLoRA do not go together: a1 [36, 4], a2 [5, 36]",
    ),
    "a side that is none": (
        {"weight": ones(24), "on_input": torch.tensor(2)},
        "on_input is 2; it should be 0 (outputs) or 1 (inputs)",
    ),
    "no vector": ({"on_input": torch.tensor(1)}, "weight is missing in this (IA)³ module"),
    "another layer's outputs": ({"oft_blocks": ones(4, 5, 5)}, "[20, any], the base has [24, 36]"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_files_that_make_no_sense(tmp_path: Path, name: str) -> None:
    tensors, message = WRONG[name]
    path = file_of(tmp_path, LINEAR, tensors)
    if name == "another layer's outputs":
        base = tiny_checkpoint("sd1", seed=1, dtype="F32")
        base[SD1.module(SD1.module_of_kohya(LINEAR) or "").key] = ones(24, 36)
        write_safetensors(tmp_path / "A.safetensors", base)
        found = CliRunner().invoke(lathe, ["merge", str(tmp_path / "A.safetensors"), str(path), "--dry-run"])
        assert found.exit_code == 2
        assert message in found.output
        return
    with pytest.raises(InputError) as caught:
        open_adapter(path, SD1, with_weights=True)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
