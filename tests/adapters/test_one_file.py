"""An adapter kind is one file: put into the folder of kinds, it is read, named, merged, and refused alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint, write_safetensors
from loralathe.adapters import group_by_module, kinds, open_adapter, shows_adapter, weight_shape
from loralathe.cli.app import lathe
from loralathe.errors import InputError
from loralathe.families.sdxl import SDXL
from loralathe.inspection import inspect_file
from loralathe.language import functions

TOY = Path(__file__).parent / "toy"
CHANGED = (
    "loralathe.adapters.kinds.toy_scale",
    "loralathe.adapters.kinds.toy_pair",
    "loralathe.language.methods.change",
)
CACHES = (
    kinds.adapter_kinds,
    kinds.kind_by_part,
    kinds.part_names,
    kinds.bias_parts,
    kinds.layered_parts,
    functions,
)
STRENGTHS = {
    # canonical name → what te=0.5, unet=0.8 and IN04=0.25 make of 1
    "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q": 0.2,
    "unet.middle_block.0.in_layers.2": 0.8,
    "te1.text_model.encoder.layers.0.mlp.fc1": 0.5,
    "te2.text_model.encoder.layers.0.self_attn.k_proj": 0.5,
    "te2.text_projection": 0.5,
}


def forget() -> None:
    for cache in CACHES:
        cache.cache_clear()
    for name in CHANGED:
        sys.modules.pop(name, None)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder of kinds with one more file in it."""
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(TOY)])
    forget()
    yield
    forget()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, an adapter of five of its layers, one a third of a fused tensor, one stored as (in, out)."""
    base = tiny_checkpoint("sdxl", seed=1, dtype="F32")
    write_safetensors(tmp_path / "A.safetensors", base)
    scales = {}
    for seed, name in enumerate(STRENGTHS):
        rows = weight_shape(SDXL.modules(base)[name], base)[0]
        scale = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) + 0.5
        scales[f"{raw_name(name)}.toy_scale"] = scale
    write_safetensors(tmp_path / "L.safetensors", scales)
    return tmp_path


def raw_name(name: str) -> str:
    return f"lora_{name}".replace(".", "_")


def scaled(folder: Path) -> dict[str, np.ndarray]:
    """W + strength·(s − 1)·W in float64."""
    base, scales = load_file(folder / "A.safetensors"), load_file(folder / "L.safetensors")
    found = {key: tensor.double().numpy() for key, tensor in base.items() if tensor.is_floating_point()}
    for name, strength in STRENGTHS.items():
        module = SDXL.modules(base)[name]
        weight = found[module.key].T if module.transpose else found[module.key]
        index, count = module.part or (0, 1)
        rows = slice(index * len(weight) // count, (index + 1) * len(weight) // count)
        factors = 1.0 + strength * (scales[f"{raw_name(name)}.toy_scale"].double().numpy() - 1.0)
        weight[rows] *= factors.reshape(-1, *[1] * (weight.ndim - 1))
    return found


def test_it_is_merged(toy: None, folder: Path) -> None:
    out = folder / "out.safetensors"
    inputs = [f"{name}={folder / name}.safetensors" for name in "AL"]
    formula = "A + toy_scale(A, L(te=0.5, unet=0.8)@'IN04=0.25,*=1')"
    found = CliRunner().invoke(lathe, ["eval", formula, *inputs, "-o", str(out)])
    assert found.exit_code == 0, found.output
    base, written, wanted = load_file(folder / "A.safetensors"), load_file(out), scaled(folder)
    changed = {SDXL.modules(base)[name].key for name in STRENGTHS}
    assert len(changed) == len(STRENGTHS)
    for key, tensor in base.items():
        if key not in changed:
            assert torch.equal(written[key], tensor), key
        else:
            np.testing.assert_allclose(written[key].double().numpy(), wanted[key], rtol=1e-6, err_msg=key)


def test_merge_writes_the_formula_by_itself(toy: None, folder: Path) -> None:
    paths = [str(folder / f"{name}.safetensors") for name in ("A", "L", "out", "again")]
    found = CliRunner().invoke(
        lathe, ["merge", paths[0], f"{paths[1]}:te=0.5:unet=0.8:lbw=IN04=0.25,*=1", "-o", paths[2]]
    )
    assert found.exit_code == 0, found.output
    formula = "A + toy_scale(A, L(te=0.5, unet=0.8)@'IN04=0.25,*=1')"
    inputs = [f"{name}={folder / name}.safetensors" for name in "AL"]
    found = CliRunner().invoke(lathe, ["eval", formula, *inputs, "-o", paths[3]])
    assert found.exit_code == 0, found.output
    merged, again = load_file(paths[2]), load_file(paths[3])
    assert all(torch.equal(merged[key], tensor) for key, tensor in again.items())


def test_alone_it_is_refused_by_its_name(toy: None, folder: Path) -> None:
    with pytest.raises(InputError, match="the kind of this adapter is ToyScale") as caught:
        open_adapter(folder / "L.safetensors")
    assert "in a formula, write toy_scale(A, hina)" in (caught.value.fix or "")
    found = CliRunner().invoke(lathe, ["inspect", str(folder / "L.safetensors")])
    assert found.exit_code == 0, found.output
    assert "ToyScale for SDXL" in found.output
    found = CliRunner().invoke(
        lathe, ["combine", str(folder / "L.safetensors"), "-o", str(folder / "out.safetensors")]
    )
    assert found.exit_code == 2
    assert "write A + toy_scale(A, 0.7*L) for a model A" in found.output


def test_its_rank_and_its_family_are_told_by_its_own_file(toy: None, tmp_path: Path) -> None:
    """SD 1 and SD 2 share all names; the inputs of a layer that reads the text tell them apart."""
    name = raw_name("unet.input_blocks.1.1.transformer_blocks.0.attn2.to_k")
    for family, inputs in (("SD 1.5", 768), ("SD 2", 1024)):
        pair = {f"{name}.toy_up": torch.ones(320, 4), f"{name}.toy_down": torch.ones(4, inputs)}
        path = tmp_path / f"{inputs}.safetensors"
        write_safetensors(path, pair)
        with open_adapter(path) as adapter:
            assert adapter.made_for.label == family
        facts = inspect_file(path).adapter
        assert facts is not None
        assert (facts.kinds, facts.ranks) == ({"toy_pair": 1}, {4: 1})


def test_without_the_file_it_is_no_adapter(folder: Path) -> None:
    with pytest.raises(InputError, match="not a LoRA"):
        open_adapter(folder / "L.safetensors")


def test_a_tensor_called_weight_counts_beside_its_own_kind_only() -> None:
    """(IA)³ keeps its vector under a bare `weight`, as every layer of a checkpoint has."""
    ia3, layer = ("lora_unet_x.on_input", "lora_unet_x.weight"), "model.diffusion_model.out.2.weight"
    grouped = group_by_module([*ia3, layer])
    assert grouped.parts == {"lora_unet_x": {"on_input": ia3[0], "weight": ia3[1]}}
    assert grouped.unrecognized_keys == (layer,)
    assert not shows_adapter([layer])
