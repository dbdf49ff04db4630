"""Block labels for reports: text encoders apart, and words for what is in no block."""

from __future__ import annotations

from collections.abc import Iterable

from loralathe.architectures import Architecture

NO_BLOCK = "no block"
VAE = "VAE"
OTHER = "other"


def label_of_key(architecture: Architecture, key: str) -> str:
    """`TE1`, `IN04`, `no block`, `VAE`; `other` for keys of no component (marks, buffers)."""
    component = architecture.component_of_key(key)
    return _label(component, architecture.block_of_key(key))


def label_of_module(architecture: Architecture, name: str) -> str:
    """The same for a module's canonical name."""
    return _label(name.partition(".")[0], architecture.block_of_module(name))


def _label(component: str | None, block: str | None) -> str:
    if component is None:
        return OTHER
    if component.startswith("te"):
        return component.upper()
    return VAE if component == "vae" else block or NO_BLOCK


def in_model_order(labels: Iterable[str], architecture: Architecture | None) -> list[str]:
    """Labels sorted as the model runs: encoders, input, middle, output, the rest."""
    long_blocks = architecture.long_blocks[1:] if architecture else ()
    order = ("TE1", "TE2", *long_blocks, NO_BLOCK, VAE, OTHER)
    place = {label: number for number, label in enumerate(order)}
    return sorted(labels, key=lambda label: (place.get(label, len(order)), label))


def common_prefixes(keys: Iterable[str], most: int = 10, deepest: int = 4) -> dict[str, str]:
    """Key to a short group name, for files of unknown kind: as many path parts as give a readable list.

    Parts are added while all keys share them, or while the groups stay few.
    """
    keys = list(keys)
    depth = 1
    while depth < deepest and len({_cut(key, depth) for key in keys}) == 1:
        depth += 1
    while depth < deepest and len({_cut(key, depth + 1) for key in keys}) <= most:
        depth += 1
    return {key: _cut(key, depth) for key in keys}


def _cut(key: str, depth: int) -> str:
    """The first `depth` parts of a key, its last part (`weight`) never among them."""
    parts = key.split(".")
    return ".".join(parts[: max(1, min(depth, len(parts) - 1))])
