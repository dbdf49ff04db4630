"""From headers alone: what every output will hold, tensor by tensor, and which work makes it.

A plan is data. It is complete before the first tensor is read: what headers can tell fails here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from loralathe.adapters import fits, fits_first_channels
from loralathe.engine.folder_output import folder_output
from loralathe.engine.options import DTYPES, RunOptions
from loralathe.engine.outputs import Action, AdapterOutput, Bucket, Output, TensorPlan, WeightsOutput
from loralathe.engine.pairs import channel_notes, check_checkpoints
from loralathe.engine.patterns import found_by
from loralathe.engine.quantised import quantised_notes
from loralathe.engine.sidecars import (
    config_beside,
    config_target,
    copied_metadata,
    open_vae,
    refuse_checkpoint_choices,
)
from loralathe.engine.slices import (
    ModuleAddress,
    RowSlice,
    Specializer,
    Unit,
    in_scope,
    modules_by_key,
    unit_of_key,
)
from loralathe.engine.sources import CheckpointSource, Sources
from loralathe.errors import InputError, counted, did_you_mean
from loralathe.language import (
    DIFFUSERS,
    AdapterLeaf,
    ExtractLeaf,
    FactorMethod,
    LinearExpression,
    MethodLeaf,
    Save,
    checkpoint_terms,
    inner_expressions,
    plain_expression,
    require_weights,
    single_leaf,
)
from loralathe.strengths import Strength, check_blocks
from loralathe.tensorfiles import DTYPES as FILE_DTYPES
from loralathe.tensorfiles import TensorSpec


class Planner:
    """Plans outputs over open sources."""

    def __init__(self, sources: Sources, options: RunOptions) -> None:
        self.sources = sources
        self.options = options
        self.specializer = Specializer(sources)
        self._units: dict[str, dict[str, Unit]] = {}

    def output(self, save: Save, expression: LinearExpression) -> Output:
        """Plan one saved step; InputError when it is neither weights nor an extracted adapter."""
        where = f"step '{save.step}'"
        check_checkpoints(expression, self.sources, self.options)
        self._check_blocks(expression, where)
        leaf = single_leaf(expression)
        if isinstance(leaf, ExtractLeaf):
            return self._adapter(save, leaf)
        require_weights(expression, f"'{save.step}' is to be saved, but it", where)
        return self._weights(save, expression, where)

    def _check_blocks(self, expression: LinearExpression, where: str) -> None:
        """Block lists on checkpoint deltas must cover every tensor; the error counts all that they miss."""
        for name, strength in (*checkpoint_terms(expression), *_method_strengths(expression)):
            if strength.blocks is not None:
                slices = (row_slice for unit in self.units_of(name).values() for row_slice in unit.slices)
                try:
                    check_blocks(strength, (row_slice.address for row_slice in slices))
                except InputError as error:
                    raise InputError(error.what, where=f"{where}: {error.where}", fix=error.fix) from None

    def units_of(self, name: str) -> Mapping[str, Unit]:
        """The units of a checkpoint, in the order of its data."""
        if name not in self._units:
            source = self.sources.checkpoints[name]
            held = modules_by_key(source.modules)
            family = source.detected.family
            self._units[name] = {
                key: unit_of_key(key, info.shape, held.get(key, ()), family)
                for key, info in source.tensors.items()
            }
        return self._units[name]

    def _weights(self, save: Save, expression: LinearExpression, where: str) -> WeightsOutput:
        primary = expression.primary
        if primary is None:
            raise InputError("the checkpoints cancel; nothing gives the output its tensors", where=where)
        target = target_dtype(save.dtype, where)
        source = self.sources.checkpoints[primary]
        others = [name for name in expression.checkpoints if name != primary]
        vae = None
        if save.vae is not None:
            vae = open_vae(
                save, save.vae, self.sources, primary, allow_unmatched=self.options.allow_unmatched
            )
        named = {key: source.saved_as(key) for key in self.units_of(primary)}
        discarded = () if save.discard is None else found_by(save.discard, named, where)
        left_out, tensors = set(discarded), []
        for key, unit in self.units_of(primary).items():
            if key in left_out:
                continue
            if vae is not None and key in vae.tensors:
                tensors.append(_baked(vae, unit, target))
            else:
                tensors.append(self._tensor(expression, unit, primary, target, others))
        if save.discard is not None and not discarded:
            raise InputError(
                f"discard = '{save.discard}' matches no tensor",
                where=where,
                fix=f"it is searched in names such as '{source.saved_as(next(iter(source.tensors)))}'",
                about="discard",
            )
        if not tensors:
            raise InputError(
                f"discard = '{save.discard}' matches every tensor, nothing would be saved",
                where=where,
                fix="write a pattern that leaves some: '^model_ema' matches names that begin so",
                about="discard",
            )
        if save.layout == DIFFUSERS:  # where no prefix is left out
            tensors = [replace(one, spec=replace(one.spec, name=one.unit.name)) for one in tensors]
        folder = folder_output(save, source, [tensor.spec for tensor in tensors], where)
        if folder is not None:
            left_out = set(folder.layout.left_out)
            tensors = [tensor for tensor in tensors if tensor.spec.name not in left_out]
        config = config_beside(save, self.sources.paths, [primary, *others])
        return WeightsOutput(
            save,
            expression,
            primary,
            tuple(tensors),
            discarded,
            (
                *_notes(save, source.name, expression, tensors, config),
                *channel_notes(expression, self.sources),
                *quantised_notes(
                    [self.sources.checkpoints[name] for name in expression.checkpoints], source, target
                ),
                *(folder.notes if folder else ()),
            ),
            copied_metadata(save, self.sources, [primary, *others], expression.adapters),
            config,
            vae.name if vae else None,
            len(source.file.scales),
            save.dtype or ("bf16" if source.file.is_quantised else "source"),
            folder,
        )

    def _tensor(
        self, expression: LinearExpression, unit: Unit, primary: str, target: str | None, others: list[str]
    ) -> TensorPlan:
        assert unit.key is not None
        source = self.sources.checkpoints[primary]
        info = source.tensors[unit.key]
        family = source.detected.family
        castable = FILE_DTYPES[info.dtype].is_float and not family.is_frozen(unit.key)
        dtype = (target or source.saved_dtype(unit.key)) if castable else info.dtype
        spec = TensorSpec(source.saved_as(unit.key), dtype, info.shape)
        if not castable or family.rule_for_key(unit.key) is not None:
            return _plain(source, unit, spec, "kept by rule")
        sums = [self.specializer.specialize(expression, unit, row_slice) for row_slice in unit.slices]
        if not all(slice_sum.is_copy_of(primary) for slice_sum in sums):
            return TensorPlan(unit, spec, "compute", "changed", expression, primary)
        modules = {row_slice.module.name for row_slice in unit.slices if row_slice.module}
        bucket: Bucket = "copied"
        sources = [self.sources.checkpoints[name] for name in others]
        if any(unit.key not in other.tensors for other in sources):
            bucket = "only in the first"
        elif not all(other.takes_part(unit.key, unit.shape) for other in sources):
            bucket = "other shape"
        elif any(modules & self.sources.adapters[name].modules.keys() for name in expression.adapters):
            bucket = "strength 0"
        action: Action = "copy" if dtype == info.dtype else "compute"
        return TensorPlan(unit, spec, action, bucket, expression, primary)

    def _adapter(self, save: Save, leaf: ExtractLeaf) -> AdapterOutput:
        where = f"step '{save.step}'"
        refuse_checkpoint_choices(save, where)
        dtype = target_dtype(save.dtype or leaf_dtype(leaf), where) or "F16"
        primary = leaf.expression.primary
        prediction = "epsilon"
        if primary is not None:
            prediction = self.sources.checkpoints[primary].detected.prediction or prediction
        units = self.extraction_units(leaf)
        if not units:
            raise InputError(
                "there is nothing to extract: the delta is 0 everywhere",
                where=where,
                fix="subtract two different models, or merge something first: extract(A + 0.7*lora - A)",
            )
        bounds = rank_bounds(leaf, units, self.specializer)
        return AdapterOutput(save, leaf, dtype, units, prediction, bounds)

    def extraction_units(self, leaf: ExtractLeaf) -> tuple[Unit, ...]:
        """Everything that an extraction looks at: the float tensors of a checkpoint, or adapters' modules.

        The checkpoint may be one that only an extraction inside looks at.
        """
        inner = (leaf.expression for leaf in leaf.expression.leaves if isinstance(leaf, ExtractLeaf))
        primary = leaf.expression.primary or next(
            filter(None, (expression.primary for expression in inner)), None
        )
        if primary is None:
            return tuple(adapter_units(leaf.expression, self.sources))
        source = self.sources.checkpoints[primary]
        return tuple(
            unit
            for key, unit in self.units_of(primary).items()
            if source.detected.family.rule_for_key(key) is None
            and FILE_DTYPES[source.tensors[key].dtype].is_float
        )


def has_kernel(unit: Unit) -> bool:
    """Whether a tensor is a k×k convolution, k > 1."""
    return any(size > 1 for size in unit.shape[2:])


def rank_bounds(leaf: ExtractLeaf, units: tuple[Unit, ...], specializer: Specializer) -> dict[str, int]:
    """The most that each module's rank can be: the cap, its smaller side, the ranks that are joined."""
    return {
        row_slice.address.name: _bound(leaf, unit, row_slice, specializer)
        for unit in units
        for row_slice in unit.slices
        if in_scope(row_slice, leaf.options)
    }


def most_of(leaf: ExtractLeaf, unit: Unit, row_slice: RowSlice) -> int:
    """The largest rank that the options and the smaller side of a module allow."""
    side = min(row_slice.rows, unit.row_elements)
    return min(leaf.options.cap(has_kernel(unit)) or side, side)


def _bound(leaf: ExtractLeaf, unit: Unit, row_slice: RowSlice, specializer: Specializer) -> int:
    if not leaf.options.joined:
        return most_of(leaf, unit, row_slice)
    return _joined_rank(leaf.expression, unit, row_slice, specializer)


def _joined_rank(
    expression: LinearExpression, unit: Unit, row_slice: RowSlice, specializer: Specializer
) -> int:
    """Of the factors of a sum, side by side."""
    total = 0
    for term in specializer.specialize(expression, unit, row_slice).lowrank:
        if isinstance(term.leaf, AdapterLeaf) and row_slice.module is not None:
            total += specializer.sources.adapters[term.leaf.name].modules[row_slice.module.name].rank
        elif isinstance(term.leaf, ExtractLeaf):
            total += _bound(term.leaf, unit, row_slice, specializer)
        elif isinstance(term.leaf, MethodLeaf) and isinstance(term.leaf.method, FactorMethod):
            inner = (_joined_rank(one, unit, row_slice, specializer) for one in term.leaf.arguments)
            total += term.leaf.method.most(list(inner))
    return total


def adapter_units(expression: LinearExpression, sources: Sources) -> Iterator[Unit]:
    """Units of a delta that is made of adapters alone: their modules, no checkpoint needed.

    InputError where two change a layer of different shapes; one of them may have more input channels.
    """
    family = sources.require_family()
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    for adapter in expression.adapters:
        for name, held in sources.adapters[adapter].modules.items():
            shape, widest = shapes.setdefault(name, (held.shape, adapter))
            entry = name == family.entry_module
            if entry and fits_first_channels(shape, held.shape):
                shapes[name] = (held.shape, adapter)
            elif not (fits(held.shape, shape) or (entry and fits_first_channels(held.shape, shape))):
                raise InputError(
                    f"'{adapter}' and '{widest}' are made for models of different sizes",
                    where=f"{held.raw_name}: {list(held.shape)} in '{adapter}', {list(shape)} in '{widest}'",
                    fix="give LoRAs that are made for the same model",
                )
    for name, (shape, _) in shapes.items():
        module = family.module(name)
        yield Unit(name, None, shape, (RowSlice(0, shape[0], ModuleAddress(name, module.block), module),))


def _baked(vae: CheckpointSource, unit: Unit, target: str | None) -> TensorPlan:
    """A tensor of the VAE in its own dtype, or in the one that is asked for."""
    assert unit.key is not None
    info = vae.tensors[unit.key]
    dtype = (target or vae.saved_dtype(unit.key)) if FILE_DTYPES[info.dtype].is_float else info.dtype
    return _plain(vae, unit, TensorSpec(unit.key, dtype, info.shape), "baked VAE")


def _plain(source: CheckpointSource, unit: Unit, spec: TensorSpec, bucket: Bucket) -> TensorPlan:
    """One file's own tensor whatever the formula says: its bytes, or its numbers in another dtype."""
    assert unit.key is not None
    action: Action = "copy" if spec.dtype == source.tensors[unit.key].dtype else "compute"
    return TensorPlan(unit, spec, action, bucket, plain_expression(source.name), source.name)


def leaf_dtype(leaf: ExtractLeaf) -> str:
    """Adapters are saved in fp16 unless the step was rounded to another dtype."""
    return {"BF16": "bf16", "F32": "fp32"}.get(leaf.options.round_to or "F16", "fp16")


def target_dtype(name: str | None, where: str) -> str | None:
    """safetensors dtype for a `--dtype` name; None keeps each tensor's own."""
    if name is None:
        return None
    if name not in DTYPES:
        raise InputError(
            f"dtype '{name}' is not known",
            where=where,
            fix=did_you_mean(name, DTYPES) or "one of " + ", ".join(DTYPES),
            about="dtype",
        )
    return DTYPES[name]


def _method_strengths(expression: LinearExpression) -> Iterator[tuple[str, Strength]]:
    """Checkpoints inside methods with their strengths, and with a method's own amounts."""
    for leaf in expression.leaves:
        if isinstance(leaf, (AdapterLeaf, MethodLeaf)):
            for inner in inner_expressions(leaf):
                yield from checkpoint_terms(inner)
                if inner.primary is not None and isinstance(leaf, MethodLeaf):
                    yield from ((inner.primary, amount) for amount in leaf.method.amounts)


def _notes(
    save: Save, source: str, expression: LinearExpression, tensors: Iterable[TensorPlan], config: Path | None
) -> Iterator[str]:
    """What a report says beside the counts: tensors of one file only, passes, another VAE, a config."""
    alone = {"only in the first": f"only in '{source}'", "other shape": "with another shape in another model"}
    for bucket, words in alone.items():
        keys = [tensor.spec.name for tensor in tensors if tensor.bucket == bucket]
        if keys:
            shown = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
            whence = "it" if bucket == "only in the first" else f"'{source}'"
            yield f"{counted(len(keys), 'tensor')} {words}, taken from {whence} unchanged: {shown}"
    methods = [leaf.method for leaf in expression.leaves if isinstance(leaf, MethodLeaf)]
    for name, passes in {method.name: method.passes for method in methods}.items():
        if passes:
            times = "once" if passes == 1 else "twice"
            yield f"{name}() looks at every tensor {times} before it makes it"
    if save.vae is not None:
        yield f"the VAE is that of {save.vae.name}"
    if config is not None:
        yield f"{config.name} is copied to {config_target(save.file).name}"
