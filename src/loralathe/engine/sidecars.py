"""What goes with a checkpoint output beside its tensors: metadata of the inputs, and a config file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loralathe.engine.sources import Sources
from loralathe.errors import InputError, did_you_mean
from loralathe.language import Save
from loralathe.tensorfiles import MemoryPath, same_file

CONFIG = ".yaml"
"""The suffix of the file beside a model that tells web UIs how to build it (SD 2's v-prediction, …)."""


def copied_metadata(save: Save, sources: Sources, used: Sequence[str]) -> dict[str, str]:
    """Entries copied from the inputs as `metadata_from` says.

    used: the formula's checkpoints, the primary first. InputError for a name that is not there.
    """
    held = {name: sources.checkpoints[name].file.header.metadata for name in used}
    choice = save.metadata_from
    if choice in held:
        return dict(held[choice])
    if choice == "first":
        return dict(held[used[0]])
    if choice == "none":
        return {}
    if choice == "merge":
        merged: dict[str, str] = {}
        # As the web UIs: what a later model says replaces what an earlier one said.
        for metadata in held.values():
            merged |= metadata
        return merged
    raise _unknown(save, choice, "metadata", ("first", "merge", "none"), used)


def config_beside(save: Save, paths: Mapping[str, Path], used: Sequence[str]) -> Path | None:
    """The config file to be copied, None for none; it is not copied onto itself."""
    choice = "none" if isinstance(save.file, MemoryPath) else save.config_from
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
    """An adapter has no VAE and no such tensors; it gets metadata of its own."""
    given = {"vae": save.vae, "discard": save.discard}
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"'{name}' is for checkpoints, and this step is an adapter",
                where=where,
                fix=f"leave {name} out",
            )


def companion_notes(save: Save, config: Path | None) -> Iterator[str]:
    """What a report says of the VAE and the config."""
    if save.vae is not None:
        yield f"the VAE is that of {save.vae.name}"
    if config is not None:
        yield f"{config.name} is copied to {config_target(save.file).name}"


def discard_pattern(text: str | None, where: str) -> re.Pattern[str] | None:
    """The compiled `discard`; InputError when it is no regular expression."""
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"discard = '{text}' is no regular expression: {error}", where=where) from None


def _config_of(path: Path) -> Path | None:
    config = path.with_suffix(CONFIG)
    return config if config.is_file() else None


def _unknown(save: Save, choice: str, what: str, words: Sequence[str], used: Sequence[str]) -> InputError:
    known = [*words, *used]
    return InputError(
        f"nothing called '{choice}' to copy {what} from",
        where=f"step '{save.step}'",
        fix=did_you_mean(choice, known) or f"one of {', '.join(known)}",
    )
