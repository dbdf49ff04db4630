"""`run_demo`: unpack the family, play every chapter, write the report. `lathe demo` calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loralathe.demo.family import find_family, unpack_family
from loralathe.demo.material import Chapter
from loralathe.demo.report import words_of, write_report
from loralathe.demo.settings import FULL, QUICK
from loralathe.demo.story import looking, merging, travelling
from loralathe.demo.studio import Studio
from loralathe.progress import Progress

CHAPTERS: Mapping[str, Callable[[Studio], Chapter]] = {
    "family": looking.meet_family,
    "strength": looking.try_strengths,
    "cross": looking.cross_two,
    "blocks": looking.find_blocks,
    "merge": merging.merge_both_ways,
    "subtract": merging.subtract,
    "carry": travelling.carry_over,
    "difference": travelling.add_difference,
    "again": travelling.extract_again,
    "proof": travelling.prove,
}
"""In order; the keys are those of the report's words."""


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo.

    folder: for everything.  quick: a few pictures of each kind.  language: the report opens in it.
    family: where its parts are; None: see `find_family`.
    """

    folder: Path
    quick: bool = False
    language: str = "en"
    family: Path | None = None


@dataclass(frozen=True)
class DemoResult:
    """The chapters that were played, and the report."""

    chapters: tuple[Chapter, ...]
    report: Path

    def numbers(self) -> dict[str, dict[str, str]]:
        """Chapter → its numbers by name."""
        return {chapter.key: dict(chapter.numbers) for chapter in self.chapters}


def run_demo(options: DemoOptions, progress: Progress | None = None) -> DemoResult:
    """Play the article from beginning to end. Files of an earlier run are not made again.

    Raises MachineError for a damaged installation, InputError for other files in the way. On Ctrl-C all that
    is finished is kept, and the same call goes on from there.
    """
    progress = progress or Progress()
    family = find_family(options.family)
    progress.message(words_of(options.language)["unpack"])
    unpack_family(options.folder, family, progress)
    settings = QUICK if options.quick else FULL
    words = words_of(options.language)
    chapters = []
    with Studio(options.folder, family, settings, progress) as studio:
        studio.write_profile()
        for number, (key, play) in enumerate(CHAPTERS.items(), 1):
            progress.message(f"[{number}/{len(CHAPTERS)}] {words[f'{key}.title']}")
            chapters.append(play(studio))
    report = write_report(options.folder, chapters, options.language)
    return DemoResult(tuple(chapters), report)
