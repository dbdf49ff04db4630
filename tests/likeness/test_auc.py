"""How well a card tells Hina from others: ROC AUC on 200 pictures that the demo family renders."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training.attributes import sample_portrait

from loralathe.demo import family_judge, unpack_family
from loralathe.likeness import Card, open_embedder
from loralathe.likeness.card import card_of
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse

SCENES = (
    "smiling, navy shirt, forest", "serious, yellow shirt, night", "surprised, white shirt, blossom",
    "smiling, scarlet shirt, sky", "serious, teal shirt, room", "surprised, purple shirt, sunset",
)  # fmt: skip
NEAR = (
    "pink hair, twin tails, blue eyes, fair skin",
    "pink hair, twin tails, green eyes, fair skin, glasses",
    "blond hair, twin tails, blue eyes, fair skin, glasses",
    "pink hair, short hair, blue eyes, tan skin, glasses",
)
"""Captions of people who share three or four of Hina's six traits."""
REFERENCE_SEED, SEED = 9000, 1


def request(folder: Path, prompt: str, seed: int, strength: float) -> ImageRequest:
    uses = (AdapterUse(str(folder / "hina.safetensors"), strength, strength),) if strength else ()
    return ImageRequest(
        str(folder / "baseA.safetensors"),
        prompt=prompt,
        negative="picture",
        seed=seed,
        steps=8,
        cfg=4,
        width=128,
        height=128,
        adapters=uses,
    )


def rendered(requests: list[ImageRequest]) -> list[Image.Image]:
    found: dict[int, Image.Image] = {}
    with LocalRenderer("cpu") as renderer:
        renderer.render(requests, found.__setitem__)
    return [found[i] for i in range(len(requests))]


def others(count: int) -> list[str]:
    """Captions of people by chance."""
    rng = random.Random(3)
    people = [sample_portrait(rng, "cel") for _ in range(count)]
    cuts = {"short": "short hair", "long": "long hair", "twintails": "twin tails", "ponytail": "ponytail"}
    return [
        f"{one.hair} hair, {cuts[one.cut]}, {one.eyes} eyes, {one.skin} skin, {SCENES[i % len(SCENES)]}"
        for i, one in enumerate(people)
    ]


def auc(positive: list[float], negative: list[float]) -> float:
    a, b = np.array(positive)[:, None], np.array(negative)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())


def values(card: Card, images: list[Image.Image]) -> list[float]:
    found = card.likeness(images)
    assert None not in found
    return [value for value in found if value is not None]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_card_separates_hina_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))
    unpack_family(tmp_path)
    her = [f"hina, {scene}" for scene in SCENES]
    near = [f"{NEAR[i % 4]}, {SCENES[i % 6]}" for i in range(40)]
    requests = [
        *(request(tmp_path, her[i], REFERENCE_SEED + i, 0.9) for i in range(4)),
        *(request(tmp_path, her[i % 6], SEED + i, 0.9) for i in range(100)),
        *(request(tmp_path, prompt, SEED + i, 0) for i, prompt in enumerate([*others(60), *near])),
    ]
    pictures = rendered(requests)
    card = card_of(open_embedder(family_judge()), list("abcd"), pictures[:4], trigger="hina")
    hina, strangers, alike = (
        values(card, part) for part in (pictures[4:104], pictures[104:164], pictures[164:])
    )
    found = {
        "AUC": auc(hina, strangers + alike),
        "AUC of the near ones": auc(hina, alike),
        "threshold": card.threshold,
        "hina taken for her": np.mean([card.is_person(value) for value in hina]),
        "others taken for her": np.mean([card.is_person(value) for value in strangers + alike]),
        "mean of hina, strangers, near ones": [float(np.mean(part)) for part in (hina, strangers, alike)],
    }
    print(found)
    assert found["AUC"] > 0.98
    assert found["AUC of the near ones"] > 0.95
    assert found["hina taken for her"] > 0.85
    assert found["others taken for her"] < 0.02
    assert card.likeness([Image.new("RGB", (128, 128), (240, 200, 200))]) == [None]
