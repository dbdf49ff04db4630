"""What files are, how two differ, whether one is what its record says: inspect, compare, verify."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import File, Folders, Inputs, PathLike, as_path, require_kinds
from loralathe.api.search import Search

if TYPE_CHECKING:
    from loralathe.inspection import Comparison, Fitting, Inspection, Norm
    from loralathe.progress import Progress
    from loralathe.rendering.infotext import Reading
    from loralathe.verification import Verification

__all__ = [
    "block_norms", "compare", "file_hashes", "find_file", "fitting", "inspect", "model_files",
    "picture_notes", "verify",
]  # fmt: skip


def find_file(name: PathLike, *, lora_dir: Folders = (), checkpoint_dir: Folders = ()) -> Path:
    """The file that a name means, `hina` for hina.safetensors here or in a folder; a path is itself.

    Raises InputError, with close names, where folders have none of this name, and for several files.
    """
    return Search(lora_dir, checkpoint_dir).file(name, "file")


def model_files(path: PathLike) -> tuple[Path, ...]:
    """The files that a model is read from: itself, those of an index or a folder; none of any other folder.

    Raises InputError for a model that lacks shards.
    """
    from loralathe.tensorfiles import holds_model
    from loralathe.tensorfiles import model_files as files_of

    place = Path(path)
    if place.is_dir() and not holds_model(place):
        return ()
    return tuple(files_of(place))


def inspect(path: File) -> Inspection:
    """What a model file is and holds, from its header alone; no torch is imported.

    Raises InputError for other files.
    """
    from loralathe.inspection import inspect_file

    return inspect_file(as_path(path, "tensors"))


def block_norms(path: File, *, threads: int | None = None, progress: Progress | None = None) -> list[Norm]:
    """The norm of each block's weights, or of what an adapter adds to it, and of the whole at the end."""
    from loralathe.inspection import block_norms as norms
    from loralathe.progress import Progress

    return norms(as_path(path, "tensors"), progress or Progress(), threads)


def file_hashes(path: PathLike, *, progress: Progress | None = None) -> dict[str, str]:
    """AutoV1, AutoV2 and SHA-256, as web UIs and model sites show them; of safetensors kohya's, too.

    Of a folder or of shards only the SHA-256 that records hold.
    """
    from loralathe.tensorfiles import (
        autov1,
        content_hash,
        is_folder_model,
        legacy_hash,
        model_hash,
        open_tensorfile,
    )

    whole = content_hash(path, progress=progress)
    if is_folder_model(Path(path)):
        return {"SHA-256": whole}
    found = {"AutoV1": autov1(path), "AutoV2": whole[:10], "SHA-256": whole}
    with open_tensorfile(path) as file:
        if file.format == "safetensors":  # kohya's hashes are of safetensors' data section
            found |= {"sshs_model_hash": model_hash(path), "sshs_legacy_hash": legacy_hash(path)}
    return found


def picture_notes(path: PathLike) -> Reading:
    """What a PNG says about how it was made: prompt, negative prompt, and all other entries.

    Raises InputError for a picture that says nothing.
    """
    from loralathe.errors import InputError
    from loralathe.rendering.infotext import png_text, read_infotext
    from loralathe.rendering.machine import library

    library("PIL")
    text = png_text(Path(path))
    if text is None:
        raise InputError(
            "this picture does not say how it was made",
            where=str(path),
            fix="lathe and A1111 write it into their PNGs; a copy from a chat or a web page may have lost it",
        )
    return read_infotext(text)


def compare(
    x: File,
    y: File,
    base: File | None = None,
    *,
    rank: int | None = None,
    lora_dir: Folders = (),
    checkpoint_dir: Folders = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """What differs between two checkpoints or two adapters, block by block.

    base: compare what x and y changed in it, x − base with y − base;  rank: leading directions to compare.
    Raises InputError for files of two kinds or families.
    """
    from loralathe.inspection import compare_files

    search = Search(lora_dir, checkpoint_dir)
    given = None if base is None else search.checkpoint(base, "B")
    return compare_files(
        search.file(x, "X"), search.file(y, "Y"), given, rank=rank, progress=progress, threads=threads
    )


def fitting(
    lora: File,
    source: File,
    target: File,
    *,
    lora_dir: Folders = (),
    checkpoint_dir: Folders = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Fitting:
    """How a LoRA of `source` fits `target`: which block goes where, and how much the bases share.

    The bases may have other numbers of blocks (`transfer` then writes the LoRA anew).
    Raises InputError for bases of different families, or of no common origin.
    """
    from loralathe.inspection import fit_adapter

    search = Search(lora_dir, checkpoint_dir)
    paths = (
        search.lora(lora, "lora"),
        search.checkpoint(source, "source"),
        search.checkpoint(target, "target"),
    )
    require_kinds(paths[1:], paths[:1], fix="the LoRA comes first, the bases after it")
    return fit_adapter(*paths, progress=progress, threads=threads)


def verify(
    path: PathLike,
    inputs: Inputs | None = None,
    *,
    search: Iterable[PathLike] = (),
    lora_dir: Folders = (),
    checkpoint_dir: Folders = (),
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

    places = Search(lora_dir, checkpoint_dir)
    return verify_file(
        places.file(path, "file"),
        places.files(inputs),
        [*map(Path, search), *places.folders],
        VerifyOptions(share, least, everything, seed, exact),
        RunOptions(threads=threads),
        progress,
    )
