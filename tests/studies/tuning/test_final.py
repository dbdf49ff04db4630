"""The last pictures of a search are those of the models that its recipes make, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.commands import cell_recipe, model_recipe
from loralathe.studies.plan import Job
from loralathe.studies.store import CellStore
from loralathe.studies.tuning.search import run_tune
from studies.fakes import FakeRenderer
from studies.tuning.world import draw, options

Requests = Sequence[ImageRequest]


@dataclass
class Merges:
    """Models by name, and of which LoRAs they are."""

    made: dict[str, tuple[AdapterUse, ...]] = field(default_factory=dict)

    def whole(self, job: Job) -> bool:
        return all(use.start is None for use in job.request.adapters)

    def drawn(self, job: Job) -> ImageRequest:
        uses = job.request.adapters
        if not uses or not self.whole(job):
            return job.request
        name = f"model {len(self.made)}"
        self.made[name] = uses
        return replace(job.request, checkpoint=name, adapters=())


@dataclass
class Drawer(FakeRenderer):
    """Draws models as their LoRAs say; remembers who shared a batch."""

    merges: Merges = field(default_factory=Merges)
    batches: list[Requests] = field(default_factory=list)

    def render(self, requests: Requests, on_image: Callable[[int, Image.Image], None]) -> None:
        self.batches.append(requests)
        for index, wanted in enumerate(requests):
            self.rendered.append(wanted)
            on_image(
                index,
                draw(replace(wanted, adapters=self.merges.made.get(wanted.checkpoint, wanted.adapters))),
            )


def test_the_check_draws_models_one_at_a_time(tmp_path: Path) -> None:
    drawer = Drawer()
    report = run_tune(options(tmp_path, 110, models=drawer.merges), drawer)
    assert report.check is not None
    assert report.final is not None
    assert report.final.whole
    assert report.final.keys == report.check.keys
    assert report.final.given == report.check.other_keys
    assert any(len(batch) > 1 for batch in drawer.batches), "while it searches, many at a time"
    last = 5 * len(report.check.seeds)  # two with the word, two without it, and the base alone
    assert all(len(batch) == 1 for batch in drawer.batches[-last:])
    with_models = [batch[0] for batch in drawer.batches[-last:] if batch[0].checkpoint.startswith("model")]
    assert len(with_models) == 4 * len(report.check.seeds)
    assert not any(one.adapters for one in with_models)
    assert report.pictures == report.rendered == len(drawer.rendered) <= 110
    told = json.loads((tmp_path / "tune.json").read_bytes())["final"]
    assert told["render"] == report.final.render
    words = report.final.render.split()
    assert words[:3] == ["lathe", "render", "--recipe"]
    assert f"--seed {report.check.seeds[0]}" in report.final.render
    assert "hina.safetensors" not in report.final.render, "the recipe has it"


def test_its_pictures_are_cells_of_their_own(tmp_path: Path) -> None:
    drawer = Drawer()
    report = run_tune(options(tmp_path, 110, models=drawer.merges), drawer)
    assert report.final is not None
    searched = {key for one in report.candidates for key in one.keys}
    assert not searched & {*report.final.keys, *report.final.given}
    again = Drawer()
    assert run_tune(options(tmp_path, 110, models=again.merges), again).final == report.final
    assert not again.rendered


def test_without_a_check_one_picture_of_each_is_drawn(tmp_path: Path) -> None:
    drawer = Drawer()
    report = run_tune(options(tmp_path, 60, models=drawer.merges, check=0), drawer)
    assert report.check is None
    assert report.final is not None
    assert len(report.final.keys) == len(report.final.given) == 1
    assert len(drawer.rendered) == report.pictures <= 60
    store = CellStore(tmp_path)
    assert store.has(report.final.keys[0])
    assert store.has(report.final.given[0])


def test_what_a_file_cannot_hold_is_told(tmp_path: Path) -> None:
    drawer = Drawer()
    tuning = options(tmp_path, 60, models=drawer.merges)
    late = replace(tuning.request.adapters[0], start=2)
    report = run_tune(replace(tuning, request=replace(tuning.request, adapters=(late,))), drawer)
    assert report.final is not None
    assert not report.final.whole
    assert "hina.safetensors" in report.final.render
    assert "--recipe" not in report.final.render


def test_where_others_draw_all_is_as_in_the_search(tmp_path: Path) -> None:
    report = run_tune(options(tmp_path, 60), FakeRenderer(draw))
    assert report.final is not None
    assert not report.final.whole


@pytest.mark.parametrize(
    "use",
    [
        AdapterUse("loras/hina.safetensors", 0.5, 0.75, "IN04=0.5,MID=0"),
        AdapterUse("hina.safetensors", 1, 1),
        AdapterUse("hina.safetensors", 0.3, 0.3, elements="OUT04:attn2:0.5"),
    ],
)
def test_the_recipe_in_memory_is_that_of_the_file(tmp_path: Path, use: AdapterUse) -> None:
    from loralathe.language import read_recipe

    request = ImageRequest(checkpoint="baseA.safetensors", adapters=(use, AdapterUse("b.safetensors", 0, 0)))
    shown, made = cell_recipe(request), model_recipe(request)
    assert shown is not None
    assert made is not None
    file = tmp_path / "recommended.toml"
    file.write_text(shown.snippet, encoding="utf-8")
    found = read_recipe(file)
    assert found.texts == made.texts
    assert {name: path.name for name, path in found.inputs.items()} == {
        name: path.name for name, path in made.inputs.items()
    }
    assert [(one.step, one.dtype, one.vae) for one in found.saves] == [
        (one.step, one.dtype, one.vae) for one in made.saves
    ]
    assert model_recipe(replace(request, adapters=(replace(use, stop=3),))) is None
    assert model_recipe(replace(request, adapters=())) is None
