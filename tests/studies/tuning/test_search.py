"""A whole search in a world whose truth is known: what it finds, what it costs, and that it goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loralathe.errors import InputError
from loralathe.strengths import AdapterUse
from loralathe.studies.scorers import Scored
from loralathe.studies.store import CellStore
from loralathe.studies.tuning.budget import Budget, Closing, read_budget
from loralathe.studies.tuning.goals import goals_of
from loralathe.studies.tuning.options import plan_tune, space_of
from loralathe.studies.tuning.proposals import Proposals
from loralathe.studies.tuning.search import run_tune
from loralathe.studies.tuning.space import POOL
from studies.tuning.world import SWEEPS, Channel, options, renderer

BEST = ("0.8", "0.4", "0.5")


@pytest.mark.long
def test_it_finds_the_best_and_keeps_within_its_budget(tmp_path: Path) -> None:
    drawn = renderer()
    report = run_tune(options(tmp_path, 200), drawn)
    assert report.best is not None
    assert report.best.labels == BEST
    assert report.pictures == report.rendered == len(drawn.rendered) <= 200
    assert report.check is not None
    assert report.check.against == 0
    likeness, bleed, _ = report.check.differences
    assert likeness is not None
    assert bleed is not None
    assert (likeness.low or 0) > 0.3
    assert (bleed.high or 0) < 0, "less bleed than as given"
    assert report.candidates[0].labels == (), "what was given takes part"
    assert any(one.status == "dropped" for one in report.candidates)
    assert report.recommended in report.front
    assert "hina(te=0.4, unet=0.8)@'MID=0.5'" in (tmp_path / "recommended.toml").read_text()
    found = json.loads((tmp_path / "tune.json").read_text(encoding="utf-8"))
    assert found["recommended"] == report.recommended
    assert len((tmp_path / "tune.csv").read_text(encoding="utf-8-sig").splitlines()) == 1 + len(
        report.candidates
    )


@pytest.mark.long
@pytest.mark.parametrize(("pictures", "seeds"), [(130, 4), (400, 20)])
def test_a_larger_budget_asks_for_more_seeds(tmp_path: Path, pictures: int, seeds: int) -> None:
    """No luck of few seeds is recommended."""
    best = run_tune(options(tmp_path, pictures), renderer()).best
    assert best is not None
    assert best.values[0] is not None
    assert len(best.values[0].values) >= seeds


def test_the_last_part_of_a_budget_halves_those_ahead() -> None:
    """Half as many, twice the seeds; what that takes is about the share that is kept for it."""
    small, large = Closing.of(32, 2, 48), Closing.of(200, 2, 48)
    assert small.rounds == ((3, 8), (3, 16), (3, 32), (3, 48))
    assert large.rounds == ((10, 8), (5, 16), (3, 32), (3, 48))
    assert (small.share, large.share) == (0.15, 0.5)
    seeds = [level for _, level in large.rounds]
    taken = sum(n * (level - before) for (n, level), before in zip(large.rounds, [2, *seeds], strict=False))
    assert taken <= large.share * 2 * 200
    assert Closing.of(200, 2, 12).rounds == ((10, 8), (5, 12))
    assert Closing.of(None, 2, 48) == Closing.of(50, 2, 48)


@pytest.mark.long
def test_it_goes_on_where_it_was_stopped_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run_tune(options(tmp_path / "whole", 110), renderer())
    part = options(tmp_path / "part", 110)
    with pytest.raises(KeyboardInterrupt):
        run_tune(part, renderer(stop_after=60))
    assert "candidates" in json.loads((tmp_path / "part" / "tune.json").read_text(encoding="utf-8"))
    rest = renderer()
    again = run_tune(part, rest)
    assert len(rest.rendered) == whole.pictures - 60
    assert [one.labels for one in again.candidates] == [one.labels for one in whole.candidates]
    assert again.best is not None
    assert whole.best is not None
    assert again.best.labels == whole.best.labels


@pytest.mark.long
def test_a_finished_search_that_runs_again_renders_nothing(tmp_path: Path) -> None:
    """One candidate has the very pictures of what was given, and was measured on fewer of them."""
    best = AdapterUse("hina.safetensors", te=0.4, unet=0.8, blocks="MID=0.5")
    sweeps = ("hina unet = 0.8, 0.4, 0", "hina te = 0.4, 1, 0")
    for seed in range(3):
        finished = options(tmp_path / f"{seed}", 90, sweeps=sweeps)
        finished = replace(finished, request=replace(finished.request, seed=seed, adapters=(best,)))
        first = run_tune(finished, renderer())
        assert set(first.candidates[0].keys) & set(first.candidates[1].keys)
        rest = renderer()
        again = run_tune(finished, rest)
        assert not rest.rendered
        assert [len(one.keys) for one in again.candidates] == [len(one.keys) for one in first.candidates]
        assert again.near == first.near


def test_a_search_of_few_candidates_ends_when_all_is_known(tmp_path: Path) -> None:
    """Four candidates and what was given, which is one of them, on all seeds; the budget is not spent."""
    best = AdapterUse("hina.safetensors", te=0.4, unet=0.8, blocks="MID=0.5")
    given = options(tmp_path, 900, sweeps=("hina unet = 0.8, 0.4", "hina te = 0.4, 1"), most=6)
    report = run_tune(replace(given, request=replace(given.request, adapters=(best,))), renderer())
    assert len(report.candidates) == 5
    assert report.best is not None
    assert len(report.best.keys) == 6
    assert report.pictures < 100


def test_what_was_given_is_kept_where_nothing_beats_it(tmp_path: Path) -> None:
    """It gets the seeds that a recommendation needs, although it leads from the beginning."""
    best = AdapterUse("hina.safetensors", te=0.4, unet=0.8, blocks="MID=0.5")
    sweeps = ("hina unet = 0, 0.4, 1.2", "hina te = 0, 1.2")
    given = options(tmp_path, 90, sweeps=sweeps)
    report = run_tune(replace(given, request=replace(given.request, adapters=(best,))), renderer())
    assert report.best is not None
    assert report.best.number == 0
    assert len(report.best.keys) >= 2 * given.first


@pytest.mark.slow
def test_pictures_of_another_study_are_taken(tmp_path: Path) -> None:
    before = renderer()
    first = run_tune(options(tmp_path / "first", 70), before)
    drawn = renderer()
    other = options(tmp_path / "other", 70, reuse=(tmp_path / "first",))
    run_tune(other, drawn)
    again = {repr(request) for request in drawn.rendered} & {repr(one) for one in before.rendered}
    assert not again
    assert len(drawn.rendered) < first.rendered, "the same candidates come first, for nothing"


def test_no_likeness_no_search_and_other_mistakes(tmp_path: Path) -> None:
    good = options(tmp_path)
    with pytest.raises(InputError, match="too few"):
        plan_tune(replace(good, budget=Budget(pictures=20)))
    with pytest.raises(InputError, match="of both parts"):
        plan_tune(replace(good, sweeps=("hina = 0, 1", "te(hina) = 0, 1")))
    with pytest.raises(InputError, match="two axes set"):
        plan_tune(replace(good, sweeps=("hina te = 0, 1", "hina te = 0, 0.5")))
    with pytest.raises(InputError, match="cannot be searched over"):
        plan_tune(replace(good, sweeps=("seed = 1-4",)))
    with pytest.raises(InputError, match="cannot be searched over"):
        plan_tune(replace(good, sweeps=("prompt s/r = smiling, serious",)))
    with pytest.raises(InputError, match="one value"):
        plan_tune(replace(good, sweeps=("hina = 1",)))
    with pytest.raises(InputError, match="nothing to search"):
        plan_tune(replace(good, sweeps=()))
    with pytest.raises(InputError, match="not in the prompt"):
        plan_tune(replace(good, triggers=("mio",)))
    assert not (tmp_path / "tune.db").exists(), "a plan writes nothing"


def test_a_folder_of_other_axes_is_refused(tmp_path: Path) -> None:
    run_tune(options(tmp_path, 60), renderer())
    with pytest.raises(InputError, match="belongs to another study"):
        run_tune(options(tmp_path, 60, sweeps=("hina unet = 0, 1",)), renderer())


def test_a_goal_that_no_picture_tells_is_told_early(tmp_path: Path) -> None:
    class Blind(Channel):
        def score(self, items: Sequence[Scored]) -> list[float | None]:
            return [None] * len(items)

    goals = goals_of((), scorers=(Blind("is hina", 0),))
    drawn = renderer()
    with pytest.raises(InputError, match="no picture tells 'likeness'"):
        run_tune(options(tmp_path, 100, goals=goals), drawn)
    assert len(drawn.rendered) <= 8


def test_ranges_get_a_fine_step_and_keep_both_ends(tmp_path: Path) -> None:
    def values(text: str) -> list[str]:
        return [value.label for value in space_of(options(tmp_path, sweeps=(text,))).axes[0].values]

    assert values("hina unet = 0..1.2") == [f"{n / 10:g}" for n in range(13)]
    assert values("te(hina) = 0..0.5") == [f"{n / 20:g}" for n in range(11)]
    assert values("hina = 1..0")[:3] == ["1", "0.9", "0.8"]
    assert values("steps = 4..8") == ["4", "5", "6", "7", "8"]
    assert values("hina = 0..1 [3]") == ["0", "0.5", "1"]
    assert values("hina blocks = ALL, OUTD") == ["ALL", "OUTD"]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_proposals_are_never_seen_ones_until_all_are(tmp_path: Path, sampler: str) -> None:
    space = space_of(options(tmp_path, sweeps=("hina unet = 0, 1", "hina blocks = ALL, OUTD, MIDD")))
    proposals = Proposals(tmp_path, space, 2, "x", sampler, 1)  # type: ignore[arg-type]
    seen: set[tuple[int, ...]] = {()}
    while (point := proposals.ask(seen, sorted(seen, key=sum))) is not None:
        assert point not in seen
        seen.add(point)
        proposals.tell(point, [float(sum(point)), float("nan")])
    proposals.close()
    assert len(seen) == 1 + space.size == 7
    again = Proposals(tmp_path, space, 2, "x", sampler, 1)  # type: ignore[arg-type]
    assert set(again.told()) == seen - {()}
    again.close()


def test_a_large_space_is_looked_at_in_part(tmp_path: Path) -> None:
    fine = tuple(f"hina {name} = 0..1 (+0.1)" for name in ("unet", "te", "IN04-IN08", "MID", "OUT00-OUT05"))
    space = space_of(options(tmp_path, sweeps=fine))
    assert space.size == 11**5 > POOL
    leader = (1, 2, 3, 4, 5)
    found = space.pool([leader], random.Random(1))
    assert len(found) == len(set(found)) <= POOL
    assert found == space.pool([leader], random.Random(1))
    assert {(at, 2, 3, 4, 5) for at in range(11)} <= set(found), "what differs from a leader in one value"
    small = space_of(options(tmp_path, sweeps=SWEEPS))
    assert len(set(small.pool([], random.Random(1)))) == small.size


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("200 pictures", Budget(pictures=200)),
        ("200", Budget(pictures=200)),
        (150, Budget(pictures=150)),
        ("30 minutes", Budget(seconds=1800)),
        ("1.5 h", Budget(seconds=5400)),
        ("30 分鐘", Budget(seconds=1800)),
        ("120 張", Budget(pictures=120)),
    ],
)
def test_budgets(text: str, budget: Budget) -> None:
    assert read_budget(text) == budget


@pytest.mark.parametrize("text", ["", "much", "0 pictures", "-3", "5 parsecs"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(InputError, match="is no budget"):
        read_budget(text)


def test_cells_have_the_keys_of_a_grid(tmp_path: Path) -> None:
    """A grid of the same values has the same pictures."""
    from loralathe.studies.grid import GridOptions, plan_of
    from studies.tuning.world import CONTEXT

    tuning = options(tmp_path / "tune", 60)
    report = run_tune(tuning, renderer())
    grid = plan_of(
        GridOptions(tuning.request, tmp_path / "grid", x=SWEEPS[0], y=SWEEPS[1], z=SWEEPS[2], context=CONTEXT)
    )
    keys = {cell.labels: cell.key for cell in grid.cells}
    for candidate in report.candidates[1:]:
        assert candidate.keys[0] == keys[candidate.labels]  # type: ignore[index]
    assert CellStore(tmp_path / "tune").has(report.candidates[1].keys[0])


@pytest.mark.slow
def test_the_recommended_point_is_near_the_best_in_most_worlds(tmp_path: Path) -> None:
    """Six worlds of other seeds: with 130 pictures of 192 the truth of the choice is near the best."""
    from studies.tuning.world import truth

    losses = []
    for seed in range(6):
        tuning = options(tmp_path / f"{seed}", 130)
        tuning = replace(tuning, request=replace(tuning.request, seed=1000 * seed))
        report = run_tune(tuning, renderer())
        assert report.best is not None
        space = space_of(tuning)
        places = [
            [value.label for value in axis.values].index(label)
            for axis, label in zip(space.axes, report.best.labels, strict=True)
        ]
        found = space.job(tuple(places), tuning.request.prompt, 0).request
        losses.append(0.9 - truth(found)[0])
    assert np.median(losses) <= 0.05
