"""Objectives: their numbers, what they need, and pictures that tell nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from PIL import Image

from loralathe.errors import InputError
from loralathe.studies.tuning.goals import Shot, goals_of
from loralathe.studies.tuning.space import without_words
from studies.tuning.world import SCORERS


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (16, 16), (level, level, 0))


class Card:
    """Likeness is how light a picture is; nobody is seen in a black one."""

    def likeness(self, images: Sequence[Image.Image]) -> list[float | None]:
        return [level / 255 if (level := image.getpixel((0, 0))[0]) else None for image in images]

    def alike(self, pairs: Sequence[tuple[Image.Image, Image.Image]]) -> list[float | None]:
        found = [self.likeness(pair) for pair in pairs]
        return [None if a is None or b is None else 1 - abs(a - b) for a, b in found]


def test_likeness_and_bleed_of_a_card() -> None:
    likeness, bleed = goals_of((), card=Card(), plain=True)
    shots = [
        Shot("", grey(255), grey(204), grey(255)),
        Shot("", grey(0), grey(0), grey(255)),
        Shot("", grey(51), grey(51), grey(0)),
    ]
    assert likeness.measure(shots) == [1.0, 0.0, pytest.approx(0.2)], "nobody is no likeness"
    assert bleed.measure(shots) == [pytest.approx(0.2), 1.0, None], (
        "gone is another person; no base, no answer"
    )
    assert bleed.oriented(0.2) == -0.2
    assert math.isnan(bleed.oriented(None))


def test_bleed_of_a_score_is_its_rise_without_the_trigger_word() -> None:
    goals = goals_of((), scorers=SCORERS, plain=True)
    assert [goal.name for goal in goals] == ["likeness", "bleed", "prompt"]
    assert goals[1].measure([Shot("", grey(0), grey(153), grey(102))]) == [pytest.approx(0.2)]


def test_diversity_is_between_neighbouring_scenes() -> None:
    (diversity,) = goals_of(("diversity",))
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    assert diversity.measure([Shot("", noise), Shot("", noise, previous=noise)]) == [None, 0.0]


def test_scores_by_name_and_their_weights() -> None:
    up, down = goals_of(("is hina", "-prompt"), scorers=SCORERS, weights={"prompt": 0.5})
    assert (up.name, up.up, up.weigh) == ("is hina", True, 1.0)
    assert (down.name, down.up, down.weigh) == ("prompt", False, 0.5)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"names": ()}, "nothing tells"),
        ({"names": ("bleed",), "scorers": SCORERS}, "without the trigger word"),
        ({"names": ("prompt",), "card": Card()}, "nothing measures"),
        ({"names": ("likenes",), "card": Card()}, "no goal"),
        ({"names": (), "scorers": SCORERS, "likeness": "mio"}, "no score"),
        ({"names": (), "scorers": SCORERS, "weights": {"bled": 2.0}}, "to weigh"),
        ({"names": ("likeness", "prompt"), "scorers": SCORERS, "weights": {"prompt": -1.0}}, "below 0"),
        ({"names": (), "scorers": SCORERS, "weights": {"likeness": 2.0}}, "comes before the other goals"),
    ],
)
def test_what_cannot_be_measured(changes: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        goals_of(changes.pop("names"), **changes)  # type: ignore[arg-type]


def test_prompts_without_the_trigger_word() -> None:
    assert without_words("hina, smiling, navy shirt", ("hina",)) == "smiling, navy shirt"
    assert without_words("a photo of Hina , hina_hat", ("hina",)) == "a photo of, hina_hat"
    assert without_words("hina, sailor, sky", ("hina", "sailor")) == "sky"
