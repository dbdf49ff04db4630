"""What was measured of a file is no longer true of another one that is made of it, whatever makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from cli.kit import Run
from inspection.test_transfer import deeper
from loralathe.adapters import write_renamed
from loralathe.adapters.damped import write_replaced
from loralathe.engine.measured import ENTRY
from loralathe.rendering.elsewhere import server_loras
from loralathe.tensorfiles import read_header
from loralathe.workshop.commands import COMMANDS

TOLD = {
    ENTRY: '{"version": 1}',
    "loralathe_cure": '{"measured": {"likeness": 1}}',
    "modelspec.hash_sha256": "0x12",
    "modelspec.date": "2020-01-01",
    "ss_tag_frequency": "{}",
    "loralathe": "{}",
}
FALSE = ("loralathe_cure", ENTRY, "modelspec.hash_sha256")
"""Those that no file of other weights may hold; a record is written anew."""
WRITING: dict[str, tuple[str, ...]] = {
    "merge": ("merge", "A", "hina:0.5"),
    "combine": ("combine", "hina", "style", "--metadata", "all"),
    "extract": ("extract", "A", "B", "--rank", "2"),
    "resize": ("resize", "hina", "--rank", "2", "--metadata", "first"),
    "add_difference": ("add-difference", "A", "B", "A", "-m", "0.5"),
    "weighted_sum": ("weighted-sum", "A", "B", "-m", "0.5"),
    "convert": ("convert", "A", "--dtype", "bf16"),
    "convert_lora": ("convert", "hina", "--to", "peft"),
    "transfer": ("transfer", "hina", "--from", "A", "--to", "deep"),
    "soup": ("soup", "hina", "style"),
    "run": ("run", "recipe.toml"),
    "eval": ("eval", "A + 0.5*L", "A=A.safetensors", "L=hina.safetensors"),
}
NOT_RUN = {"cure"}
"""It looks into pictures; what writes its file is tested by itself."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    base = tiny_checkpoint("flux-alone", seed=1)
    deep = second_checkpoint(deeper(base, [0, 0, 1, 2, 2], silent=[1, 4]), 0.005, seed=3)
    for name, tensors in {
        "A": base,
        "B": second_checkpoint(base, 0.003, seed=4),
        "deep": deep,
        "hina": tiny_lora("flux-alone", rank=4, alpha=2, seed=5),
        "style": tiny_lora("flux-alone", rank=4, alpha=2, seed=6),
    }.items():
        write_safetensors(Path(f"{name}.safetensors"), tensors, TOLD)
    Path("recipe.toml").write_text(
        '[inputs]\nL = "hina.safetensors"\n[steps]\nhalf = "extract(0.5*L, rank=2)"\n[save]\n'
        'half = { file = "out.safetensors", metadata_from = "merge" }\n'
    )
    return tmp_path


def test_the_table_has_all_that_write_models() -> None:
    models = {name for name, one in COMMANDS.items() if one.ending == ".safetensors"}
    assert models | {"run", "eval"} == WRITING.keys() | NOT_RUN


@pytest.mark.long
@pytest.mark.parametrize("words", WRITING.values(), ids=WRITING)
def test_no_command_passes_on_what_was_measured(here: Path, done: Run, words: tuple[str, ...]) -> None:
    done(*words, "-o", "out.safetensors")
    found = read_header(Path("out.safetensors")).metadata
    assert [key for key in FALSE if found.get(key) == TOLD[key]] == []
    assert found.get("loralathe") != "{}"
    assert found.get("modelspec.date") != TOLD["modelspec.date"]


def renamed(source: Path, output: Path) -> None:
    write_renamed(
        source, output, {"lora_unet_single_blocks_0_linear1": ["lora_unet_single_blocks_1_linear1"]}, {}
    )


def replaced(source: Path, output: Path) -> None:
    key = "lora_unet_single_blocks_0_linear1.lora_down.weight"
    write_replaced(source, output, {key: _zeros(source, key)}, {})


def _zeros(source: Path, key: str) -> object:
    import torch

    return torch.from_numpy(np.zeros(read_header(source).tensors[key].shape, dtype=np.float32))


@pytest.mark.parametrize("write", [renamed, replaced])
def test_the_trainers_notes_stay(here: Path, write: Callable[[Path, Path], None]) -> None:
    write(Path("hina.safetensors"), Path("out.safetensors"))
    found = read_header(Path("out.safetensors")).metadata
    assert found["ss_tag_frequency"] == "{}"
    assert not [key for key in found if key.startswith("loralathe")]
    assert server_loras.inherited(TOLD) == {"ss_tag_frequency": "{}"}
