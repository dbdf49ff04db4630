"""Does an adapter fit a base? Every module against the weight it would change, from headers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loralathe.adapters.adapter import Adapter
from loralathe.adapters.kind import ANY
from loralathe.adapters.module import AdapterModule
from loralathe.errors import InputError, few, option
from loralathe.families import Family, Module, TensorLike, component_name
from loralathe.strengths import component_of


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A module whose delta has another shape than the base's weight, both as (out, in[, k, k])."""

    module: AdapterModule
    base_shape: tuple[int, ...]

    def is_too_wide(self, family: Family) -> bool:
        """Whether the module only takes more input channels (a control LoRA) than the base has."""
        entry = self.module.name == family.entry_module
        return entry and fits_first_channels(self.base_shape, self.module.shape)

    def __str__(self) -> str:
        sizes = ", ".join("any" if size == ANY else str(size) for size in self.module.shape)
        return f"{self.module.raw_name}: [{sizes}], the base has {list(self.base_shape)}"


@dataclass(frozen=True, slots=True)
class Fit:
    """Where each module of an adapter ends on a base.

    used: modules whose weight is there and fits; unmatched: raw names (and keys) without a place in the base;
    mismatched: the weight is there, its shape is another;  absent: components that the base lacks altogether;
    idle: modules at strength 0 without a weight that fits, which need none.
    """

    used: tuple[AdapterModule, ...]
    unmatched: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    absent: tuple[str, ...] = ()
    idle: tuple[AdapterModule, ...] = ()


def weight_shape(module: Module, tensors: Mapping[str, TensorLike]) -> tuple[int, ...]:
    """Shape of a module's weight as (out, in[, k, k]): its row slice of a fused tensor, axes."""
    shape = tensors[module.key].shape
    if module.transpose:
        shape = shape[::-1]
    return shape if module.part is None else (shape[0] // module.part[1], *shape[1:])


def fits(delta: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether a change can be added: equal shapes, a 1×1 convolution and a linear layer counting as equal.

    Sizes that the adapter's tensors do not tell (ANY, and all that come after the last) fit everything.
    """
    if ANY in delta:
        return all(size in (ANY, wanted) for size, wanted in zip(delta, weight, strict=False))
    return _without_unit_kernel(delta) == _without_unit_kernel(weight)


def fits_first_channels(delta: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether a change is for fewer input channels than the weight has (inpainting, Fill, control)."""
    if len(delta) != len(weight) or len(delta) < 2 or delta[1] == ANY:
        return False
    return (delta[0], *delta[2:]) == (weight[0], *weight[2:]) and delta[1] < weight[1]


def _without_unit_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1, 1) else shape


def check_against(
    adapter: Adapter,
    modules: Mapping[str, Module],
    tensors: Mapping[str, TensorLike],
    is_idle: Callable[[AdapterModule], bool] = lambda _: False,
) -> Fit:
    """Sorts the adapter's modules into used, unmatched, mismatched and idle.

    `modules` are the base's (`Family.modules`), `tensors` those that they were found among; `is_idle` tells
    whether a module that does not fit has the strength 0.
    """
    used: list[AdapterModule] = []
    idle: list[AdapterModule] = []
    unmatched: list[str] = list(adapter.unmatched)
    mismatched: list[Mismatch] = []
    for name, module in adapter.modules.items():
        base = modules.get(name)
        shape = weight_shape(base, tensors) if base is not None else None
        entry = name == adapter.family.entry_module
        if shape is not None and (
            fits(module.shape, shape) or (entry and fits_first_channels(module.shape, shape))
        ):
            used.append(module)
        elif is_idle(module):
            idle.append(module)
        elif shape is None and module.optional:
            continue
        elif shape is None:
            unmatched.append(module.raw_name)
        else:
            mismatched.append(Mismatch(module, shape))
    there = {component_of(name) for name in modules}
    wanted = dict.fromkeys(component_of(name) for name in adapter.modules)
    absent = tuple(component for component in wanted if component not in there)
    return Fit(tuple(used), tuple(unmatched), tuple(mismatched), absent, tuple(idle))


def require_fit(adapter: Adapter, fit: Fit, base_label: str, *, allow_unmatched: bool = False) -> None:
    """Raises InputError when nothing matches, a shape differs, or unmatched modules are not allowed.

    `base_label` names the base's family ("SDXL").
    """
    if fit.used and not fit.mismatched and (allow_unmatched or not fit.unmatched):
        return
    where = str(adapter.file.path)
    fix = f"use a LoRA made for {base_label}"
    if adapter.made_for not in (None, adapter.family):
        fix = f"this one is made for {adapter.made_for.label}; {fix}"
    too_wide = next((one for one in fit.mismatched if one.is_too_wide(adapter.family)), None)
    if too_wide is not None:
        wide, narrow = too_wide.module.shape[1], too_wide.base_shape[1]
        variant = adapter.family.denoiser.inputs.get(wide)
        raise InputError(
            f"the LoRA is for models with {wide} input channels, the base ({base_label}) has {narrow}",
            where=f"{where}: {too_wide}",
            fix=f"merge it into a {base_label} model of the kind '{variant}'" if variant else fix,
        )
    if fit.mismatched:
        raise InputError(
            f"the shapes of {len(fit.mismatched)} of {len(fit.used) + len(fit.mismatched)} modules "
            f"differ from the base's ({base_label})",
            where=f"{where}: {few([str(one) for one in fit.mismatched], separator='; ')}",
            fix=fix,
        )
    if not fit.used:
        raise InputError(
            f"no module of the LoRA is in the base ({base_label})",
            where=f"{where}: {few(fit.unmatched)}",
            fix=fix,
        )
    absent = " and no ".join(component_name(one, adapter.family) for one in fit.absent)
    raise InputError(
        f"{len(fit.unmatched)} of the LoRA's {len(fit.unmatched) + len(fit.used)} modules "
        f"have no place in the base ({base_label})",
        where=f"{where}: {few(fit.unmatched)}",
        fix=f"{fix}, or {option('allow_unmatched', True)} to leave them out"
        + (f" (the base has no {absent})" if absent else ""),
    )
