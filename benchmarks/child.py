"""One recipe in a process of its own, as a person would run it: `python -m benchmarks.child RECIPE.toml`.

Prints a line of JSON: seconds from the first import to the end, and of the work alone.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import argparse  # noqa: E402 -- the clock starts first
import json  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-hash", action="store_true")
    options = parser.parse_args()

    import torch  # noqa: F401 -- what a run needs anyhow; apart from the work, because it is a fixed cost

    from loralathe.engine import RunOptions, run_recipe
    from loralathe.language import read_recipe

    work = time.perf_counter()
    run = RunOptions(
        device=options.device, threads=options.threads, hash_inputs=not options.no_hash, force=True
    )
    report = run_recipe(read_recipe(options.recipe), run)
    end = time.perf_counter()
    found = {"whole": end - START, "work": end - work}
    for extraction in report.extractions:
        total = extraction.total()
        found |= {"written": extraction.written, "kept": total.kept / (total.energy - total.outside)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
