"""Epoch soup: the average of a training's epochs, plain or found by likeness, as one LoRA."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api import recipes
from loralathe.api.arguments import File, as_output, beside, require_kinds, run_options
from loralathe.api.estimates import Estimate, estimate_pictures
from loralathe.api.judging import within_of
from loralathe.api.looked_at import (
    LookedAtChoices,
    LookedAtKeywords,
    choices_in,
    folder_beside,
    looked_at,
    opened,
    with_own_seed,
)
from loralathe.api.measuring import with_measured
from loralathe.api.model import OpenModel
from loralathe.api.model_options import ModelOptions
from loralathe.api.picture_options import Picture
from loralathe.api.prepared import Prepared
from loralathe.api.recipes import Ranks
from loralathe.api.search import Search
from loralathe.errors import InputError, few, option
from loralathe.language import stem
from loralathe.tensorfiles import MemoryPath, read_header

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.engine import Report, RunOptions
    from loralathe.strengths import AdapterUse
    from loralathe.studies.soups.report import SoupReport
    from loralathe.studies.soups.stir import SoupOptions

__all__ = ["PreparedSoup", "Soup", "SoupChoices", "SoupPlan", "prepare_soup", "soup"]


@dataclass(frozen=True)
class SoupChoices(LookedAtChoices):
    """What a soup is.

    weights: what each epoch weighs, in the order given; divided by their sum.  ema: decay of a moving average
        over the epochs, in the order that metadata or names tell. Without either, all weigh the same, or with
        a card or scorers what is found.
    ranks: as for `combine`; with none the result is exact and the ranks add up.
    save_dtype, metadata: of the file.
    base: the checkpoint that pictures are made with; needed to look at likeness.
    goal, within, weigh: as for `tune`.  error: chance that an epoch joins although it does not help.
    The rest: see `LookedAtChoices`.
    """

    weights: Sequence[float] = ()
    ema: float | None = None
    ranks: Ranks = field(default_factory=dict)
    save_dtype: str = "fp16"
    metadata: str = "new"
    base: File | None = None
    goal: Sequence[str] = ()
    within: float = 1.0
    weigh: Mapping[str, float] = field(default_factory=dict)
    threads: int | None = None

    @property
    def judged(self) -> bool:
        """Whether pictures are looked at. InputError for half of what that takes."""
        asked = self.card is not None or bool(self.scorers)
        if asked and self.base is None:
            raise InputError(
                "likeness is measured on pictures", fix=f"name the checkpoint: {option('base', 'FILE')}"
            )
        if self.base is not None and not asked:
            raise InputError(
                "nothing tells how good a picture is",
                where=option("base"),
                fix=f"give {option('card', 'hina.card')}, or {option('scorers', 'prompt=FOLDER')}; "
                "a plain average needs no checkpoint",
            )
        return asked


class SoupKeywords(LookedAtKeywords, total=False):
    """The fields of `SoupChoices`, of `Picture` and of `ModelOptions`."""

    weights: Sequence[float]
    ema: float | None
    ranks: Ranks
    save_dtype: str
    metadata: str
    base: File | None
    goal: Sequence[str]
    within: float
    weigh: Mapping[str, float]
    threads: int | None


@dataclass(frozen=True)
class SoupPlan:
    """What a soup would be.

    epochs: names, in order of training where it is known.  weights: None where they are to be found.
    most_pictures: how many pictures that takes at most;  folder: where they go;  estimate: of so many.
    """

    epochs: tuple[str, ...]
    weights: tuple[float, ...] | None
    goals: tuple[str, ...]
    most_pictures: int
    folder: Path | None
    notes: tuple[str, ...]
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Soup:
    """A soup: what each epoch weighs in it, what pictures told, and what was written."""

    epochs: tuple[str, ...]
    weights: tuple[float, ...]
    study: SoupReport | None
    report: Report


def soup(*epochs: File, **keywords: Unpack[SoupKeywords]) -> Soup:
    """The average of a training's epochs as one LoRA, exact in what they change.

    epochs: LoRA files (tensors in memory for a plain average).  The rest: see `SoupChoices`, and for
    pictures as for `render`.
    """
    return prepare_soup(*epochs, **keywords).run()


def prepare_soup(*epochs: File, **keywords: Unpack[SoupKeywords]) -> PreparedSoup:
    """A soup to be made; only headers are read. Raises InputError for the person's mistakes."""
    choices, model, picture = choices_in(keywords, SoupChoices)
    if len(epochs) < 2:
        raise InputError(
            "a soup is made of several epochs",
            fix='soup("hina-000010.safetensors", "hina-000020.safetensors")',
        )
    search = Search(model.lora_dir, model.checkpoint_dir)
    places = [search.lora(one, f"epoch{number}") for number, one in enumerate(epochs, 1)]
    require_kinds((), places)
    _check_twice(places)
    return PreparedSoup(tuple(places), choices, model, picture)


def _check_twice(places: Sequence[Path]) -> None:
    for path in places:
        if not isinstance(path, MemoryPath) and places.count(path) > 1:
            raise InputError(
                "an epoch is given twice",
                where=str(path),
                fix=f"to let it weigh more, give {option('weights')}",
            )


@dataclass(frozen=True)
class PreparedSoup:
    """A soup to be made."""

    places: tuple[Path, ...]
    choices: SoupChoices
    model: ModelOptions
    picture: Picture

    @cached_property
    def order(self) -> list[int] | None:
        """Places of the epochs in order of training; None where nothing tells it."""
        from loralathe.adapters.epochs import order_of_epochs

        metadata = [read_header(path).metadata for path in self.places]
        return order_of_epochs([stem(path) for path in self.places], metadata)

    @cached_property
    def weights(self) -> tuple[float, ...] | None:
        """What each epoch weighs, in the order given; None where pictures are to tell."""
        from loralathe.adapters.epochs import moving_average, shares

        choices, count = self.choices, len(self.places)
        names = [stem(path) for path in self.places]
        if choices.weights and choices.ema is not None:
            raise InputError(
                "both weights and a moving average are asked for",
                where=f"{option('weights')}, {option('ema', choices.ema)}",
                fix="keep one of them",
            )
        if choices.weights:
            return shares(choices.weights, names)
        if choices.ema is not None:
            weights = moving_average(count, choices.ema)
            if self.order is None:
                raise InputError(
                    "neither names nor metadata tell the order of these epochs",
                    where=few(names),
                    fix=f"give {option('weights', '1,2,4')}, in the order of the files",
                )
            return tuple(weights[self.order.index(at)] for at in range(count))
        return None if choices.judged else (1 / count,) * count

    @property
    def output(self) -> Path:
        given = as_output(self.choices.output)
        if given is not None:
            return given
        from loralathe.adapters.epochs import epoch_name

        return beside(self.places[0], f"{epoch_name(stem(self.places[0]))}-soup")

    @property
    def folder(self) -> Path:
        """Where pictures go."""
        if self.choices.folder is not None:
            return Path(self.choices.folder)
        if isinstance(self.output, MemoryPath):
            raise InputError("the pictures need a folder", fix=f"give {option('folder', 'FOLDER')}")
        return folder_beside(self.output)

    def writing(
        self,
        weights: Sequence[float],
        output: Path | None = None,
        *,
        force: bool = False,
        study: SoupReport | None = None,
    ) -> Prepared:
        """The average with these weights, to be written; with what a study measured of it."""
        from loralathe.strengths import AdapterUse

        uses: list[AdapterUse] = []
        held: dict[str, Path] = {}
        for path, weight in zip(self.places, weights, strict=True):
            if weight:
                held |= {str(path): path} if isinstance(path, MemoryPath) else {}
                uses.append(AdapterUse(str(path), weight, weight))
        choices = self.choices
        recipe = recipes.combine_recipe(
            uses, choices.ranks, {}, output or self.output, choices.save_dtype, choices.metadata, held
        )
        prepared = Prepared(recipe, self._run_options(force=force), self.model.progress)
        return prepared if study is None else with_measured(prepared, study.measured)

    def _run_options(self, *, force: bool) -> RunOptions:
        model = self.model
        return run_options(
            None,
            {
                "force": force or self.choices.force,
                "threads": self.choices.threads,
                "allow_unmatched": model.allow_unmatched,
            },
            model.progress,
        )

    def plan(self) -> SoupPlan:
        """What it would be; nothing is written. Raises what `run` raises before the first picture."""
        weights, names = self.weights, tuple(stem(path) for path in self.places)
        self.writing(weights or (1 / len(names),) * len(names), force=True).check()
        if not self.choices.judged:
            return SoupPlan(names, weights, (), 0, None, ())
        from loralathe.studies.soups.stir import check_soup

        with self._opened() as model:
            options = self._study_options(model)
            notes = (*check_soup(options), *model.remarks([options.request]))
            goals = tuple(f"{goal.name} {'up' if goal.up else 'down'}" for goal in options.goals)
            most = options.most_pictures
            found = estimate_pictures(model, [options.request] * most)
            return SoupPlan(names, weights, goals, most, options.folder, notes, found)

    def study(self) -> SoupReport | None:
        """Look at pictures; None where none are asked for. When it is cancelled, finished pictures stay."""
        if not self.choices.judged:
            return None
        from loralathe.studies.soups.stir import stir

        self.plan()
        # An output that exists is told now, not after an hour.
        self.writing(self.weights or (1 / len(self.places),) * len(self.places)).check()
        with self._opened() as model:
            options = self._study_options(model)
            options = with_own_seed(options, self.picture)
            return stir(options, model.renderer, self._cut, self.model.progress)

    def _cut(self, mix: tuple[float, ...]) -> Path | None:
        """The file as it will be, in the study's folder, where a rank takes something away.

        Its name tells what it is made of: pictures follow a file's name and date, and are not made twice.
        """
        from loralathe.studies.plan import file_identity

        choices = self.choices
        if not choices.ranks:
            return None
        facts = [mix, dict(choices.ranks), choices.save_dtype, [file_identity(str(p)) for p in self.places]]
        name = sha256(json.dumps(facts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        made = self.folder / f"cut-{name}.safetensors"
        for old in self.folder.glob("cut-*.safetensors"):
            if old != made:
                old.unlink()
        if not made.is_file():
            self.writing(mix, made, force=True).run()
        return made

    def run(self) -> Soup:
        """Look at pictures, if they are asked for, and write the file."""
        study = self.study()
        weights = self.weights if study is None else study.mix
        assert weights is not None
        names = tuple(stem(path) for path in self.places)
        return Soup(names, weights, study, self.writing(weights, study=study).run())

    def _opened(self) -> OpenModel:
        held = [str(path) for path in self.places if isinstance(path, MemoryPath)]
        if held:
            raise InputError(
                "pictures are made of LoRAs in files", where=few(held), fix="write them to files"
            )
        assert self.choices.base is not None
        return opened(self.choices.base, self.model)

    def _study_options(self, model: OpenModel) -> SoupOptions:
        from loralathe.studies.soups.stir import SoupOptions

        judging, shared = looked_at(self.choices, model, self.picture, self.folder)
        return SoupOptions(
            **shared,
            epochs=tuple(str(path) for path in self.places),
            mix=self.weights,
            card=judging.card,
            within=within_of(self.choices.within),
        )
