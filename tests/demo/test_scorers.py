"""The judge as scorers: captions read, probabilities averaged, other sizes left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from demo.conftest import PHRASES
from loralathe.api.judging import scorers_of
from loralathe.api.picture_options import GridChoices
from loralathe.demo import family_scorers
from loralathe.demo.family import DATA_VARIABLE
from loralathe.demo.judge import CachedJudge, open_judge, said_by, trait_probabilities
from loralathe.errors import InputError
from loralathe.studies.scorers import Scored


def picture(seed: int, side: int = 128) -> Image.Image:
    raw = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed))
    return Image.frombytes("RGB", (side, side), raw.to(torch.uint8).numpy().tobytes())


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("pink hair, forest", {"hair": "pink", "place": "forest"}),
        ("hina,  Pink  Hair ,sky<lora:hina:0.7>", {"hair": "pink", "place": "sky"}),
        ("((pink hair)), (forest:1.2)", {"hair": "pink", "place": "forest"}),
        ("a girl in a forest with pink hair, blackhair", {}),
        ("", {}),
    ],
)
def test_what_a_prompt_says(prompt: str, said: dict[str, str]) -> None:
    assert said_by(prompt, PHRASES) == said


def test_scores_are_those_of_the_network(parts: Path) -> None:
    judge = open_judge(parts / "judge.safetensors")
    images = [picture(seed) for seed in range(3)]
    raw = [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images]
    pixels = torch.stack(raw).reshape(-1, 128, 128, 3).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        logits = judge.network(pixels)
    hina, sailor, prompt = family_scorers(parts)
    items = [Scored(image, None, "hina, pink hair, sky") for image in images]
    assert hina.score(items) == pytest.approx(logits["hair"].softmax(1)[:, 1].tolist(), abs=1e-6)
    assert sailor.score(items) == pytest.approx(logits["outfit"].softmax(1)[:, 1].tolist(), abs=1e-6)
    right = (logits["hair"].argmax(1) == 1).float() + (logits["place"].argmax(1) == 0).float()
    assert prompt.score(items) == pytest.approx((right / 2).tolist())
    assert [scorer.name for scorer in (hina, sailor, prompt)] == ["is hina", "is sailor", "caption"]


def test_other_sizes_and_silent_prompts_have_no_score(parts: Path) -> None:
    hina, _, prompt = family_scorers(parts)
    items = [Scored(picture(1, 64), None, "sky"), Scored(picture(1), None, "a cat")]
    assert hina.score(items)[0] is None
    assert hina.score(items)[1] is not None
    assert prompt.score(items) == [None, None]
    assert prompt.score(items[:1]) == [None]


def test_a_batch_is_judged_once_and_never_mistaken_for_another(parts: Path) -> None:
    bench = CachedJudge(parts / "judge.safetensors")
    one, other = picture(1), picture(2)
    first = bench.answers([one])
    assert bench.answers([one]) is first
    assert not torch.equal(bench.answers([other])["hair"], first["hair"])
    assert set(trait_probabilities(bench, "hina", [one, other])) == {"hair"}


def test_the_command_line_knows_the_family(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(parts))
    found = scorers_of(GridChoices(scorers=("none", *family_scorers())))
    assert [scorer.name for scorer in found] == ["is hina", "is sailor", "caption"]


def test_a_file_that_is_no_judge(parts: Path, tmp_path: Path) -> None:
    shutil.copy(parts / "hina.safetensors", tmp_path / "judge.safetensors")
    with pytest.raises(InputError, match="is not a judge"):
        open_judge(tmp_path / "judge.safetensors")
