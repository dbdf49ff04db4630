"""Block labels for reports: text encoders apart, and words for what is in no block."""

from __future__ import annotations

from collections.abc import Iterable

from loralathe.families import COMPONENT_NAMES, Family

NO_BLOCK = "no block"
VAE = "VAE"
OTHER = "other"
ORDER = ("transformer", *COMPONENT_NAMES.values())


def label_of_key(family: Family, key: str) -> str:
    """`TE1`, `CLIP`, `IN04`, `no block`, `VAE`; `other` for keys of no component (marks, buffers)."""
    component = family.component_of_key(key)
    return block_label(component, family.block_of_key(key))


def label_of_module(family: Family, name: str) -> str:
    """The same for a module's canonical name."""
    return block_label(name.partition(".")[0], family.block_of_module(name))


def block_label(component: str | None, block: str | None) -> str:
    """Block of a component for reports: where all encoders share BASE, each under its own name."""
    if component is None:
        return OTHER
    if component.startswith("te"):
        return component.upper() if block in (None, "BASE") else block
    return VAE if component == "vae" else block or NO_BLOCK


def in_model_order(labels: Iterable[str], family: Family | None) -> list[str]:
    """Labels sorted as the model runs: encoders, input, middle, output, the rest."""
    long_blocks = family.long_blocks if family else ()
    order = ("TE1", "TE2", "TE3", *long_blocks, NO_BLOCK, VAE, OTHER)
    place = {label: number for number, label in enumerate(order)}
    return sorted(labels, key=lambda label: (place.get(label, len(order)), label))


def component_name(component: str | None, family: Family) -> str:
    """A network in words: U-Net, transformer, text encoder 1, VAE."""
    if component == "unet":
        return family.denoiser.kind
    return COMPONENT_NAMES.get(component or "", OTHER)


def component_order(name: str) -> tuple[int, str]:
    """Where a part named so stands in a list: networks first."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


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
