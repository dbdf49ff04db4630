"""What a header tells about a file: plain data for people and for --json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Part:
    """A group of tensors: a component, a block, or a common beginning of keys."""

    name: str
    tensors: int
    parameters: int
    nbytes: int
    dtypes: Mapping[str, int] = field(hash=False)
    """dtype → parameters, commonest first."""


@dataclass(frozen=True)
class CheckpointFacts:
    """A recognised checkpoint.

    variant, prediction: as `Detected`;  blocks: names of the short and the long block list.
    kept_by_rule: tensors that are never averaged, by the rule's name.
    """

    variant: str
    in_channels: int
    prediction: str | None
    prediction_source: str
    short_blocks: tuple[str, ...]
    long_blocks: tuple[str, ...]
    kept_by_rule: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BlockModules:
    """Modules of an adapter in one block. ranks: rank → modules."""

    block: str
    modules: int
    ranks: Mapping[int, int] = field(hash=False)


@dataclass(frozen=True)
class AdapterFacts:
    """A recognised adapter.

    kinds, ranks, alphas, components: value → number of modules; modules without a rank or an alpha
    are under None.  missing: blocks of the long list that hold no module.
    unmatched: raw names of modules that the family does not have, and keys that belong to no module.
    """

    dialect: str
    kinds: Mapping[str, int]
    ranks: Mapping[int | None, int]
    alphas: Mapping[float | None, int]
    components: Mapping[str, int]
    coverage: tuple[BlockModules, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]

    @property
    def modules(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Inspection:
    """One file, from its header (and an adapter's alphas) alone.

    kind:   'checkpoint', 'adapter' or 'other';  what: the same in words for people.
    family: id of the model family, None when it is not a supported one.
    layout: 'original', an adapter's dialect, or None.
    note:   why the file cannot be worked on, where it cannot.
    parts:  components of a checkpoint or adapter, else groups of keys.
    record: how loralathe made it, None when it did not.
    format: 'safetensors' or 'pickle';  left_out: what a pickle holds beside the model's tensors.
    """

    path: Path
    kind: str
    what: str
    family: str | None
    layout: str | None
    note: str | None
    size: int
    tensors: int
    parameters: int
    dtypes: Mapping[str, int]
    parts: tuple[Part, ...]
    metadata: Mapping[str, str]
    record: Mapping[str, object] | None
    checkpoint: CheckpointFacts | None = None
    adapter: AdapterFacts | None = None
    format: str = "safetensors"
    left_out: tuple[str, ...] = ()
