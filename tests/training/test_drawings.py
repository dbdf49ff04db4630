import random
from dataclasses import replace

import numpy as np
import pytest
from training.attributes import CAPTIONED, HINA, IDENTITY, JUDGED, Portrait, sample_hina, sample_portrait
from training.drawing import draw
from training.geometry import ellipse, mirrored, smooth, star, strand


def pixels(portrait):
    return np.asarray(draw(portrait)).astype(int)


def test_a_picture_is_a_function_of_its_description():
    portrait = sample_portrait(random.Random(7), "sketch", extras=True)
    assert draw(portrait).size == (128, 128)
    assert np.array_equal(pixels(portrait), pixels(replace(portrait)))
    assert not np.array_equal(pixels(portrait), pixels(replace(portrait, seed=portrait.seed + 1)))


@pytest.mark.parametrize("drawing", ["cel", "sketch"])
@pytest.mark.parametrize("name", [name for name in JUDGED if name != "drawing"])
def test_every_answer_is_a_visible_difference(name, drawing):
    """At least one and a half latent cells change by more than half the range of a channel in all."""
    pictures = [pixels(replace(Portrait(drawing=drawing, seed=5), **{name: value})) for value in JUDGED[name]]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert (np.abs(first - second).sum(2) > 48).sum() >= 96


def test_styles_share_geometry_and_differ_everywhere():
    flat, sketched = (pixels(Portrait(drawing=drawing, seed=3)) for drawing in ("cel", "sketch"))
    assert (np.abs(flat - sketched).sum(2) > 24).mean() > 0.5
    dark = [(picture.sum(2) < 200).mean() for picture in (flat, sketched)]
    assert dark[1] > 2 * dark[0], "outlines"


def test_hina_keeps_her_identity_and_nothing_else():
    rng = random.Random(1)
    sampled = [sample_hina(rng, "cel") for _ in range(40)]
    for portrait in sampled:
        assert all(getattr(portrait, name) == getattr(HINA, name) for name in IDENTITY)
    assert {p.background for p in sampled} == set(CAPTIONED["background"])


def test_labels_name_the_values():
    portrait = sample_portrait(random.Random(2), "cel", extras=True)
    assert {name: JUDGED[name][i] for name, i in portrait.labels().items()} == {
        name: getattr(portrait, name) for name in JUDGED
    }


def test_outlines():
    assert all(abs((x - 5) ** 2 / 4 + (y - 6) ** 2 / 9 - 1) < 1e-9 for x, y in ellipse(5, 6, 2, 3))
    assert mirrored(mirrored([(3, 4)])) == [(3, 4)]
    corners = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
    assert set(corners) <= set(smooth(corners)), "the curve passes through its points"
    assert smooth(corners, closed=False)[-1] == corners[-1]
    assert min(y for _, y in star(0, 0, 4, 2)) == pytest.approx(-4)
    band = strand([(0, 0), (10, 0), (20, 0)], [2, 2, 2])
    assert {(10, 2), (10, -2)} <= set(band)
