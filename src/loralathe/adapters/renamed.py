"""A LoRA file with its modules under other names, every tensor byte for byte as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from loralathe.adapters.inherited import inherited
from loralathe.adapters.keys import group_by_module
from loralathe.progress import Progress
from loralathe.tensorfiles import AdapterWriter, made_folders, open_tensorfile


def write_renamed(
    source: Path,
    output: Path,
    names: Mapping[str, Iterable[str]],
    metadata: Mapping[str, str],
    *,
    force: bool = False,
    inputs: Iterable[Path] = (),
    progress: Progress | None = None,
) -> Path:
    """Write the modules of `source` that are in `names`, each under its new names, none or several.

    metadata: put beside that of the source.  Raises as `AdapterWriter` does.
    """
    with open_tensorfile(source) as file, made_folders([output]):
        kept = inherited(file.header.metadata)
        grouped = group_by_module(file.header.tensors.keys()).parts
        keys = {raw: list(parts.values()) for raw, parts in grouped.items() if raw in names}
        with (
            AdapterWriter(output, {**kept, **metadata}, force=force, inputs=[source, *inputs]) as writer,
            (progress or Progress()).task(f"writing {output.name}", len(keys), "modules") as task,
        ):
            for raw, held in keys.items():
                for key in held:
                    info, data = file.info(key), file.read_bytes(key)
                    for name in names[raw]:
                        writer.add(name + key.removeprefix(raw), info.dtype, info.shape, data)
                task.advance(1)
            file.require_unchanged()
            return writer.commit()
