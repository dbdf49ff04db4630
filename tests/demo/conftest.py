"""A family of a few numbers for unit tests, and the real one where it is there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from loralathe.demo.family import DATA_VARIABLE, MANIFEST
from loralathe.likeness.portraits import Network
from loralathe.tensorfiles import join_files

PACKAGED = Path(__file__).resolve().parents[2] / "src/loralathe/demo/data"

QUESTIONS = {"hair": ("black", "pink"), "place": ("sky", "forest"), "outfit": ("plain", "sailor")}
PHRASES = {
    "hair": {"black": "black hair", "pink": "pink hair"},
    "place": {"sky": "sky", "forest": "forest"},
}
SUBJECTS = {"hina": {"hair": "pink"}, "sailor": {"outfit": "sailor"}}
WIDTHS, HIDDEN = (4, 4, 4, 8, 8, 4), 16


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hashes are not remembered in the user's home."""
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder as it ships, with tensors of a few elements and a judge that guesses."""
    folder = tmp_path / "parts"
    folder.mkdir()
    torch.manual_seed(0)
    save_file({"text": torch.randn(8, 3).half()}, folder / "shared.safetensors", {"title": "shared"})
    for base in "ab":
        save_file({"unet": torch.randn(5).half()}, folder / f"unet-{base}.safetensors", {"title": base})
    for name in ("hina", "sailor"):
        save_file({"lora": torch.randn(5).half()}, folder / f"{name}.safetensors", {"title": name})
    about = {
        "widths": WIDTHS,
        "hidden": HIDDEN,
        "questions": QUESTIONS,
        "phrases": PHRASES,
        "subjects": SUBJECTS,
    }
    state = {
        name: tensor.clone()
        for name, tensor in Network(WIDTHS, HIDDEN, QUESTIONS).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, folder / "judge.safetensors", {key: json.dumps(value) for key, value in about.items()})
    write_manifest(folder)
    return folder


def write_manifest(folder: Path) -> None:
    """`family.json` for the parts in `folder`."""
    bases = {}
    for base in "ab":
        pieces = [f"unet-{base}.safetensors", "shared.safetensors"]
        whole = join_files([folder / piece for piece in pieces], folder.parent / "whole.safetensors")
        bases[f"base{base.upper()}.safetensors"] = {"parts": pieces, "sha256": sha256(whole)}
        whole.unlink()
    manifest = {
        "parts": {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))},
        "bases": bases,
        "adapters": ["hina.safetensors", "sailor.safetensors"],
        "judge": "judge.safetensors",
    }
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def real_family() -> Path:
    """The trained family: $LORALATHE_FAMILY, else the package's."""
    folder = Path(os.environ.get(DATA_VARIABLE) or PACKAGED)
    assert (folder / MANIFEST).is_file(), f"the tiny family is not in {folder}"
    return folder
