"""The place where the story is played: one folder and one renderer; nothing is made twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from loralathe.api.settings import write_settings
from loralathe.demo.family import TinyFamily
from loralathe.demo.judge import CachedJudge, scorers_of
from loralathe.demo.settings import PROFILE, SIDE, Settings
from loralathe.demo.tasks import BlocksTask, FileTask, GridTask
from loralathe.engine import KEY, Report, RunOptions, Session, metadata_of, open_session, run_session
from loralathe.errors import InputError
from loralathe.families import family_by_id
from loralathe.progress import Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse
from loralathe.studies import (
    DEFAULT_SCORERS,
    BlockReport,
    BlocksOptions,
    GridOptions,
    GridResult,
    RecipeWeights,
    analyze_blocks,
    gather_context,
    run_grid,
)
from loralathe.tensorfiles import content_hash, read_header, write_whole

MADE = "made.json"
BASE_FAMILY = "sdxl"
SHARES = ("kept", "truncated", "noise", "outside")


@dataclass(frozen=True)
class Energies:
    """How much of the difference an extracted LoRA holds, as shares of the whole energy."""

    kept: float
    truncated: float
    noise: float
    outside: float
    modules: int


class Studio:
    """Does tasks in `folder`. Use it in a `with` block: the renderer holds models open."""

    def __init__(self, folder: Path, family: TinyFamily, settings: Settings, progress: Progress) -> None:
        self.folder = folder
        self.family = family
        self.settings = settings
        self.progress = progress
        self.judge = CachedJudge(family.part(family.judge))
        self._renderer: LocalRenderer | None = None
        self._analyzed: dict[BlocksTask, BlockReport] = {}
        self._made: dict[str, dict[str, float | str]] = _read_made(folder / MADE)

    def __enter__(self) -> Studio:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_renderer()

    def path(self, name: str) -> Path:
        """A file of the demo's folder."""
        return self.folder / name

    def close_renderer(self) -> None:
        """Let go of the open model."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def grid(self, task: GridTask) -> GridResult:
        """Render the missing cells of a grid, and score all of them."""
        weights = None
        if task.recipe:
            run = RunOptions(hash_inputs=False)
            weights = RecipeWeights(self.path(task.recipe), options=run, progress=self.progress)
        options = self.grid_options(task, weights)
        if weights is None:
            return run_grid(options, self._plain_renderer(), self.progress)
        self.close_renderer()
        with LocalRenderer("cpu", progress=self.progress, weights=weights.held) as renderer:
            weights.before = renderer.close
            return run_grid(options, renderer, self.progress)

    def grid_options(self, task: GridTask, weights: RecipeWeights | None = None) -> GridOptions:
        """The options that `lathe grid` would read from the task's command."""
        checkpoint, adapters = task.files[:1], task.files[1:]
        if weights is not None:
            checkpoint, adapters = (f"{task.recipe} {weights.step}",), task.files
        elif checkpoint:
            checkpoint = (str(self.path(checkpoint[0])),)
        folders = (self.folder,) if task.by_name else ()
        context = gather_context(
            family_by_id(BASE_FAMILY), lora_dirs=folders, checkpoint_dirs=folders, recipe=weights
        )
        request = self.request(checkpoint[0], adapters, task.prompt)
        return GridOptions(
            request,
            self.path(task.name),
            x=task.x,
            y=task.y,
            context=context,
            scorers=(*DEFAULT_SCORERS, *scorers_of(self.judge)),
            force=True,  # the folder is the demo's own
        )

    def blocks(self, task: BlocksTask) -> BlockReport:
        """Analyse the blocks of the task's adapter; several chapters ask for the same."""
        if task in self._analyzed:
            return self._analyzed[task]
        request = self.request(str(self.path(task.files[0])), task.files[1:], task.prompt)
        options = BlocksOptions(
            request,
            self.path(task.name),
            range=task.range,
            blocks="12ALL",
            seeds=task.seeds,
            force=True,
            context=gather_context(family_by_id(BASE_FAMILY)),
        )
        self._analyzed[task] = analyze_blocks(options, self._plain_renderer(), self.progress)
        return self._analyzed[task]

    def request(self, checkpoint: str, adapters: Sequence[str], prompt: str) -> ImageRequest:
        """A picture of the family: the settings of all commands of the demo."""
        return ImageRequest(
            checkpoint,
            prompt=prompt,
            **self.settings.of_pictures(),
            width=SIDE,
            height=SIDE,
            adapters=tuple(AdapterUse(str(self.path(name))) for name in adapters),
        )

    def write_profile(self) -> None:
        """The same settings as a file, for the commands that the report prints."""
        write_settings(self.path(PROFILE), self.settings.of_pictures(), force=True)

    def make(self, task: FileTask) -> None:
        """Make the task's files, unless they are there, made by the same recipe of the same inputs."""
        options = RunOptions(force=True)
        with open_session(task.recipe, options) as session:
            if self._is_made(session):
                return
            self._note(session, run_session(session, self.progress))

    def energies(self, file: str) -> Energies:
        """What `make` found when it extracted `file`."""
        found = self._made[file]
        kept, truncated, noise, outside = (float(found[name]) for name in SHARES)
        return Energies(kept, truncated, noise, outside, int(found["modules"]))

    def _plain_renderer(self) -> LocalRenderer:
        if self._renderer is None:
            self._renderer = LocalRenderer("cpu", progress=self.progress)
        return self._renderer

    def _is_made(self, session: Session) -> bool:
        """Whether every output has the record that it would get, and its numbers are known."""
        hashes = {name: content_hash(path) for name, path in session.plan.inputs.items()}
        for output in session.plan.outputs:
            file = output.save.file
            if not file.is_file() or file.name not in self._made:
                return False
            try:
                record = read_header(file).metadata.get(KEY)
            except InputError:  # not ours, or damaged: made again
                return False
            if record != metadata_of(session, output, hashes)[KEY]:
                return False
        return True

    def _note(self, session: Session, report: Report) -> None:
        for output in session.plan.outputs:
            self._made[output.save.file.name] = {}
        for found in report.extractions:
            assert found.path is not None
            total = found.total()
            shares = {name: getattr(total, name) / total.energy if total.energy else 0.0 for name in SHARES}
            self._made[found.path.name] = {**shares, "modules": found.written}
        write_whole(self.folder / MADE, json.dumps(self._made, indent=1).encode() + b"\n")


def _read_made(path: Path) -> dict[str, dict[str, float | str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or not ours: everything is made again
        return {}
    return found if isinstance(found, dict) else {}
