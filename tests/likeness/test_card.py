"""The card: likeness, threshold, its file; and everything that is no card or makes none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy import stats

from likeness.models import mean_colour, pixels
from loralathe.errors import InputError
from loralathe.likeness import (
    Card,
    WholePicture,
    make_card,
    open_embedder,
    read_card,
    read_card_facts,
    write_card,
)
from loralathe.likeness.card import FEWEST, LEAST_ROOM, LOWEST, card_of, left_out_cosines, threshold_of

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))


def noise(seed: int, amount: int = 20) -> Image.Image:
    """Somebody of orange skin: noise around a colour."""
    change = np.random.default_rng(seed).integers(-amount, amount + 1, (12, 12, 3))
    return Image.fromarray(np.clip(np.array([230, 128, 20]) + change, 0, 255).astype(np.uint8))


def photos(folder: Path, count: int = 4, amount: int = 60) -> list[Path]:
    paths = [folder / f"photo{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        noise(i, amount).save(path)
    return paths


@pytest.fixture
def card(tmp_path: Path) -> Card:
    embedder = WholePicture(pixels(tmp_path / "face.onnx"))
    return make_card(embedder, photos(tmp_path), trigger="hina girl")


def unit_rows(images: list[Image.Image], side: int = 4) -> np.ndarray:
    """float64, by hand."""
    small = [np.asarray(i.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64) for i in images]
    rows = np.stack([((one - 127.5) / 127.5).transpose(2, 0, 1).ravel() for one in small])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_likeness_is_the_cosine_with_the_mean(card: Card, tmp_path: Path) -> None:
    others = [noise(9), noise(10, 100), Image.effect_mandelbrot((30, 20), (-2, -1, 1, 1), 20)]
    rows = unit_rows([Image.open(path) for path in photos(tmp_path)])
    mean = rows.mean(0) / np.linalg.norm(rows.mean(0))
    expected = unit_rows([one.convert("RGB") for one in others]) @ mean
    assert card.likeness(others) == pytest.approx(list(expected), abs=1e-5)
    pairs = [(others[0], others[1]), (others[1], others[2]), (others[0], others[0])]
    found = unit_rows([one.convert("RGB") for one in others])
    assert card.alike(pairs) == pytest.approx([found[0] @ found[1], found[1] @ found[2], 1], abs=1e-5)


@pytest.mark.parametrize("n", [3, 4, 8])
def test_threshold_is_the_prediction_bound_of_left_out_cosines(n: int) -> None:
    rows = np.random.default_rng(n).normal(0, 0.2, (n, 16)) + np.eye(16)[0]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = []
    for i in range(n):
        mean = np.delete(rows, i, 0).mean(0)
        cosines.append(rows[i] @ mean / np.linalg.norm(mean))
    vectors = list(rows.astype(np.float32))
    assert left_out_cosines(vectors) == pytest.approx(cosines, abs=1e-6)
    room = stats.t.ppf(0.95, n - 1) * np.std(cosines, ddof=1) * np.sqrt(1 + 1 / n)
    assert room > LEAST_ROOM, "these vectors differ enough for the spread to count"
    assert np.mean(cosines) - room > LOWEST
    assert threshold_of(vectors) == pytest.approx(np.mean(cosines) - room, abs=1e-6)


def test_threshold_has_its_bounds() -> None:
    same = [np.array([1, 0], np.float32)] * 3
    assert threshold_of(same) == pytest.approx(1 - LEAST_ROOM)
    apart = [np.array(v, np.float32) for v in ([1, 0, 0], [0.6, 0.8, 0], [0.6, 0, 0.8])]
    assert threshold_of(apart) >= LOWEST


def test_verdict_of_her_and_of_another(card: Card) -> None:
    her, other = card.likeness([noise(77, 60), Image.fromarray(255 - np.asarray(noise(77, 60)))])
    assert card.is_person(her)
    assert not card.is_person(other)
    assert other is not None
    assert other < 0


def test_a_blank_picture_shows_nobody(card: Card) -> None:
    blank = Image.new("RGB", (64, 64), (230, 128, 20))
    assert card.likeness([noise(5), blank]) == [pytest.approx(card.likeness([noise(5)])[0]), None]
    assert card.alike([(blank, noise(5))]) == [None]
    assert not card.is_person(None)
    assert card.likeness([]) == []


def test_a_card_as_a_file(card: Card, tmp_path: Path) -> None:
    path = write_card(tmp_path / "hina.card", card)
    again = read_card(path)
    assert [one.name for one in again.references] == [f"photo{i}.png" for i in range(4)]
    assert (again.kind, again.model, again.detector) == (card.kind, card.model, None)
    assert (again.threshold, again.trigger) == (card.threshold, "hina girl")
    assert again.preparation == card.preparation
    assert again.likeness([noise(5)]) == card.likeness([noise(5)])
    assert path.stat().st_size < 4096
    stored = load_file(path)["references"]  # any reader of safetensors can open it
    assert np.array_equal(stored, np.stack([one.vector for one in card.references]))
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["lathe_identity_card"])
    assert str(tmp_path) not in json.dumps(about), "a card does not say where its maker keeps files"
    with pytest.raises(InputError, match="the output exists"):
        write_card(path, card)
    with pytest.raises(InputError, match="name of a model file"):
        write_card(tmp_path / "hina.safetensors", card)


def test_models_are_found_or_named(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_card(tmp_path / "far" / "hina.card", card)
    assert read_card(path).embedder.model == tmp_path / "face.onnx", "this machine had it there"
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "other cache"))
    with pytest.raises(InputError, match=r"'face.onnx', is not found") as caught:
        read_card(path)
    assert card.model.sha256 in str(caught.value)
    shutil.copy(tmp_path / "face.onnx", path.parent / "face.onnx")
    assert read_card(path).embedder.model == path.parent / "face.onnx"
    other = mean_colour(tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"not the model of the card, which means 'face.onnx'") as caught:
        read_card(path, model=other)
    assert card.model.sha256 in str(caught.value)
    assert str(other) in str(caught.value)
    renamed = shutil.copy(tmp_path / "face.onnx", tmp_path / "renamed.onnx")
    assert read_card(path, model=Path(renamed)).likeness([noise(5)]) == card.likeness([noise(5)])
    with pytest.raises(InputError, match="without a detector"):
        read_card(path, detector=other)


def test_fewer_than_three_make_no_card(tmp_path: Path) -> None:
    embedder = WholePicture(mean_colour(tmp_path / "face.onnx"))
    with pytest.raises(InputError, match=f"at least {FEWEST} pictures"):
        make_card(embedder, photos(tmp_path, 2))
    assert len(make_card(embedder, photos(tmp_path, 3)).references) == 3


def test_photos_of_nobody_twice_and_of_another(tmp_path: Path) -> None:
    embedder = WholePicture(mean_colour(tmp_path / "face.onnx"))
    her = [noise(i) for i in range(3)]
    blank, another = Image.new("RGB", (9, 9)), Image.fromarray(255 - np.asarray(noise(8)))
    with pytest.raises(InputError, match="show nobody") as caught:
        card_of(embedder, ["a", "b", "white.png", "c"], [her[0], her[1], blank, her[2]])
    assert "white.png" in str(caught.value)
    with pytest.raises(InputError, match="same picture") as caught:
        card_of(embedder, ["a.png", "b.png", "c.png", "d.png"], [*her, her[1].copy()])
    assert "b.png, d.png" in str(caught.value)
    with pytest.raises(InputError, match="do not show the person of the others") as caught:
        card_of(embedder, ["a.png", "b.png", "c.png", "d.png"], [*her, another])
    assert caught.value.where == "d.png"
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match="cannot be opened"):
        make_card(embedder, [*photos(tmp_path, 3), tmp_path / "text.png"])


def test_files_that_are_no_cards(card: Card, tmp_path: Path) -> None:
    save_file({"lora": np.zeros(3, np.float32)}, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match="not an identity card"):
        read_card(tmp_path / "lora.safetensors")
    for content in (b"", b"hello", b"\x89PNG\r\n1234567"):
        (tmp_path / "odd.card").write_bytes(content)
        with pytest.raises(InputError):
            read_card(tmp_path / "odd.card")
    with pytest.raises(InputError, match="no such file"):
        read_card(tmp_path / "absent.card")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "soul"}, {"model": None}, {"model": {"name": "x"}}, {"threshold": 7}, {"threshold": True},
        {"references": ["a"]}, {"references": "abcd"}, {"trigger": 1}, {"trigger": "x" * 5000},
        {"preparation": {}}, {"detector": []}, {"threshold": float("nan")}, {"threshold": 10**400},
    ],
)  # fmt: skip
def test_damaged_cards(card: Card, tmp_path: Path, change: dict[str, object]) -> None:
    path = write_card(tmp_path / "hina.card", card)
    rows = load_file(path)
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["lathe_identity_card"])
    save_file(rows, path, {"lathe_identity_card": json.dumps(about | change)})
    with pytest.raises(InputError, match="identity card is damaged"):
        read_card(path)


def test_damaged_vectors_and_other_versions(card: Card, tmp_path: Path) -> None:
    path = write_card(tmp_path / "hina.card", card)
    rows = load_file(path)["references"]
    with safe_open(path, "np") as file:
        text = file.metadata()["lathe_identity_card"]
    for bad in (rows * 2, rows[:3], np.full_like(rows, np.nan), rows.astype(np.float64), rows.ravel()):
        save_file({"references": np.ascontiguousarray(bad)}, path, {"lathe_identity_card": text})
        with pytest.raises(InputError, match="identity card is damaged"):
            read_card(path)
    for broken, said in (("{", "damaged"), ("[1]", "damaged"), ('{"version": 2}', "another version")):
        save_file({"references": rows}, path, {"lathe_identity_card": broken})
        with pytest.raises(InputError, match=said):
            read_card(path)


def test_models_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"12345678")
    with pytest.raises(InputError, match="cannot be loaded"):
        make_card(open_embedder(tmp_path / "bad.onnx"), photos(tmp_path))
    with pytest.raises(InputError, match="no such file"):
        open_embedder(tmp_path / "absent.onnx")


def test_what_a_card_says_of_itself_needs_no_models(card: Card, tmp_path: Path) -> None:
    path = write_card(tmp_path / "hina.card", card)
    (tmp_path / "face.onnx").unlink()
    facts = read_card_facts(path)
    assert (facts.kind, facts.trigger, facts.model.name) == (card.kind, "hina girl", "face.onnx")
    assert facts.references == ("photo0.png", "photo1.png", "photo2.png", "photo3.png")
    assert facts.threshold == card.threshold
    save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not an identity card"):
        read_card_facts(tmp_path / "other.safetensors")


def test_a_process_that_is_kept_to_folders_finds_the_model_in_them(card: Card, tmp_path: Path) -> None:
    """What this machine remembers may lie outside of the folders that the workshop serves."""
    kept, faces = tmp_path / "kept", tmp_path / "faces" / "deep"
    kept.mkdir()
    faces.mkdir(parents=True)
    write_card(kept / "hina.card", card)
    shutil.copy(tmp_path / "face.onnx", faces / "face.onnx")
    code = (
        "import sys, loralathe; loralathe.confine(sys.argv[2:], []);"
        "print(loralathe.read_card(sys.argv[1]).embedder.model)"
    )
    words = [sys.executable, "-c", code, str(kept / "hina.card"), str(kept), str(tmp_path / "faces")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == faces / "face.onnx"
