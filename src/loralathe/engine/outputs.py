"""What a plan holds: every output with its tensors or modules, and what becomes of each. Data alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from loralathe.engine.coverage import AdapterCoverage
from loralathe.engine.folder_output import FolderOutput
from loralathe.engine.slices import Unit
from loralathe.language import DEFAULT_RANK, ExtractLeaf, LinearExpression, Save
from loralathe.tensorfiles import DTYPES as FILE_DTYPES
from loralathe.tensorfiles import TensorSpec

Action = Literal["compute", "copy"]
Bucket = Literal[
    "changed", "copied", "strength 0", "kept by rule", "only in the first", "other shape", "baked VAE"
]  # fmt: skip
SCALES = "read with weights"
"""The bucket of tensors that the output does not have, as they are part of quantised weights."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of a checkpoint output: computed, or its bytes copied from the primary checkpoint.

    expression: what it is: the output's formula, or one file's own tensor (a baked VAE, what a rule keeps).
    primary:    the checkpoint that it is taken from where nothing changes it.
    """

    unit: Unit
    spec: TensorSpec
    action: Action
    bucket: Bucket
    expression: LinearExpression
    primary: str


@dataclass(frozen=True)
class WeightsOutput:
    """A checkpoint to be made. `tensors` is in the order of the primary file's data.

    metadata: copied from the inputs;  config: a `.yaml` to be copied beside the output.
    vae: the name under which the sources know the VAE that is baked in.
    scales: how many tensors of the primary file are read with quantised weights and not saved.
    dtype: of the weights, as options name it; 'source' where each keeps its own.
    folder: of an output that is a folder of diffusers
    """

    save: Save
    expression: LinearExpression
    primary: str
    tensors: tuple[TensorPlan, ...]
    discarded: tuple[str, ...]
    notes: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    vae: str | None = None
    scales: int = 0
    dtype: str = "source"
    folder: FolderOutput | None = None

    @property
    def buckets(self) -> Counter[str]:
        """How many tensors of the primary file fare how."""
        return Counter(tensor.bucket for tensor in self.tensors) + Counter({SCALES: self.scales})

    @property
    def nbytes(self) -> int:
        return sum(tensor.spec.nbytes for tensor in self.tensors)


@dataclass(frozen=True)
class AdapterOutput:
    """An adapter to be made; `units` are all tensors of which something is to be measured or kept.

    bounds: the most that the rank of each module in scope can be, by canonical name.
    """

    save: Save
    leaf: ExtractLeaf
    dtype: str
    units: tuple[Unit, ...]
    prediction: str
    bounds: dict[str, int]
    vae: None = None

    @property
    def expression(self) -> LinearExpression:
        """What is extracted."""
        return self.leaf.expression

    @cached_property
    def nominal(self) -> int:
        """The alpha of the whole file: the rank asked for, the largest of joined ones, else the default."""
        options = self.leaf.options
        if options.joined:
            return max(self.bounds.values(), default=1)
        return options.rank or DEFAULT_RANK

    @property
    def one_rank(self) -> int | None:
        """The rank that metadata names; None when modules differ by intention."""
        options = self.leaf.options
        same = options.joined and len(set(self.bounds.values())) == 1
        return self.nominal if options.is_fixed or same else None

    @property
    def max_nbytes(self) -> int:
        """Upper bound of the size of the tensors."""
        budget = self.leaf.options.budget
        total = sum(
            self.bounds[row_slice.address.name] * (row_slice.rows + unit.row_elements)
            for unit in self.units
            for row_slice in unit.slices
            if row_slice.address.name in self.bounds
        )
        nbytes = total * FILE_DTYPES[self.dtype].bits // 8
        return min(nbytes, int(budget.amount)) if budget and budget.kind == "size" else nbytes


Output = WeightsOutput | AdapterOutput


@dataclass(frozen=True)
class Plan:
    """Everything that a run will do. sizes: bytes of each input file."""

    outputs: tuple[Output, ...]
    inputs: Mapping[str, Path]
    coverage: Mapping[str, AdapterCoverage]
    warnings: tuple[str, ...]
    sizes: Mapping[str, int]
