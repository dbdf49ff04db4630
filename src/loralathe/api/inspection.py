"""What files are, how two differ, whether one is what its record says: inspect, compare, verify."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.keywords import Inputs, PathLike, paths

if TYPE_CHECKING:
    from loralathe.inspection import Comparison, Inspection
    from loralathe.progress import Progress
    from loralathe.verification import Verification


def inspect(path: PathLike) -> Inspection:
    """What a safetensors file is and holds, from its header alone; no torch is imported.

    Raises InputError for what is no safetensors file.
    """
    from loralathe.inspection import inspect_file

    return inspect_file(path)


def compare(
    x: PathLike,
    y: PathLike,
    base: PathLike | None = None,
    *,
    rank: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """What differs between two checkpoints or two adapters, block by block.

    base: compare what x and y changed in it, x − base with y − base;  rank: leading directions to compare.
    Raises InputError for files of two kinds or families.
    """
    from loralathe.inspection import compare_files

    return compare_files(x, y, base, rank=rank, progress=progress, threads=threads)


def verify(
    path: PathLike,
    inputs: Inputs | None = None,
    *,
    search: Iterable[PathLike] = (),
    everything: bool = False,
    share: float = 0.02,
    least: int = 2,
    seed: int = 0,
    exact: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compute tensors of a file that loralathe made again, from its record, and compare.

    inputs, search: files by name, and folders to search; the file's own folder is searched, too, by content.
    everything: every tensor, else of each block the `share`, at least `least`, chosen by `seed`.
    exact: findings are also bytes that this version would write otherwise, be it within rounding.

    What does not match is a finding of the result: see `Verification.ok`. Raises InputError for a file
    without a record or with a damaged one, and for inputs that have changed or are not found.
    """
    from loralathe.engine import RunOptions
    from loralathe.verification import VerifyOptions, verify_file

    return verify_file(
        Path(path),
        paths(inputs),
        [Path(folder) for folder in search],
        VerifyOptions(share, least, everything, seed, exact),
        RunOptions(threads=threads),
        progress,
    )
