"""All outputs of one slice of a tensor: extractions first, then formulas that use them; leaves read once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from loralathe.adapters import load_factors, widened
from loralathe.engine.arguments import SliceArguments, prepare_leaf
from loralathe.engine.energies import CONVOLUTION, ENCODER, UNHELD, ModuleRecord
from loralathe.engine.evaluate import Band, Factors2d, MadeLeaf, checked_energy
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
    stretched,
)
from loralathe.engine.job import Context, Job, TensorRequest
from loralathe.engine.measure import SliceMeter
from loralathe.engine.outputs import AdapterOutput
from loralathe.engine.plan import has_kernel, most_of
from loralathe.engine.slices import RowSlice, SliceSum, SliceTerm, Unit, extractions_at, in_scope
from loralathe.engine.workers import on_gpu
from loralathe.families import block_label
from loralathe.language import (
    AdapterLeaf,
    CheckpointLeaf,
    ExtractLeaf,
    FactorMethod,
    Leaf,
    LinearExpression,
    MakeRows,
    MethodLeaf,
    RoundLeaf,
    inner_expressions,
)
from loralathe.lowrank import (
    Factors,
    Rounding,
    concatenate,
    dense,
    flatten_tucker,
    rounding_noise_energy,
    rounding_noise_sigma,
)
from loralathe.tensorfiles import DTYPES, to_torch_dtype

THICK = 256
"""From this rank on it may be cheaper to multiply factors out than to decompose both."""


def run_job(context: Context, job: Job) -> None:
    """Raises InputError for NaN, Inf or overflow, MachineError when writing fails."""
    for request in job.copies:
        _copy(context, request)
    if job.weights or job.adapters or job.surveys:
        for row_slice in job.unit.slices:
            RowSliceJob(context, job, row_slice).run()


def _copy(context: Context, request: TensorRequest) -> None:
    """A tensor that nothing touches, byte for byte; looked at only on --check-finite."""
    source = context.sources.checkpoints[request.tensor.primary]
    unit, spec = request.tensor.unit, request.tensor.spec
    if context.options.check_finite and DTYPES[spec.dtype].is_float:
        leaf = CheckpointLeaf(request.tensor.primary)
        copied = SliceSum((SliceTerm(leaf, 1.0),), ())
        for row_slice in unit.slices:
            for band in context.bands(unit, row_slice):
                value = band.value(leaf, "scan", request.tensor.primary)
                checked_energy(value, unit, copied, band, None)
    assert unit.key is not None
    sink = context.sinks.weights[request.step]
    sink.copy(spec.name, source.file, source.tensors[unit.key].name)


class RowSliceJob:
    """The work on one slice; keeps what was extracted for the formulas that need it."""

    def __init__(self, context: Context, job: Job, row_slice: RowSlice) -> None:
        self.context = context
        self.job = job
        self.unit = job.unit
        self.row_slice = row_slice
        self.extracted: dict[ExtractLeaf, Extracted] = {}
        self._factors: dict[tuple[Leaf, torch.dtype], Factors2d | None] = {}
        self._prepared: dict[tuple[MadeLeaf, str | None], MakeRows] = {}
        self._meters: dict[str, SliceMeter] = {}

    def run(self) -> None:
        extractions = self._extractions()
        levels = [leaf.expression.level for leaf in extractions]
        levels += [request.tensor.expression.level for request in self.job.weights]
        for level in sorted(set(levels)):
            due = [leaf for leaf in extractions if leaf.expression.level == level]
            weights = [request for request in self.job.weights if request.tensor.expression.level == level]
            self._make_level(due, weights)
        for meter in self._meters.values():
            meter.finish()
        for output in self.job.adapters:
            self._deliver(output)
        for leaf in self.job.surveys:
            if found := self.extracted.get(leaf):
                most = most_of(leaf, self.unit, self.row_slice)
                self.context.budget_survey.put(leaf, self.unit, self.row_slice, found, most)

    def _extractions(self) -> list[ExtractLeaf]:
        """Extractions that this slice needs, each once whatever its rounding."""
        found: dict[ExtractLeaf, None] = {}
        for request in self.job.weights:
            found.update(dict.fromkeys(extractions_at(request.tensor.expression, self.row_slice)))
        for output in self.job.adapters:
            found.update(dict.fromkeys(extractions_at(output.expression, self.row_slice)))
            found.setdefault(output.leaf.unrounded)
        for leaf in self.job.surveys:
            if in_scope(self.row_slice, leaf.options):
                found.update(dict.fromkeys(extractions_at(leaf.expression, self.row_slice)))
                found.setdefault(leaf)
        return list(found)

    def _specialized(self, expression: LinearExpression) -> SliceSum:
        return self.context.specializer.specialize(expression, self.unit, self.row_slice)

    def _make_level(self, extractions: list[ExtractLeaf], weights: list[TensorRequest]) -> None:
        """One pass over the rows serves all extractions and tensors that can be made now."""
        collectors: list[DeltaCollector] = []
        for leaf in extractions:
            if given := self.context.budget_survey.get(leaf, self.row_slice):
                self._take(leaf, given)
                continue
            slice_sum = self._specialized(leaf.expression)
            if slice_sum.dense:
                reason = self._why_outside(leaf)
                collectors.append(
                    DeltaCollector(
                        self.context, self.unit, self.row_slice, leaf, slice_sum, self._request(leaf), reason
                    )
                )
            elif slice_sum.lowrank:
                self._take(leaf, self._from_factors(leaf, slice_sum))
        if not collectors and not weights:
            return
        for band in self.context.bands(self.unit, self.row_slice, self.factors, self.prepared):
            for collector in collectors:
                collector.add(band)
            for request in weights:
                self._write(request, band)
        for collector in collectors:
            self._take(collector.leaf, collector.finish())

    def _take(self, leaf: ExtractLeaf, found: Extracted) -> None:
        """What later steps and outputs get; the first pass of a budget wants it as it is."""
        options = leaf.options
        if options.keep_norm and leaf not in self.job.surveys:
            component = self.row_slice.address.name.partition(".")[0]
            found = stretched(found, keep_noise=options.keep_noise or bool(options.encoder(component)))
        self.extracted[leaf] = found

    def _write(self, request: TensorRequest, band: Band) -> None:
        slice_sum = self._specialized(request.tensor.expression)
        step = request.step
        spec = request.tensor.spec
        dtype = to_torch_dtype(spec.dtype)
        # Sums in fp32 are invisible in 16 bits, but not in an fp32 output.
        working = torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32
        value = band.combine(slice_sum, step, request.tensor.primary, working)
        checked_energy(value, self.unit, slice_sum, band, dtype)
        narrow = self.context.workspace.get(("out", step), band.shape, dtype).copy_(value)
        row_bytes = self.unit.row_elements * DTYPES[spec.dtype].bits // 8
        self.context.sinks.weights[step].write(spec.name, narrow, band.start * row_bytes)
        if step in self.context.held:
            self._meter(request).add(band, value, narrow)

    def _meter(self, request: TensorRequest) -> SliceMeter:
        if request.step not in self._meters:
            context = self.context
            self._meters[request.step] = SliceMeter(
                context.held[request.step],
                request.tensor,
                self.row_slice,
                context.specializer,
                context.workspace,
            )
        return self._meters[request.step]

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
            if module.transpose:
                return plain.down.T, plain.up.T
            plain = widened(plain, (self.row_slice.rows, *self.unit.shape[1:]))
            return plain.up, plain.down
        if isinstance(leaf, ExtractLeaf):
            found = self.extracted.get(leaf.unrounded)
            if found is None or found.matrices is None:
                return None
            round_to = leaf.options.round_to
            up, down = rounded(found.matrices, to_torch_dtype(round_to)) if round_to else found.matrices
            return up.to(dtype), down.to(dtype)
        if isinstance(leaf, MethodLeaf) and isinstance(leaf.method, FactorMethod):
            arguments = [self._joined(expression) for expression in leaf.arguments]
            pair = leaf.method.of_factors(arguments, turned=module.transpose)
            return None if pair is None else (pair[0].to(dtype), pair[1].to(dtype))
        raise TypeError(f"{leaf} has no factors")

    def _joined(self, expression: LinearExpression) -> Factors2d | None:
        """A sum of low-rank leaves as one pair of factors, in float64; None where nothing is held."""
        terms, weights = self._terms(self._specialized(expression), torch.float64)
        if not terms:
            return None
        total = concatenate(terms, weights)
        return total.up, total.down

    def prepared(self, leaf: MadeLeaf, primary: str | None) -> MakeRows:
        """What makes a leaf's rows at this slice, once it has looked at all of it."""
        if (leaf, primary) not in self._prepared:
            arguments = SliceArguments(
                self.context, self.unit, self.row_slice, leaf, primary, self.factors, self.prepared
            )
            self._prepared[leaf, primary] = prepare_leaf(leaf, arguments)
        return self._prepared[leaf, primary]

    def _from_factors(self, leaf: ExtractLeaf, slice_sum: SliceSum) -> Extracted:
        terms, weights = self._terms(slice_sum)
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

    def _terms(
        self, slice_sum: SliceSum, dtype: torch.dtype = torch.float32
    ) -> tuple[list[Factors], list[float]]:
        """Factors and coefficients of the low-rank leaves that hold something here."""
        terms, weights = [], []
        for term in slice_sum.lowrank:
            pair = self.factors(term.leaf, dtype)
            if pair is not None:
                terms.append(Factors(*pair, (self.row_slice.rows, self.unit.row_elements)))
                weights.append(term.factor)
        return terms, weights

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
        if in_scope(self.row_slice, replace(leaf.options, conv=True)):
            return CONVOLUTION
        everything = replace(leaf.options, te1=None, te2=None, te3=None, conv=True)
        return ENCODER if in_scope(self.row_slice, everything) else UNHELD

    def _deliver(self, output: AdapterOutput) -> None:
        """Hand factors, and the record of what was kept, to an adapter output."""
        found, sink = self.extracted.get(output.leaf.unrounded), self.context.sinks.adapters[output.save.step]
        if found is None:
            return
        factors = self.factors(output.leaf)
        width = DTYPES[output.dtype].bits // 8
        record = ModuleRecord(
            name=self.row_slice.address.name,
            block=block_label(self.row_slice.address.name.partition(".")[0], self.row_slice.address.block),
            energy=found.energy,
            kept=found.kept,
            noise=found.noise.energy,
            rank=found.rank,
            reason=found.reason,
            nbytes=width * sum(factor.numel() for factor in factors) if factors else 0,
            weights=found.weights,
        )
        sink.record(record)
        if factors is not None and self.row_slice.module is not None:
            up, down = factors
            if self.row_slice.module.transpose:
                up, down = down.T.contiguous(), up.T.contiguous()
            sink.add(self.row_slice.module, up, down, (self.row_slice.rows, *self.unit.shape[1:]))


class DeltaCollector:
    """Takes the bands of one slice in order; `finish` extracts."""

    def __init__(
        self,
        context: Context,
        unit: Unit,
        row_slice: RowSlice,
        leaf: ExtractLeaf,
        slice_sum: SliceSum,
        request: Request,
        reason: str,
    ) -> None:
        self.context = context
        self.unit = unit
        self.row_slice = row_slice
        self.leaf = leaf
        self.slice_sum = slice_sum
        self.request = request
        self.reason = reason
        self.primary = leaf.expression.primary
        self.base_leaf = self._base(slice_sum)
        self.energy: list[float] = []
        self.base: list[float] = []
        self.matrix: torch.Tensor | None = None
        if in_scope(row_slice, leaf.options):
            shape = (row_slice.rows, unit.row_elements)
            pinned = on_gpu(context.options.device)
            self.matrix = context.workspace.get(("delta", leaf), shape, torch.float32, pinned)

    def add(self, band: Band) -> None:
        slot = ("delta", self.leaf)
        first = band.start - self.row_slice.start
        if self.matrix is None:
            value = band.combine(self.slice_sum, slot, self.primary)
        else:
            rows = self.matrix[first : first + band.shape[0]]
            value = band.combine_into(rows, self.slice_sum, slot, self.primary)
        self.energy.append(checked_energy(value, self.unit, self.slice_sum, band, None))
        if self.base_leaf is not None:
            base = band.value(self.base_leaf, slot, self.primary).reshape(-1)
            self.base.append(float(torch.dot(base, base)))

    def finish(self) -> Extracted:
        energy = math.fsum(self.energy)
        noise = self._noise()
        if self.matrix is None:
            return Extracted(None, energy, 0.0, self.reason, noise, math.fsum(self.base))
        options = self.leaf.options
        component = self.row_slice.address.name.partition(".")[0]
        if options.encoder(component):
            options = replace(options, keep_noise=True)
        seed = seed_of(self.row_slice.address.name)
        device = self.context.options.device
        found = extract_dense(self.matrix, energy, self.request, options, noise, seed, device)
        return replace(found, weights=math.fsum(self.base))

    def _noise(self) -> Noise:
        """Rounding noise of the inputs in this delta: the coarsest dtype, the largest coefficient."""
        shape = (self.row_slice.rows, self.unit.row_elements)
        count = shape[0] * shape[1]
        dtypes = list({name for term in self.slice_sum.dense for name in self._dtypes(term.leaf)})
        if not dtypes:
            return Noise()
        rms = math.sqrt(math.fsum(self.base) / count) if count else 0.0
        scale = max(abs(term.factor) * _gain(term.leaf) for term in self.slice_sum.dense)
        return Noise(
            rounding_noise_sigma(rms, shape, dtypes) * scale,
            rounding_noise_energy(rms, shape, dtypes) * scale**2,
        )

    def _base(self, slice_sum: SliceSum) -> Leaf | None:
        """The first weights among the terms, those inside methods too: their size sets the rounding."""
        for term in slice_sum.dense:
            if not isinstance(term.leaf, (AdapterLeaf, MethodLeaf)):
                return term.leaf
            for expression in inner_expressions(term.leaf):
                inner = self.context.specializer.specialize(expression, self.unit, self.row_slice)
                if found := self._base(inner):
                    return found
        return None

    def _dtypes(self, leaf: Leaf) -> Iterator[Rounding]:
        if isinstance(leaf, CheckpointLeaf):
            assert self.unit.key is not None
            yield self.context.sources.checkpoints[leaf.name].tensors[self.unit.key].rounding
        elif isinstance(leaf, RoundLeaf):
            yield leaf.dtype
        for expression in inner_expressions(leaf):
            # Specialised, so that a checkpoint that cancels out is not asked for: it may not even be open.
            inner = self.context.specializer.specialize(expression, self.unit, self.row_slice)
            for term in (*inner.dense, *inner.lowrank):
                yield from self._dtypes(term.leaf)


def _gain(leaf: Leaf) -> float:
    """How much larger a leaf makes the noise of what it is made of, methods inside methods included."""
    inside = (
        _gain(term.leaf) * abs(term.strength.unet)
        for expression in inner_expressions(leaf)
        for term in expression.terms
    )
    if isinstance(leaf, MethodLeaf):
        return leaf.method.gain * max(inside, default=1.0)
    return max(1.0, *inside) if isinstance(leaf, AdapterLeaf) and leaf.weights is not None else 1.0
