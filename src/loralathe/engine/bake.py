"""A VAE from another file in the place of the model's own: a checkpoint that has only that part."""

from __future__ import annotations

from dataclasses import replace

from loralathe.engine.sources import CheckpointSource, Sources
from loralathe.errors import InputError, counted, few, option
from loralathe.families import vae_keys
from loralathe.language import Save
from loralathe.tensorfiles import TensorFile, TensorInfo


def open_vae(save: Save, sources: Sources, primary: str, *, allow_unmatched: bool) -> CheckpointSource | None:
    """The VAE that an output asks for, under the keys and shapes of its primary checkpoint; None for none.

    Raises InputError for a file without a VAE, a primary without one, and for tensors that only one of them
    has or that differ in shape; `allow_unmatched` bakes in those that both have.
    """
    if save.vae is None:
        return None
    # With a dot, so that no input, step or variable can have it; records hold it.
    name = f"{save.step}.vae"
    file = sources.open_beside(save.vae)
    sources.checkpoints[name] = _vae_source(
        name, file, sources.checkpoints[primary], allow_unmatched=allow_unmatched
    )
    return sources.checkpoints[name]


def _vae_source(
    name: str, file: TensorFile, base: CheckpointSource, *, allow_unmatched: bool
) -> CheckpointSource:
    """The VAE of a file, under the names and shapes of the checkpoint that it is baked into.

    Raises InputError for a file without a VAE, a base without one, and for tensors that either lacks or
    that have other shapes (unless `allow_unmatched`, which bakes in what fits by name).
    """
    family = base.detected.family
    mine = {
        key: info
        for key, info in base.tensors.items()
        if family.component_of_key(key) == "vae" and family.rule_for_key(key) is None
    }
    where = f"{file.path}, {base.path}"
    if not mine:
        raise InputError(
            f"'{base.name}' has no VAE that could be replaced",
            where=where,
            fix="take a checkpoint with a VAE first",
        )
    found = vae_keys(family.component("vae"), file.header.tensors)
    if not found:
        raise InputError(
            "the file has no VAE to bake in", where=str(file.path), fix="give a VAE or a checkpoint"
        )
    unlike = [*sorted(mine.keys() - found.keys()), *sorted(found.keys() - mine.keys())]
    fitting = {key: file.header.tensors[found[key]] for key in mine if key in found}
    if not fitting or (unlike and not allow_unmatched):
        raise InputError(
            f"the VAE and that of '{base.name}' differ in {counted(len(unlike), 'tensor')}",
            where=f"{where}: {few(unlike)}",
            fix="bake in a VAE of this family; "
            f"{option('allow_unmatched', True)} takes those tensors that both have",
        )
    tensors = {key: _shaped_as(info, mine[key], where) for key, info in fitting.items()}
    return CheckpointSource(name, file, base.detected, {}, tensors)


def _shaped_as(info: TensorInfo, wanted: TensorInfo, where: str) -> TensorInfo:
    """The same tensor in the shape of another: attention layers are 1×1 convolutions or linear."""
    if _plain_shape(info.shape) != _plain_shape(wanted.shape):
        raise InputError(
            f"the tensor '{wanted.name}' has different shapes",
            where=f"{where}: {list(info.shape)}, {list(wanted.shape)}",
            fix="bake in a VAE of this family",
        )
    return replace(info, shape=wanted.shape)


def _plain_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1, 1) else shape
