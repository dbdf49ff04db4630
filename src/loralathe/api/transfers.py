"""LoRAs for a base that was made from theirs: `transfer`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import File, Folders, PathLike, as_output, beside
from loralathe.api.look import fitting
from loralathe.language import stem

if TYPE_CHECKING:
    from loralathe.inspection import Fitting
    from loralathe.progress import Progress

__all__ = ["Transferred", "transfer"]


@dataclass(frozen=True)
class Transferred:
    """What `transfer` found, and the file that it wrote; None where the LoRA fits as it is."""

    fitting: Fitting
    file: Path | None


def transfer(
    lora: File,
    source: File,
    target: File,
    *,
    output: PathLike | None = None,
    force: bool = False,
    lora_dir: Folders = (),
    checkpoint_dir: Folders = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Transferred:
    """A LoRA of `source` for `target`, a base that was made from it with more, fewer or other blocks.

    Factors stay byte for byte; modules get the names of the blocks that came from theirs. Where nothing
    moves, no file is written: the LoRA is used as it is.
    output: a file; None for a name made from the inputs, beside the LoRA.
    Raises InputError as `fitting` does, and for outputs in the way.
    """
    from loralathe.adapters import write_renamed

    found = fitting(
        lora, source, target, lora_dir=lora_dir, checkpoint_dir=checkpoint_dir, threads=threads,
        progress=progress,
    )  # fmt: skip
    if not found.changes:
        return Transferred(found, None)
    file = as_output(output) or transferred_path(found)
    note = json.dumps(
        {"from": found.source.name, "to": found.target.name, "blocks": found.numbers}, sort_keys=True
    )
    written = write_renamed(
        found.adapter, file, found.moved, {"loralathe_transfer": note},
        force=force, inputs=[found.source, found.target], progress=progress,
    )  # fmt: skip
    return Transferred(found, written)


def transferred_path(found: Fitting) -> Path:
    """The name that `transfer` gives its file: 'hina-for-baseB.safetensors', beside the LoRA."""
    return beside(found.adapter, f"{stem(found.adapter)}-for-{stem(found.target)}")
