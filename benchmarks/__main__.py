"""`make bench`: make the files, time every case, print a table, delete the files."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from benchmarks.bench import Bench, Row
from benchmarks.cases import CASES
from benchmarks.machine import Machine, survey
from benchmarks.make_files import FAMILIES, SCRATCH, make_files

HEAD = (
    "| files | job | whole s | work s | against | s | ratio | of work | limit s | limited by | peak MB |",
    "|---|---|---:|---:|---|---:|---:|---:|---:|---|---:|",
)


def line(row: Row) -> str:
    """One row of the table; a broken memory bound is marked."""
    run = row.run
    peak = "–" if run.peak is None else f"{run.peak / 1e6:.0f}"
    if run.peak is not None and row.bound is not None and run.peak > row.bound:
        peak += f" **over {row.bound / 1e6:.0f}**"
    cells = (
        row.family,
        f"{row.job} (×{row.runs})",
        f"{run.whole:.2f}",
        f"{run.work:.2f}",
        row.baseline,
        f"{row.seconds:.2f}",
        f"{row.ratio:.2f}",
        f"{row.work_ratio:.2f}",
        f"{row.limit:.2f}",
        row.limit_by,
        peak,
    )
    return "| " + " | ".join(cells) + " |"


def report(machine: Machine, rows: Iterable[str]) -> str:
    return "\n".join([*machine.lines(), "", *HEAD, *rows])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="SD 1.5 only: 10 GB of disk instead of 45")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="repeats of each case (default 3)")
    parser.add_argument(
        "--seconds", type=float, default=45, help="no further repeat of a case after this long"
    )
    parser.add_argument("--folder", type=Path, help="on the disk that counts (default: here)")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints there for the next time")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    families = options.family or (["sd15"] if options.quick else list(FAMILIES))
    # A folder of its own, because it is deleted with everything in it.
    folder = options.folder / "loralathe-bench" if options.folder else SCRATCH
    start = time.monotonic()
    rows: list[str] = []
    machine: Machine | None = None
    try:
        for family in families:
            print(f"making the files of {FAMILIES[family].label} …", file=sys.stderr)
            files = make_files(family, folder)
            machine = machine or survey(folder, files.A)
            bench = Bench(family, files, folder, machine, options.rounds, options.seconds)
            for row in chain.from_iterable(CASES[name](bench) for name in options.case or CASES):
                rows.append(line(row))
                print(rows[-1], file=sys.stderr, flush=True)
            if not options.keep:
                files.delete()
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    assert machine is not None
    text = report(machine, rows)
    print(text)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes", file=sys.stderr)
    if options.output:
        options.output.write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
