"""All outputs of one slice of a tensor: extractions first, then the forms that use them, leaves read once."""

from __future__ import annotations

from dataclasses import replace

import torch

from loralathe.adapters import load_factors
from loralathe.engine.adapter_plan import has_kernel, most_of
from loralathe.engine.arguments import SliceArguments
from loralathe.engine.collect import DeltaCollector
from loralathe.engine.evaluate import Band, Factors2d, checked_energy
from loralathe.engine.extraction import (
    Extracted,
    Noise,
    Request,
    extract_dense,
    extract_factored,
    join_factored,
    measure_factored,
    rounded,
    seed_of,
)
from loralathe.engine.job import Context, Job, ModuleRequest, TensorRequest
from loralathe.engine.report import ModuleRecord
from loralathe.engine.specialize import SliceSum, extractions_at, in_scope
from loralathe.engine.units import RowSlice
from loralathe.families.labels import block_label
from loralathe.language.expressions import (
    AdapterLeaf,
    ExtractLeaf,
    Leaf,
    LinearExpression,
    MethodLeaf,
)
from loralathe.language.methods.method import MakeRows
from loralathe.lowrank import Factors, concatenate, dense, flatten_tucker
from loralathe.tensorfiles import DTYPES, to_torch_dtype

THICK = 256
"""From this rank on it may be cheaper to multiply factors out than to decompose both."""


class RowSliceJob:
    """The work on one slice; keeps what was extracted for the forms that need it."""

    def __init__(self, context: Context, job: Job, row_slice: RowSlice) -> None:
        self.context = context
        self.job = job
        self.unit = job.unit
        self.row_slice = row_slice
        self.extracted: dict[ExtractLeaf, Extracted] = {}
        self._factors: dict[tuple[Leaf, torch.dtype], Factors2d | None] = {}
        self._prepared: dict[tuple[MethodLeaf, str | None], MakeRows] = {}

    def run(self) -> None:
        extractions = self._extractions()
        levels = [leaf.expression.level for leaf in extractions]
        levels += [want.expression.level for want in self.job.weights]
        for level in sorted(set(levels)):
            due = [leaf for leaf in extractions if leaf.expression.level == level]
            weights = [want for want in self.job.weights if want.expression.level == level]
            self._make_level(due, weights)
        for want in self.job.adapters:
            self._deliver(want)
        for survey in self.job.surveys:
            if found := self.extracted.get(survey.leaf):
                most = most_of(survey.leaf, self.unit, self.row_slice)
                survey.budget_survey.put(survey.leaf, self.unit, self.row_slice, found, most)

    def _extractions(self) -> list[ExtractLeaf]:
        """Extractions that this slice needs, each once whatever its rounding."""
        found: dict[ExtractLeaf, None] = {}
        for want in self.job.weights:
            found.update(dict.fromkeys(extractions_at(want.expression, self.row_slice)))
        for wish in self.job.adapters:
            found.update(dict.fromkeys(extractions_at(wish.output.leaf.expression, self.row_slice)))
            found.setdefault(wish.output.leaf.unrounded)
        for survey in self.job.surveys:
            if in_scope(self.row_slice, survey.leaf.options):
                found.update(dict.fromkeys(extractions_at(survey.leaf.expression, self.row_slice)))
                found.setdefault(survey.leaf)
        return list(found)

    def _local(self, expression: LinearExpression) -> SliceSum:
        return self.context.specializer.specialize(expression, self.unit, self.row_slice)

    def _make_level(self, extractions: list[ExtractLeaf], weights: list[TensorRequest]) -> None:
        """One pass over the rows serves all extractions and tensors that can be made now."""
        collectors: list[DeltaCollector] = []
        for leaf in extractions:
            if given := self.context.budget_survey.get(leaf, self.row_slice):
                self.extracted[leaf] = given
                continue
            slice_sum = self._local(leaf.expression)
            if slice_sum.dense:
                reason = self._why_outside(leaf)
                collectors.append(
                    DeltaCollector(
                        self.context, self.unit, self.row_slice, leaf, slice_sum, self._request(leaf), reason
                    )
                )
            elif slice_sum.lowrank:
                self.extracted[leaf] = self._from_factors(leaf, slice_sum)
        if not collectors and not weights:
            return
        for band in self.context.bands(self.unit, self.row_slice, self.factors, self.prepared):
            for collector in collectors:
                collector.add(band)
            for want in weights:
                self._write(want, band)
        for collector in collectors:
            self.extracted[collector.leaf] = collector.finish()

    def _write(self, want: TensorRequest, band: Band) -> None:
        slice_sum = self._local(want.expression)
        step = want.output.save.step
        spec = want.tensor.spec
        dtype = to_torch_dtype(spec.dtype)
        # Sums in fp32 are invisible in 16 bits, but not in an fp32 output.
        working = torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32
        value = band.combine(slice_sum, step, want.primary, working)
        checked_energy(value, self.unit, slice_sum, band, dtype)
        narrow = self.context.workspace.get(("out", step), band.shape, dtype).copy_(value)
        row_bytes = self.unit.row_elements * DTYPES[spec.dtype].bits // 8
        want.sink.write(spec.name, narrow, band.start * row_bytes)

    def factors(self, leaf: Leaf, dtype: torch.dtype = torch.float32) -> Factors2d | None:
        """Matrices of a low-rank leaf at this slice; None when it holds nothing here."""
        if (leaf, dtype) not in self._factors:
            self._factors[leaf, dtype] = self._load(leaf, dtype)
        return self._factors[leaf, dtype]

    def _load(self, leaf: Leaf, dtype: torch.dtype) -> Factors2d | None:
        module = self.row_slice.module
        if module is None:
            return None
        if isinstance(leaf, AdapterLeaf):
            adapter = self.context.sources.adapters[leaf.name]
            plain = flatten_tucker(load_factors(adapter, adapter.modules[module.name], dtype))
            return (plain.down.T, plain.up.T) if module.transpose else (plain.up, plain.down)
        if isinstance(leaf, ExtractLeaf):
            found = self.extracted.get(leaf.unrounded)
            if found is None or found.matrices is None:
                return None
            round_to = leaf.options.round_to
            up, down = rounded(found.matrices, to_torch_dtype(round_to)) if round_to else found.matrices
            return up.to(dtype), down.to(dtype)
        raise TypeError(f"{leaf} has no factors")

    def prepared(self, leaf: MethodLeaf, primary: str | None) -> MakeRows:
        """What makes a method's rows at this slice, once it has looked at all of it."""
        if (leaf, primary) not in self._prepared:
            arguments = SliceArguments(
                self.context, self.unit, self.row_slice, leaf, primary, self.factors, self.prepared
            )
            self._prepared[leaf, primary] = leaf.method.prepare(arguments)
        return self._prepared[leaf, primary]

    def _from_factors(self, leaf: ExtractLeaf, slice_sum: SliceSum) -> Extracted:
        terms, weights = [], []
        for term in slice_sum.lowrank:
            pair = self.factors(term.leaf)
            if pair is not None:
                terms.append(Factors(*pair, (self.row_slice.rows, self.unit.row_elements)))
                weights.append(term.factor)
        if not terms:
            return Extracted(None, 0.0, 0.0, "zero")
        if in_scope(self.row_slice, leaf.options):
            if leaf.options.joined:
                return join_factored(terms, weights)
            rank, side = sum(term.rank for term in terms), min(self.row_slice.rows, self.unit.row_elements)
            if rank > THICK and 2 * rank > side:
                return self._from_product(leaf, concatenate(terms, weights))
            return extract_factored(terms, weights, self._request(leaf))
        return measure_factored(terms, weights, self._why_outside(leaf))

    def _from_product(self, leaf: ExtractLeaf, total: Factors) -> Extracted:
        """Factors that are hardly thinner than their product (LoKr, full differences) are multiplied out."""
        delta = dense(total)
        energy = float(delta.double().square().sum())
        seed, device = seed_of(self.row_slice.address.name), self.context.options.device
        return extract_dense(delta, energy, self._request(leaf), leaf.options, Noise(), seed, device)

    def _request(self, leaf: ExtractLeaf) -> Request:
        kernel = has_kernel(self.unit)
        depth = self.context.budget_survey.depths.get((leaf, self.row_slice.address.name))
        return Request(depth or leaf.options.cap(kernel), leaf.options.rule_for(kernel))

    def _why_outside(self, leaf: ExtractLeaf) -> str:
        """Left out by an option of the person's, or outside of what any LoRA holds."""
        everything = replace(leaf.options, te1=None, te2=None, te3=None, conv=True)
        return "left out" if in_scope(self.row_slice, everything) else "outside"

    def _deliver(self, want: ModuleRequest) -> None:
        """Hand factors, and the record of what was kept, to an adapter output."""
        leaf = want.output.leaf
        found = self.extracted.get(leaf.unrounded)
        if found is None:
            return
        factors = self.factors(leaf)
        width = DTYPES[want.output.dtype].bits // 8
        record = ModuleRecord(
            name=self.row_slice.address.name,
            block=block_label(self.row_slice.address.name.partition(".")[0], self.row_slice.address.block),
            energy=found.energy,
            kept=found.kept,
            noise=found.noise.energy,
            rank=found.rank,
            reason=found.reason,
            nbytes=width * sum(factor.numel() for factor in factors) if factors else 0,
        )
        want.sink.record(record)
        if factors is not None and self.row_slice.module is not None:
            up, down = factors
            if self.row_slice.module.transpose:
                up, down = down.T.contiguous(), up.T.contiguous()
            want.sink.add(self.row_slice.module, up, down, (self.row_slice.rows, *self.unit.shape[1:]))
