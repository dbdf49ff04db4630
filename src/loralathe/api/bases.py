"""One LoRA on many bases: a search on each, and what came out side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loralathe.api.arguments import PathLike, folders_of, harmless
from loralathe.api.estimates import Estimate, estimate_pictures
from loralathe.api.look import fitting
from loralathe.api.model_options import ModelKeywords, ModelOptions, parted
from loralathe.api.picture_inputs import adapters_of
from loralathe.api.pictures import open_model, open_recipe
from loralathe.api.search import Search
from loralathe.api.sweeps import PARTS, STRENGTHS, parts_of, span, sweeps_of, touched_blocks
from loralathe.api.transfers import transfer
from loralathe.api.tuning import PreparedTune, TuneKeywords, prepare_tune
from loralathe.errors import InputError, LatheError, counted, option
from loralathe.progress import Progress

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.api.model import OpenModel
    from loralathe.families import Family
    from loralathe.inspection import Fitting
    from loralathe.strengths import AdapterUse
    from loralathe.studies.everywhere import EverywhereReport, OnBase
    from loralathe.studies.tuning.budget import Budget
    from loralathe.studies.tuning.options import TunePlan

__all__ = ["EverywhereKeywords", "PlannedBase", "PreparedEverywhere", "everywhere", "prepare_everywhere"]

DIFFERENCES = "-0.2, -0.1, 0, 0.1, 0.2"
"""Values of M that are searched where nothing is said; the search begins at the first."""
MODELS = ("*.safetensors", "*.ckpt", "*.gguf")
MOST_BASES = 100


class EverywhereKeywords(TuneKeywords, ModelKeywords, total=False):
    """The keywords of `everywhere`."""

    bases: Sequence[PathLike]
    source: PathLike | None
    segments: int
    difference: bool


@dataclass(frozen=True)
class PlannedBase:
    """What would be done on one base; `plan` is None where it would be left out, and `left_out` says why.

    estimate: of the pictures of the budget; of none, where it is a time.
    """

    base: Path
    plan: TunePlan | None
    left_out: str = ""
    notes: tuple[str, ...] = ()
    estimate: Estimate | None = None


def everywhere(lora: PathLike | AdapterUse, **keywords: Unpack[EverywhereKeywords]) -> EverywhereReport:
    """For each base the strength and blocks at which a LoRA draws its person best, by a search on each.

    lora: its strength is what the person would take, and is compared with what is found
    bases: checkpoints, or folders of them
    source: the base that it was made for: a LoRA goes to bases of other blocks through `transfer`, and the
        page says how much they share
    segments: into how many parts the blocks are cut, each with a weight of its own; 0 for the strength alone
    difference: search M, too, in base + strength·LoRA + M·(base − source); each M makes a model in memory
    budget: of each base.  sweep: other axes than these.  The rest: see `TuneChoices`, and as for `render`.

    Bases that cannot be used are left out, and the report says why. Finished pictures stay: the same call
    goes on where it stopped. Raises InputError where no base can be used.
    """
    return prepare_everywhere(lora, **keywords).run()


def prepare_everywhere(
    lora: PathLike | AdapterUse, **keywords: Unpack[EverywhereKeywords]
) -> PreparedEverywhere:
    """The work before it is done."""
    own: dict[str, Any] = {**keywords}
    bases, source = own.pop("bases", ()), own.pop("source", None)
    segments, difference = own.pop("segments", 3), own.pop("difference", False)
    opening, tuning = parted(own, ModelOptions)
    options = ModelOptions(**opening)
    (use,) = adapters_of([lora], options.folders)
    search = Search(options.lora_dir, options.checkpoint_dir)
    place = search.lora(use.file, "lora")
    if difference and source is None:
        raise InputError(
            "M needs the base that the LoRA was made for",
            fix=f"name it: {option('source', 'baseA.safetensors')}",
            about="source",
        )
    if difference and tuning.get("sweep"):
        raise InputError(
            f"{option('difference', True)} and {option('sweep')} exclude each other",
            fix="write a recipe and search in it with lathe tune --recipe",
        )
    output = tuning.pop("output", None)
    folder = Path(harmless(f"{place.stem}-everywhere")[:90]) if output is None else Path(output)
    found = _found(bases, search)
    if not found:
        raise InputError(
            "there is no base",
            fix=f"name checkpoints, or folders of them: {option('bases', 'DIR')}",
            about="bases",
        )
    own_base = None if source is None else search.checkpoint(source, "source")
    return PreparedEverywhere(
        use, place, tuple(found), own_base, segments, difference, folder, opening, tuning
    )


def _found(bases: Sequence[PathLike], search: Search) -> list[Path]:
    """Each checkpoint once; those of folders in the order of their names, LoRAs in them left out."""
    from loralathe.adapters import shows_adapter
    from loralathe.tensorfiles import holds_model, read_header

    found: dict[Path, Path] = {}
    for given in folders_of(bases):
        inside = given.is_dir() and not holds_model(given)
        if inside:
            folders = [place for place in given.iterdir() if place.is_dir() and holds_model(place)]
            places = sorted({*folders, *(place for pattern in MODELS for place in given.glob(pattern))})
        else:
            places = [search.checkpoint(given, "base")]
        for place in places:
            if inside and place.is_file() and shows_adapter(read_header(place).tensors):
                continue
            found.setdefault(place.resolve(), place)
    if len(found) > MOST_BASES:
        raise InputError(f"{len(found)} bases; the most is {MOST_BASES}", fix="name those that matter")
    return list(found.values())


@dataclass(frozen=True)
class PreparedEverywhere:
    """One LoRA on several bases, to be searched."""

    use: AdapterUse
    lora: Path
    bases: tuple[Path, ...]
    source: Path | None
    segments: int
    difference: bool
    folder: Path
    opening: dict[str, Any]
    tuning: dict[str, Any]

    @property
    def budget(self) -> Budget:
        """Of the search on each base."""
        from loralathe.studies.tuning.budget import read_budget

        return read_budget(self.tuning.get("budget", "200 pictures"))

    @property
    def progress(self) -> Progress:
        return self.opening.get("progress") or Progress()

    def folder_of(self, base: Path) -> Path:
        """Of the search on this base; two of the same name are told apart by their folders."""
        same = [one for one in self.bases if one.stem == base.stem]
        name = base.stem if len(same) == 1 else f"{base.parent.name}-{base.stem}"
        return self.folder / (harmless(name) or "base")

    def plan(self) -> tuple[PlannedBase, ...]:
        """What would be searched on each base; nothing is written. A transfer is not tried."""
        found, errors = [], list[InputError]()
        for base in self.bases:
            try:
                with self._opened(base, self.lora, write=False) as prepared:
                    plan = prepared.plan()
                    most = prepared.options.budget.pictures or 0
                    found_out = estimate_pictures(prepared.model, [prepared.options.request] * most)
                found.append(PlannedBase(base, plan, notes=plan.notes, estimate=found_out))
            except InputError as error:
                errors.append(error)
                found.append(PlannedBase(base, None, said(error)))
        self._check_any(errors)
        return tuple(found)

    def _check_any(self, errors: Sequence[InputError]) -> None:
        """InputError where no base can be used: what is wrong with all of them, if it is the same."""
        if len(errors) < len(self.bases):
            return
        if len({error.what for error in errors}) == 1:
            raise errors[0]
        raise InputError(
            f"the LoRA fits none of {counted(len(self.bases), 'base')}",
            where="; ".join(
                f"{base.name}: {said(error)}" for base, error in zip(self.bases[:3], errors, strict=False)
            ),
            fix=f"name bases of its family, and its own: {option('source', 'baseA.safetensors')}",
        )

    def run(self) -> EverywhereReport:
        """Search on each base; after each one the files show what there is."""
        from loralathe.studies.everywhere import EverywhereReport, OnBase, seconds_before, write_everywhere

        before = seconds_before(self.folder)
        made, errors = list[OnBase](), list[InputError]()
        report = EverywhereReport(
            str(self.tuning.get("title", "")),
            self.lora,
            str(self.tuning.get("prompt") or ""),
            self.folder,
            (),
        )
        for number, base in enumerate(self.bases, 1):
            self.progress.message(f"base {number} of {len(self.bases)}: {base}")
            began = time.monotonic()
            one = self._on(base, errors)
            spent = before.get(str(base), 0.0) + time.monotonic() - began
            made.append(OnBase(one.base, one.folder, one.lora, one.report, one.left_out, one.shared, spent))
            if one.left_out:
                self.progress.message(f"{base} is left out: {one.left_out}")
            report = EverywhereReport(report.title, report.lora, report.prompt, self.folder, tuple(made))
            if any(done.report for done in made):
                report = write_everywhere(report, embed=bool(self.tuning.get("embed")))
        self._check_any(errors)
        return report

    def _on(self, base: Path, errors: list[InputError]) -> OnBase:
        """A base that cannot be used adds to the errors."""
        from loralathe.studies.everywhere import OnBase

        folder, lora, shared = self.folder_of(base), self.lora, None
        try:
            if (fit := self._fitting(base)) is not None:
                shared = fit.total.shared
                if fit.changes:
                    lora = self._moved(fit, folder)
            with self._opened(base, lora) as prepared:
                return OnBase(base, folder, lora, prepared.run(), shared=shared)
        except InputError as error:
            errors.append(error)
            return OnBase(base, folder, lora, left_out=said(error), shared=shared)

    def _fitting(self, base: Path) -> Fitting | None:
        """None where it was not asked, and for bases of no common origin: the LoRA is tried as it is."""
        if self.source is None or base.resolve() == self.source.resolve():
            return None
        try:
            return fitting(self.lora, self.source, base, progress=self.progress)
        except InputError as error:
            self.progress.message(f"{base.name}: {said(error)}; the LoRA is tried as it is")
            return None

    def _moved(self, fit: Fitting, folder: Path) -> Path:
        """The LoRA under the names of the blocks that came from its own."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.lora.stem}.safetensors"
        assert self.source is not None
        transfer(self.lora, self.source, fit.target, output=file, force=True, progress=self.progress)
        return file

    def _opened(self, base: Path, lora: Path, *, write: bool = True) -> _Opened:
        """The search on a base. Raises InputError for a base or a LoRA that cannot be used."""
        if self.difference and self.source is not None and base.resolve() != self.source.resolve():
            return self._in_recipe(base, lora, write=write)
        model = open_model(base, **self.opening)
        use = replace(self.use, file=str(lora))
        found = sweeps_of(lora, model.family, self.segments)
        sweeps = [str(one) for one in found if one.part != "te"]
        return self._search(model, (use,), sweeps, base)

    def _in_recipe(self, base: Path, lora: Path, *, write: bool) -> _Opened:
        """base + strength·LoRA + M·(base − source), each part with a factor, as a recipe that is kept."""
        from loralathe.language import Save, make_recipe, recipe_text
        from loralathe.rendering.families import family_of
        from loralathe.tensorfiles import write_text

        family = family_of(base)
        parts = parts_of(lora, family, self.segments)
        named = {span(part).replace("-", "_"): part for part in parts}
        lists = {f"{name}_blocks": _list(part) for name, part in named.items()}
        terms = [f"strength*{name}*L@{name}_blocks" for name in named] or ["strength*L"]
        if parts and (words := _encoders(lora, family)):
            lists["text_encoders"] = _list(words)
            terms.append("strength*L@text_encoders")
        recipe = make_recipe(
            inputs={"A": _absolute(self.source), "B": _absolute(base), "L": _absolute(lora)},
            steps={"made": f"B + {' + '.join(terms)} + M*(B - A)"},
            variables={"strength": self.use.unet, "M": 0.0} | dict.fromkeys(named, 1.0),
            blocks=lists,
            saves=[Save("made", Path(f"{lora.stem}_{base.stem}.safetensors"))],
        )
        folder = self.folder_of(base)
        file = folder / "search.toml"
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, recipe_text(recipe), force=True)
        elif not file.is_file():
            raise InputError(
                f"{base.name} is searched in a recipe that a run writes first",
                fix=f"leave out {option('difference', True)} to see a plan",
            )
        model = open_recipe(file, "made", **self.opening)
        sweeps = [f"strength = {STRENGTHS}", f"M = {DIFFERENCES}", *(f"{name} = {PARTS}" for name in named)]
        return self._search(model, (), sweeps, base)

    def _search(
        self, model: OpenModel, uses: Sequence[AdapterUse], sweeps: Sequence[str], base: Path
    ) -> _Opened:
        wanted = {**self.tuning, "sweep": self.tuning.get("sweep") or sweeps, "output": self.folder_of(base)}
        return _Opened(model, prepare_tune(model, *uses, **wanted))


@dataclass(frozen=True)
class _Opened:
    """A model with the search in it; the networks are let go of at the end of a `with` block."""

    model: OpenModel
    prepared: PreparedTune

    def __enter__(self) -> PreparedTune:
        return self.prepared

    def __exit__(self, *reason: object) -> None:
        self.model.close()


def said(error: LatheError) -> str:
    """What is wrong, and where, in one line."""
    return " ".join(f"{error.what} ({error.where})".split()) if error.where else " ".join(error.what.split())


def _absolute(path: Path | None) -> Path:
    assert path is not None
    return path.absolute()


def _encoders(lora: Path, family: Family) -> list[str]:
    from loralathe.families import is_encoder_block

    return [block for block in touched_blocks(lora, family) if is_encoder_block(block)]


def _list(blocks: Sequence[str]) -> str:
    return ",".join(["*=0", *(f"{block}=1" for block in blocks)])
