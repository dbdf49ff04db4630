"""The demo family's judge as a model of a card: it tells Hina from others, on drawings and rendered
pictures.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training.attributes import sample_hina, sample_portrait
from training.drawing import draw

from loralathe.demo import family_judge
from loralathe.errors import InputError
from loralathe.likeness import Card, open_embedder, open_judge, read_card, write_card
from loralathe.likeness.card import card_of
from loralathe.likeness.portraits import Portraits


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))


def hinas(count: int, seed: int) -> list[Image.Image]:
    rng = random.Random(seed)
    return [draw(sample_hina(rng, "cel")) for _ in range(count)]


def others(count: int, seed: int) -> list[Image.Image]:
    rng = random.Random(seed)
    return [draw(sample_portrait(rng, "cel")) for _ in range(count)]


def auc(positive: list[float], negative: list[float]) -> float:
    """Share of pairs in the right order; ties count half."""
    a, b = np.array(positive)[:, None], np.array(negative)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())


@pytest.fixture
def card() -> Card:
    return card_of(open_embedder(family_judge()), ["a", "b", "c", "d"], hinas(4, 1), trigger="hina")


def test_it_tells_her_from_others(card: Card) -> None:
    her, rest = card.likeness(hinas(24, 2)), card.likeness(others(24, 3))
    assert None not in her + rest
    assert auc(her, rest) > 0.99  # type: ignore[arg-type]
    assert sum(map(card.is_person, her)) >= 22
    assert not any(map(card.is_person, rest))


def test_its_vector_is_of_who_and_not_of_where(card: Card) -> None:
    judge = card.embedder
    assert isinstance(judge, Portraits)
    assert set(judge.questions) == {"hair", "cut", "eyes", "skin", "glasses", "ornament"}
    (found,) = judge.vectors(hinas(1, 5))
    assert found is not None
    assert len(found) == 6 + 4 + 4 + 3 + 2 + 2
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_larger_pictures_are_made_smaller_and_others_show_nobody(card: Card) -> None:
    (image,) = hinas(1, 6)
    large = image.resize((512, 512), Image.Resampling.LANCZOS)
    one, two, wide, blank = card.likeness(
        [image, large, image.resize((128, 64)), Image.new("RGB", (128, 128))]
    )
    assert one is not None
    assert two == pytest.approx(one, abs=0.1)
    assert (wide, blank) == (None, None)


def test_its_card_is_a_file_like_any_other(card: Card, tmp_path: Path) -> None:
    again = read_card(write_card(tmp_path / "hina.card", card))
    assert again.kind == "portrait"
    assert again.likeness(hinas(2, 7)) == card.likeness(hinas(2, 7))


def test_another_safetensors_file_is_no_judge(tmp_path: Path) -> None:
    lora = family_judge().with_name("hina.safetensors")
    with pytest.raises(InputError, match="not a judge"):
        card_of(open_embedder(lora), ["a", "b", "c"], hinas(3, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"questions": "[]"},
        {"questions": '{"hair": 3}'},
        {"widths": "[4, 4]"},
        {"hidden": "100000000"},
        {"widths": "{}"},
    ],
)
def test_damaged_judges(tmp_path: Path, change: dict[str, str]) -> None:
    """Sizes are looked at before a network of them is built."""
    with safe_open(family_judge(), "pt") as file:
        about = file.metadata()
    path = tmp_path / "judge.safetensors"
    save_file(load_file(family_judge()), path, about | change)
    with pytest.raises(InputError, match="not a judge"):
        open_judge(path)
