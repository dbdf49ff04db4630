"""Plans: layout order, order of work, equal cells once, the limit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from loralathe.errors import InputError
from loralathe.studies.axes import parse_axis
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.plan import GridPlan, file_identity, plan_grid, request_key
from studies.fakes import request, use

CONTEXT = Context(checkpoints={"a": "a.st", "b": "b.st"}, vaes={"v": "v.st", "w": "w.st"})


def plan(*texts: str, limit: int | None = 400, vary_seed: str = "") -> GridPlan:
    draft = CellBuilder(request())
    axes = [parse_axis(text, draft, CONTEXT) if text else None for text in (*texts, "", "")[:3]]
    return plan_grid(
        draft, (axes[0], axes[1], axes[2]), CONTEXT, identify=str, limit=limit, vary_seed=vary_seed
    )


def test_cells_lie_x_fastest_then_y_then_z() -> None:
    grid = plan("seed = 1, 2", "cfg = 3, 4", "steps = 5, 6")
    assert grid.shape == (2, 2, 2)
    got = [(c.request.seed, c.request.cfg, c.request.steps) for c in grid.cells]
    assert got == [(1, 3, 5), (2, 3, 5), (1, 4, 5), (2, 4, 5), (1, 3, 6), (2, 3, 6), (1, 4, 6), (2, 4, 6)]
    assert grid.cell((1, 0, 1)).labels == ("2", "3", "6")


def changes(values: list[object]) -> int:
    return sum(a != b for a, b in pairwise(values))


def test_expensive_axes_change_least() -> None:
    grid = plan("checkpoint = a, b", "seed = 1-3", "vae = v, w")
    assert changes([job.request.checkpoint for job in grid.jobs]) == 1
    assert changes([(job.request.checkpoint, job.request.vae) for job in grid.jobs]) == 3


def test_equal_cells_are_one_job() -> None:
    grid = plan("seed = 1, 2, 1", "hina blocks = ,")
    assert len(grid.cells) == 6
    assert [job.cells for job in grid.jobs] == [
        ((0, 0, 0), (2, 0, 0), (0, 1, 0), (2, 1, 0)),
        ((1, 0, 0), (1, 1, 0)),
    ]


def test_a_huge_grid_asks_first() -> None:
    with pytest.raises(InputError, match="10,000 cells") as caught:
        plan("seed = 1-100", "cfg = 1-100")
    assert "100 Seed × 100 CFG" in str(caught.value)
    assert "max_cells=10000" in str(caught.value)
    assert len(plan("seed = 1-20", "cfg = 1-30", limit=600).cells) == 600


def test_seeds_can_count_along_axes() -> None:
    grid = plan("cfg = 1, 2", "steps = 1, 2, 3", vary_seed="xy")
    assert [c.request.seed for c in grid.cells] == [7, 8, 9, 10, 11, 12]
    assert [c.request.seed for c in plan("cfg = 1, 2", "steps = 1, 2", vary_seed="y").cells] == [7, 7, 8, 8]


def test_large_seeds_stay_as_they_are() -> None:
    assert plan("seed = 18446744073709551615").cells[0].request.seed == 2**64 - 1


def test_keys_follow_content_not_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "hina.safetensors").write_bytes(b"x")
    keys = [
        request_key(
            request(adapters=(use(str(f / "hina.safetensors")),)),
            lambda file: Path(file).read_text() if Path(file).exists() else file,
        )
        for f in (one, two)
    ]
    assert keys[0] == keys[1]
    before = request_key(request(adapters=(use(str(one / "hina.safetensors")),)), file_identity)
    (one / "hina.safetensors").write_bytes(b"xy")
    assert request_key(request(adapters=(use(str(one / "hina.safetensors")),)), file_identity) != before


def test_every_field_counts() -> None:
    base = request()
    variants = [
        replace(base, **{name: change})
        for name, change in {
            "checkpoint": "c", "vae": "v", "prompt": "p", "negative": "n", "seed": 8, "steps": 5, "cfg": 7.5,
            "sampler": "DDIM", "schedule": "K", "width": 40, "height": 40, "clip_skip": 2, "adapters": (),
        }.items()
    ]  # fmt: skip
    adapter = base.adapters[0]
    variants += [
        replace(base, adapters=(replace(adapter, **{name: change}),))
        for name, change in {
            "file": "f", "te": 0.5, "unet": 0.5, "blocks": "ALL", "elements": "::0", "start": 2, "stop": 3,
            "x": 0.5,
        }.items()
    ]  # fmt: skip
    assert len({request_key(r, str) for r in [base, *variants]}) == 22


def test_seeds_are_set_once() -> None:
    with pytest.raises(InputError, match="an axis sets the seed, and another option changes it") as caught:
        plan("seed = 1, 2", "cfg = 1, 2", vary_seed="y")
    assert 'vary_seed="y"' in str(caught.value)
