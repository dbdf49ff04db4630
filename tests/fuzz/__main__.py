"""`python -m fuzz`: draw, run, judge, count; keep what failed."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from fuzz.campaign import Campaign, campaign
from fuzz.case import read_case
from fuzz.fixtures import write_fixtures
from fuzz.targets import TARGETS
from fuzz.verdict import complaint
from fuzz.worker import Worker, run_lathe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long, over all targets (120)")
    parser.add_argument("--cases", type=int, help="this many of each target, instead of --seconds")
    parser.add_argument("--seed", type=int, default=None, help="same seed, same cases (drawn, and printed)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this; repeatable")
    parser.add_argument("--limit", type=float, default=30, help="seconds that one case may take (30)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where failures are kept")
    parser.add_argument(
        "--replay", type=Path, nargs="+", metavar="FILE", help="run kept cases again, before --cases if given"
    )
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # words may hold half characters
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    preload()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        fixtures = Path(scratch, "fixtures")
        write_fixtures(fixtures)
        worker = Worker(fixtures, Path(scratch), run_words, options.limit)
        try:
            failed = replay(worker, options.replay) if options.replay else 0
            if failed or (options.replay and options.cases is None):
                return failed
            seed = Random().randrange(10**6) if options.seed is None else options.seed
            plan = Campaign(
                options.target or list(TARGETS), seed, options.seconds, options.cases, options.keep
            )
            return campaign(plan, worker, fixtures)
        finally:
            worker.close()


def preload() -> None:
    """What commands import: a worker that is forked from here has it already."""
    import torch

    import loralathe.cli.app
    import loralathe.engine.execute
    import loralathe.engine.row_slice
    import loralathe.inspection
    import loralathe.rendering
    import loralathe.studies  # noqa: F401
    from loralathe import need_libraries

    need_libraries()
    torch.set_num_threads(1)


def run_words(words: Sequence[str]) -> int:
    """`lathe WORDS`; a first word with @ is a call that stands behind a command."""
    from loralathe.cli.guard import guarded

    call = CALLS.get(words[0])
    return guarded(lambda: call(words[1]), words) if call else run_lathe(words)


def _read_infotext(text: str) -> None:
    from loralathe.rendering.infotext import read_infotext

    read_infotext(text)


def _read_picture(path: str) -> None:
    from loralathe.rendering.infotext import png_text

    _read_infotext(png_text(Path(path)) or "")


def _plan_prompt(text: str) -> None:
    from loralathe.rendering.prompts import lift_tags, parse_emphasis, plan_prompt

    tagged = lift_tags(text)
    plan_prompt(tagged.prompt, 20)
    parse_emphasis(tagged.prompt)


def _draw_seeds(folder: str) -> None:
    from loralathe.studies.store import SeedBook

    book = SeedBook(Path(folder))
    for _ in range(5):
        seed = book.next()
        assert 0 <= seed < 2**64, seed


CALLS: dict[str, Callable[[str], None]] = {
    "@infotext": _read_infotext,
    "@png": _read_picture,
    "@prompt": _plan_prompt,
    "@seeds": _draw_seeds,
}


def replay(worker: Worker, files: list[Path]) -> int:
    failed = 0
    for file in files:
        case = read_case(file)
        outcome = worker(case)
        said = complaint(case, outcome)
        failed += said is not None
        print(f"{file.name}: lathe {shlex.join(case.words)[:500]}")
        print(f"  exit code {outcome.code}; {said or 'as promised'}")
        if len(files) == 1:
            print(outcome.out + outcome.err)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
