"""The same inputs give the same bytes: on any number of threads, from any place, whatever the cache knows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from loralathe.engine import RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from loralathe.tensorfiles import hashes
from robustness.workdir import recipe_in

STEPS = {
    "A1": "A + 0.7*lora",
    "lora1": "extract(A1 + 0.3*(B - A) - A, rank=4, conv_rank=2)",
    "B1": "B + 0.8*fp16(lora1) - 0.5*(B - A)",
}
ODD_NAMES = ["with spaces", "模型 и модель", "naïve 'quoted' \"twice\"", "emoji 🐈", "a#b%20c&d"]


def make(folder: Path, out: Path, *, threads: int = 1, hash_inputs: bool = True) -> dict[str, bytes]:
    """Both outputs of the steps above, as bytes."""
    out.mkdir(exist_ok=True)
    inputs = {name: folder / f"{name}.safetensors" for name in ("A", "B", "lora")}
    saves = [Save(name, out / f"{name}.safetensors") for name in ("B1", "lora1")]
    recipe = make_recipe(inputs=inputs, steps=STEPS, saves=saves)
    run_recipe(recipe, RunOptions(threads=threads, hash_inputs=hash_inputs, force=True))
    return {save.step: save.file.read_bytes() for save in saves}


@pytest.fixture(scope="module")
def reference(few_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make(few_models, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads(few_models: Path, tmp_path: Path, reference: dict[str, bytes], threads: int) -> None:
    assert make(few_models, tmp_path / "out", threads=threads) == reference


@pytest.mark.long
def test_threads_with_convolutions_and_many_tensors(originals: Path, tmp_path: Path) -> None:
    assert make(originals, tmp_path / "3", threads=3) == make(originals, tmp_path / "1", threads=1)


def test_the_cache_of_hashes(
    few_models: Path,
    tmp_path: Path,
    reference: dict[str, bytes],
    hash_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cold, warm, damaged, and where no cache can be."""
    monkeypatch.setattr(hashes, "TICK", -1.0)  # the models may be a moment old, and such are not remembered
    assert make(few_models, tmp_path / "cold") == reference
    entries = list(hash_cache.rglob("*.json"))
    assert len(entries) == 3
    assert make(few_models, tmp_path / "warm") == reference
    for entry in entries:
        entry.write_text("{broken")
    assert make(few_models, tmp_path / "damaged") == reference
    (tmp_path / "a file").touch()
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "a file" / "cache"))
    assert make(few_models, tmp_path / "nowhere") == reference


def test_without_hashes_the_tensors_are_the_same(
    few_models: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    plain = make(few_models, tmp_path / "out", hash_inputs=False)
    for name, data in plain.items():
        assert b"sha256" not in data
        assert data[data_start(data) :] == reference[name][data_start(reference[name]) :]


def data_start(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def test_other_places_and_dates(few_models: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    elsewhere = tmp_path / "other disk" / "모델"
    shutil.copytree(few_models, elsewhere)
    for file in elsewhere.iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert make(elsewhere, tmp_path / "out") == reference


@pytest.mark.parametrize("relative", [False, True])
def test_no_path_is_inside(
    few_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    place = tmp_path / "a-telling-name"
    shutil.copytree(few_models, place)
    monkeypatch.chdir(tmp_path)
    for data in make(Path("a-telling-name") if relative else place, tmp_path / "out").values():
        header = data[: data_start(data)]
        assert b"a-telling-name" not in header
        assert str(tmp_path).encode() not in header
        assert os.uname().nodename.encode() not in header


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(few: Path, name: str) -> None:
    place = few / name
    place.mkdir()
    inputs = {key: place / f"{key} {name}.safetensors" for key in ("A", "lora")}
    for key, path in inputs.items():
        shutil.copyfile(few / f"{key}.safetensors", path)
    out = place / f"out {name}.safetensors"
    recipe = recipe_in(few, "A + 0.7*lora", out=out, **{key: str(path) for key, path in inputs.items()})
    run_recipe(recipe, RunOptions(threads=1))
    with safe_open(str(out), "pt") as file:
        assert f"A {name}.safetensors" in file.metadata()["loralathe"].replace('\\"', '"')
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [*(p.name for p in inputs.values()), out.name]
    )
