"""The cure for "everybody looks like her": a LoRA that acts less without its trigger word."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import File, PathLike, as_output, beside, require_kinds
from loralathe.api.judging import judging_of
from loralathe.api.model import OpenModel
from loralathe.api.picture_options import (
    RANDOM_SEED,
    ModelKeywords,
    ModelOptions,
    Picture,
    PictureKeywords,
    parted,
)
from loralathe.api.pictures import open_model
from loralathe.api.search import Search
from loralathe.errors import InputError, option
from loralathe.language import stem
from loralathe.tensorfiles import MemoryPath

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.likeness import Card
    from loralathe.rendering import LocalRenderer
    from loralathe.studies import Scorer
    from loralathe.studies.cures.options import CureOptions
    from loralathe.studies.cures.report import CureReport

__all__ = ["Cure", "CureChoices", "CurePlan", "PreparedCure", "cure", "prepare_cure"]

NOTE = "loralathe_cure"
"""Metadata of the file: what was damped, and what pictures told of it."""


@dataclass(frozen=True)
class CureChoices:
    """What a cure is.

    trigger: the words that call the person. Default: the card's.
    people: prompts of other people, without these words: bleed is seen on them, too.
    keep: points of likeness that may be lost;  strength: of the LoRA in pictures.
    watch: pictures with the word, and as many without it, at which layers are looked into.
    refine: steps of training after the damping, towards the LoRA with the word and the base without it.
    output: of the file; None for a name beside the LoRA.  folder: of the pictures; None for one beside it.
    card, scorers, photo, face_box, likeness, also: as for `tune`.
    first_seeds, most_seeds: seeds that a damping begins on, and the most;  check_seeds: fresh ones.
    error: chance that what the seeds call sure is wrong.
    force: replace the output, and another study in the folder.
    """

    trigger: str | Sequence[str] = ()
    people: Sequence[str] = ()
    keep: float = 2.0
    strength: float = 1.0
    watch: int = 12
    refine: int = 0
    output: PathLike | None = None
    folder: PathLike | None = None
    card: PathLike | Card | None = None
    scorers: Sequence[str | Scorer] = ()
    photo: Sequence[PathLike] = ()
    face_box: str | None = None
    likeness: str = ""
    also: Sequence[str] = ()
    first_seeds: int = 4
    most_seeds: int = 24
    check_seeds: int = 12
    error: float = 0.05
    force: bool = False

    @property
    def goal(self) -> Sequence[str]:
        """Those that can be measured: likeness, bleed and the prompt."""
        return ()

    @property
    def weigh(self) -> Mapping[str, float]:
        return {}


class CureKeywords(PictureKeywords, ModelKeywords, total=False):
    """The fields of `CureChoices`, of `Picture` and of `ModelOptions`."""

    trigger: str | Sequence[str]
    people: Sequence[str]
    keep: float
    strength: float
    watch: int
    refine: int
    output: PathLike | None
    folder: PathLike | None
    card: PathLike | Card | None
    scorers: Sequence[str | Scorer]
    photo: Sequence[PathLike]
    face_box: str | None
    likeness: str
    also: Sequence[str]
    first_seeds: int
    most_seeds: int
    check_seeds: int
    error: float
    force: bool


@dataclass(frozen=True)
class CurePlan:
    """What a cure would look at.

    modules: that can be damped;  watched: pictures that layers are looked into at;  most_pictures: scored.
    """

    modules: int
    goals: tuple[str, ...]
    watched: int
    most_pictures: int
    folder: Path
    output: Path
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Cure:
    """What was found, and the file; None where no damping keeps the likeness."""

    report: CureReport
    file: Path | None


def cure(base: File, lora: File, **keywords: Unpack[CureKeywords]) -> Cure:
    """A LoRA whose layers are damped where they act without the trigger word.

    base: the checkpoint that pictures are made with;  lora: a file with plain factors. Names, ranks and dtype
    stay.  The rest: see `CureChoices`, and for pictures as for `render`.
    """
    return prepare_cure(base, lora, **keywords).run()


def prepare_cure(base: File, lora: File, **keywords: Unpack[CureKeywords]) -> PreparedCure:
    """A cure to be done; only headers are read. Raises InputError for the person's mistakes."""
    opening, rest = parted(keywords, ModelOptions)
    picture, rest = parted(rest, Picture)
    model, choices = ModelOptions(**opening), CureChoices(**rest)
    for name, given in (("on", model.on), ("devices", model.devices)):
        if given:
            raise InputError(
                "a cure looks into the layers of the model, so it is computed in this process",
                where=option(name, given),
                fix=f"leave it out, or choose one device: {option('device', 'cuda')}",
            )
    if choices.card is None and not choices.scorers:
        raise InputError(
            "nothing tells how like her a picture is",
            fix=f"give {option('card', 'hina.card')}, or {option('scorers', 'identity=MODEL.onnx')}",
        )
    path = Search(model.lora_dir, model.checkpoint_dir).lora(lora, "lora")
    require_kinds((), [path])
    for place in (path, base):
        if isinstance(place, MemoryPath) or not isinstance(place, (str, Path)):
            raise InputError("pictures are made of models in files", fix="write them to files")
    return PreparedCure(base, path, choices, model, Picture(**picture))


@dataclass(frozen=True)
class PreparedCure:
    """A cure to be done."""

    base: File
    lora: Path
    choices: CureChoices
    model: ModelOptions
    picture: Picture

    @property
    def output(self) -> Path:
        return as_output(self.choices.output) or beside(self.lora, f"{stem(self.lora)}-cured")

    @property
    def folder(self) -> Path:
        """Where pictures go."""
        given = self.choices.folder
        return self.output.with_name(f"{self.output.stem}-study") if given is None else Path(given)

    def plan(self) -> CurePlan:
        """What it would be; nothing is written. Raises what `run` raises before the first picture."""
        from loralathe.adapters import open_adapter
        from loralathe.studies.cures.options import check_cure
        from loralathe.studies.cures.watch import require_factors

        with self._opened() as model:
            options = self._options(model)
            notes = (*check_cure(options), *model.remarks([options.request]))
            with open_adapter(self.lora, model.family) as adapter:
                modules = len(require_factors(adapter))
            goals = tuple(f"{goal.name} {'up' if goal.up else 'down'}" for goal in options.goals)
            return CurePlan(
                modules,
                goals,
                2 * options.watched,
                options.most_pictures,
                options.folder,
                self.output,
                notes,
            )

    def run(self) -> Cure:
        """Look, search and write the file. When it is cancelled, finished pictures stay."""
        from loralathe.adapters.damped import write_replaced
        from loralathe.studies import SeedBook
        from loralathe.studies.cures.search import cure as search
        from loralathe.tensorfiles import check_output

        self.plan()
        # An output that exists is told now, not after an hour.
        check_output(self.output, [self.lora, Path(str(self.base))], self.choices.force)
        with self._opened() as model:
            options = self._options(model)
            if self.picture.seed == RANDOM_SEED:
                # Drawn once for the folder, so that the same call goes on with the same pictures.
                seed = SeedBook(options.folder).next()
                options = replace(options, request=replace(options.request, seed=seed))
            report = search(options, _here(model), self.model.progress)
        if report.made is None:
            return Cure(report, None)
        note = json.dumps(report.note(), ensure_ascii=False, separators=(",", ":"))
        file = write_replaced(
            report.made,
            self.output,
            {},
            {NOTE: note},
            force=self.choices.force,
            inputs=[self.lora, Path(str(self.base))],
        )
        return Cure(report, file)

    def _opened(self) -> OpenModel:
        fields = {name: getattr(self.model, name) for name in ModelOptions.__dataclass_fields__}
        return open_model(self.base, **fields)

    def _options(self, model: OpenModel) -> CureOptions:
        from loralathe.studies.cures.options import CureOptions

        choices, request = self.choices, model.request_of((), self.picture)
        model.check_uses(request)
        judging = judging_of(choices)
        return CureOptions(
            request,
            self.folder,
            lora=str(self.lora),
            goals=judging.goals,
            triggers=judging.triggers,
            also=tuple(choices.also),
            people=tuple(choices.people),
            strength=choices.strength,
            keep=choices.keep / 100,
            watched=choices.watch,
            refine=choices.refine,
            first=choices.first_seeds,
            most=choices.most_seeds,
            check=choices.check_seeds,
            error=choices.error,
            context=model.context_of(),
            force=choices.force,
        )


def _here(model: OpenModel) -> LocalRenderer:
    """The renderer of this process, which is what there is without other places."""
    from loralathe.rendering import LocalRenderer

    found = model.renderer
    assert isinstance(found, LocalRenderer)
    return found
