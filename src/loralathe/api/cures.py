"""The cure for "everybody looks like her": a LoRA that acts less without its trigger word."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import File, as_output, beside, require_kinds
from loralathe.api.looked_at import (
    LookedAtChoices,
    LookedAtKeywords,
    choices_in,
    folder_beside,
    looked_at,
    opened,
    with_own_seed,
)
from loralathe.api.model import OpenModel
from loralathe.api.model_options import ModelOptions
from loralathe.api.picture_options import Picture
from loralathe.api.search import Search
from loralathe.commands import command_line
from loralathe.errors import InputError, Value, option
from loralathe.language import stem
from loralathe.strengths import show_number
from loralathe.tensorfiles import MemoryPath

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.rendering import ImageRequest, LocalRenderer
    from loralathe.studies.cures.options import CureOptions
    from loralathe.studies.cures.report import CureReport

__all__ = ["Cure", "CureChoices", "CurePlan", "PreparedCure", "cure", "prepare_cure"]

COMMAND = (
    "card", "scorers", "photo", "face_box", "likeness", "trigger", "also", "people", "keep", "strength",
    "watch", "refine", "first_seeds", "most_seeds", "check_seeds", "error", "output", "folder",
)  # fmt: skip
"""Choices that the command on the page names, where they are not the usual ones."""
NOTE = "loralathe_cure"
"""Metadata of the file: what was damped, and what pictures told of it."""


@dataclass(frozen=True)
class CureChoices(LookedAtChoices):
    """What a cure is.

    people: prompts of other people, without these words: bleed is seen on them, too.
    keep: points of likeness that may be lost.
    watch: pictures with the word, and as many without it, at which layers are looked into.
    refine: steps of training after the damping, towards the LoRA with the word and the base without it.
    trigger: the words that call the person. Default: the card's.  The rest: see `LookedAtChoices`.
    """

    people: Sequence[str] = ()
    keep: float = 2.0
    watch: int = 12
    refine: int = 0

    @property
    def goal(self) -> Sequence[str]:
        """Those that can be measured: likeness, bleed and the prompt."""
        return ()

    @property
    def weigh(self) -> Mapping[str, float]:
        return {}


class CureKeywords(LookedAtKeywords, total=False):
    """The fields of `CureChoices`, of `Picture` and of `ModelOptions`."""

    people: Sequence[str]
    keep: float
    watch: int
    refine: int


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
    choices, model, picture = choices_in(keywords, CureChoices)
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
    return PreparedCure(base, path, choices, model, picture)


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
        return folder_beside(self.output) if given is None else Path(given)

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
        from loralathe.studies.cures.search import cure as search
        from loralathe.tensorfiles import check_output

        self.plan()
        # An output that exists is told now, not after an hour.
        check_output(self.output, [self.lora, Path(str(self.base))], self.choices.force)
        with self._opened() as model:
            options = self._options(model)
            options = with_own_seed(options, self.picture)
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
        return opened(self.base, self.model)

    def _command(self, request: ImageRequest) -> str:
        """What does it again, on the command line; "" where a card or a scorer is no file."""
        usual = CureChoices()
        chosen = {name: getattr(self.choices, name) for name in COMMAND}
        given = {name: one for name, one in chosen.items() if one != getattr(usual, name)}
        shown: dict[str, Value] = {}
        for name, one in given.items():
            words = list(one) if isinstance(one, (list, tuple)) else [one]
            if not all(isinstance(word, (str, int, float, Path)) for word in words):
                return ""
            shown[name] = [*map(str, words)]
        drawn: dict[str, Value] = {
            "prompt": request.prompt,
            "negative": request.negative,
            "seed": request.seed,
            "steps": request.steps,
            "cfg": show_number(request.cfg),
            "sampler": request.sampler,
            "schedule": request.schedule,
            "size": "x".join(map(str, request.size)),
        }
        return command_line("cure", str(self.base), str(self.lora), **shown, **drawn)

    def _options(self, model: OpenModel) -> CureOptions:
        from loralathe.studies.cures.options import CureOptions

        choices = self.choices
        _, shared = looked_at(choices, model, self.picture, self.folder)
        return CureOptions(
            **shared,
            lora=str(self.lora),
            people=tuple(choices.people),
            keep=choices.keep / 100,
            watched=choices.watch,
            refine=choices.refine,
            command=self._command(shared["request"]),
        )


def _here(model: OpenModel) -> LocalRenderer:
    """The renderer of this process, which is what there is without other places."""
    from loralathe.rendering import LocalRenderer

    found = model.renderer
    assert isinstance(found, LocalRenderer)
    return found
