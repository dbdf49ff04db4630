"""`blocks --weights` of kinds whose change depends on the weights: against float64 numpy on the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import loralathe
from adapters import changes
from adapters.samples import LINEAR, SAMPLES, Model, model, sample
from checkpoints import tiny_checkpoint, write_safetensors
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.studies import study_weights

FORMULAS = {"oft": changes.oft, "boft": changes.boft, "ia3": changes.ia3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(SD1, tmp_path_factory.mktemp("base"))


def dora(w: np.ndarray, t: changes.Arrays) -> np.ndarray:
    moved = w + 0.5 * t["lora_up.weight"] @ t["lora_down.weight"]
    return t["dora_scale"] * moved / np.linalg.norm(moved, axis=1, keepdims=True) - w


def glora(w: np.ndarray, t: changes.Arrays) -> np.ndarray:
    return changes.glora(w, t, 1.0)


@pytest.mark.parametrize("kind", ["dora", "oft", "boft", "glora", "ia3"])
def test_energy_and_ranks_are_those_of_the_change(kind: str, base: Model, tmp_path: Path) -> None:
    given = sample(kind, base, tmp_path)
    assert given is not None
    arrays = {name: one.double().numpy() for name, one in SAMPLES[kind][1].items()}
    weight = base.weights[base.keys[base.layers[LINEAR]]].double().numpy()
    formula = {"dora": dora, "glora": glora, **FORMULAS}[kind]
    singular = np.linalg.svd(formula(weight, arrays), compute_uv=False)
    found = study_weights(base.path, given.path, threads=1)
    (block,) = found.blocks
    assert block.delta_norm == pytest.approx(np.sqrt((singular**2).sum()), rel=1e-5)
    assert block.base_norm == pytest.approx(np.linalg.norm(weight), rel=1e-6)
    held = np.cumsum(singular**2) / (singular**2).sum()
    assert block.rank90 == int((held < 0.9 - 1e-9).sum()) + 1
    share = singular[singular > 1e-6 * singular[0]]
    share = share / share.sum()
    assert block.spread == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-3)


def test_a_part_of_a_fused_tensor(tmp_path: Path) -> None:
    """k of OpenCLIP, whose q, k and v are one tensor: the middle third of its rows."""
    tensors = tiny_checkpoint("sdxl", seed=1, dtype="F32")
    fused = tensors["conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"]
    rows = len(fused) // 3
    vector = torch.linspace(0.1, 0.4, rows)
    name = "lora_te2_text_model_encoder_layers_0_self_attn_k_proj"
    lora = {f"{name}.weight": vector, f"{name}.on_input": torch.tensor(0)}
    found = study_weights(
        write_safetensors(tmp_path / "A.safetensors", tensors),
        write_safetensors(tmp_path / "lora.safetensors", lora),
        threads=1,
    )
    own = fused[rows : 2 * rows].double().numpy()
    wanted = np.linalg.norm(own * vector.double().numpy()[:, None])
    assert found.total.delta_norm == pytest.approx(wanted, rel=1e-5)
    assert found.total.base_norm == pytest.approx(np.linalg.norm(own), rel=1e-5)


def test_comparing_says_what_works(base: Model, tmp_path: Path) -> None:
    """And it does: both become plain LoRAs, which are compared."""
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    files = [sample(kind, base, folder) for kind, folder in (("dora", one), ("oft", two))]
    paths = [file.path for file in files if file is not None]
    with pytest.raises(InputError, match="depends on the model") as caught:
        loralathe.compare(*paths)
    assert "--to kohya --bake BASE" in caught.value.fix
    plain = [path.with_name("plain.safetensors") for path in paths]
    for path, output in zip(paths, plain, strict=True):
        loralathe.convert_lora(path, "kohya", bake=base.path, rank=32, output=output)
    assert loralathe.compare(*plain).total.cosine is not None
