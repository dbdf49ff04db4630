"""What a [save] entry asks for beside the formula: another VAE, metadata of the inputs, a config file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from loralathe.adapters import fits
from loralathe.engine.sources import CheckpointSource, Sources
from loralathe.errors import InputError, counted, did_you_mean, few, option, whole
from loralathe.families import vae_keys
from loralathe.language import DIFFUSERS, Save
from loralathe.tensorfiles import MemoryPath, TensorFile, TensorInfo, same_file

CONFIG = ".yaml"
"""The suffix of the file beside a model that tells web UIs how to build it (SD 2's v-prediction, …)."""


WORDS = ("first", "new", "merge", "all", "none")
"""What `metadata_from` may be beside the name of a checkpoint."""
NEEDED = tuple(f"modelspec.{name}" for name in (
    "sai_model_spec", "architecture", "implementation", "resolution", "prediction_type",
))  # fmt: skip
"""What programs must know of a checkpoint, and what is true of a merged one, too."""
COPY = "sshs_cp{}"
"""Key under which SuperMerger keeps the metadata of its n-th input, as JSON."""


def copied_metadata(
    save: Save, sources: Sources, used: Sequence[str], adapters: Sequence[str]
) -> dict[str, str]:
    """Entries copied from the inputs as `metadata_from` says.

    used, adapters: the formula's checkpoints, the primary first, and its adapters.
    Raises InputError for a name that is not there.
    """
    held = {name: sources.checkpoints[name].file.header.metadata for name in used}
    choice = save.metadata_from
    if choice in held:
        return dict(held[choice])
    if choice == "first":
        return dict(held[used[0]])
    if choice == "none":
        return {}
    if choice == "new":
        needed = {key: text for key, text in held[used[0]].items() if key in NEEDED}
        return needed | {"modelspec.title": save.title or whole(save.file.stem)}
    if choice == "all":
        loras = [sources.adapters[name].metadata for name in adapters]
        return dict(held[used[0]]) | whole_copies([*held.values(), *loras])
    if choice == "merge":
        merged: dict[str, str] = {}
        # As the web UIs: what a later model says replaces what an earlier one said.
        for metadata in held.values():
            merged |= metadata
        return merged
    raise _unknown(save, choice, "metadata", WORDS, used)


def whole_copies(inputs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The metadata of each input as one entry, as JSON (SuperMerger's "save all")."""
    texts = (json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True) for metadata in inputs)
    return {COPY.format(number): text for number, text in enumerate(texts)}


def config_beside(save: Save, paths: Mapping[str, Path], used: Sequence[str]) -> Path | None:
    """The config file to be copied, None for none; it is not copied onto itself."""
    alone = isinstance(save.file, MemoryPath) or save.layout == DIFFUSERS
    choice = "none" if alone else save.config_from
    if choice in used:
        found = _config_of(paths[choice])
        if found is None:
            raise InputError(
                "there is no config to copy",
                where=str(paths[choice].with_suffix(CONFIG)),
                fix="choose another input",
            )
    elif choice == "any":
        found = next((config for name in used if (config := _config_of(paths[name])) is not None), None)
    elif choice == "none":
        found = None
    else:
        raise _unknown(save, choice, "the config", ("any", "none"), used)
    return None if found is None or same_file(found, config_target(save.file)) else found


def config_target(output: Path) -> Path:
    """Where an output's config file goes."""
    return output.with_suffix(CONFIG)


def refuse_checkpoint_choices(save: Save, where: str) -> None:
    """An adapter has no VAE and no such tensors; it gets metadata of its own, and is one file."""
    layout = None if save.layout == "original" else save.layout
    given = {"vae": save.vae, "discard": save.discard, "layout": layout, "like": save.like}
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"'{name}' is for checkpoints, and this step is an adapter",
                where=where,
                fix=f"leave {name} out",
            )


def _config_of(path: Path) -> Path | None:
    config = path.with_suffix(CONFIG)
    return config if config.is_file() else None


def _unknown(save: Save, choice: str, what: str, words: Sequence[str], used: Sequence[str]) -> InputError:
    known = [*words, *used]
    return InputError(
        f"nothing called '{choice}' to copy {what} from",
        where=f"step '{save.step}'",
        fix=did_you_mean(choice, known) or f"one of {', '.join(known)}",
        about="metadata_from" if what == "metadata" else "config_from",
    )


def open_vae(
    save: Save, path: Path, sources: Sources, primary: str, *, allow_unmatched: bool
) -> CheckpointSource:
    """The VAE of the file that an output asks for, under the keys and shapes of its primary checkpoint.

    Raises InputError for a file without a VAE, a primary without one, and for tensors that only one of them
    has or that differ in shape; `allow_unmatched` bakes in those that both have.
    """
    # With a dot, so that no input, step or variable can have it; records hold it.
    name = f"{save.step}.vae"
    file = sources.open_beside(path)
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
            "the file has no VAE to bake in",
            where=str(file.path),
            fix="give a VAE or a checkpoint",
            about="vae",
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
    if not fits(info.shape, wanted.shape):
        raise InputError(
            f"the tensor '{wanted.name}' has different shapes",
            where=f"{where}: {list(info.shape)}, {list(wanted.shape)}",
            fix="bake in a VAE of this family",
        )
    return replace(info, shape=wanted.shape)
