"""Names of tensors in adapter files: how a key splits into a module and a part, in every dialect."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from loralathe.adapters.foreign import foreign_kind
from loralathe.adapters.kinds import kind_by_part, name_of_kind, part_names
from loralathe.families import TensorLike

PROCESSOR = re.compile(r"(.+)_lora([12]?)\.((?:up|down)\.weight)")

BUNDLED = "bundle_emb."
"""Start of the keys of embeddings that were trained with a LoRA and lie in its file (A1111, OneTrainer)."""


def split_adapter_key(key: str) -> tuple[str, str] | None:
    """`lora_unet_x.lora_up.weight` → ('lora_unet_x', 'lora_up.weight'); None if adapters have no such key.

    PEFT's adapter name is taken out (`lora_A.default.weight` is `lora_A.weight`), and the oldest
    diffusers spelling `to_q_lora.up.weight` reads as module `to_q`, part `lora.up.weight`; XLabs'
    `qkv_lora1.up.weight` as module `qkv1`.
    """
    if "_lora" in key and (old := PROCESSOR.fullmatch(key)):
        return old[1] + old[2], f"lora.{old[3]}"
    tokens = key.split(".")
    for count in (3, 2, 1):
        if len(tokens) <= count:
            continue
        part = ".".join(tokens[-count:])
        if part in part_names():
            return ".".join(tokens[:-count]), part
        if count > 1 and tokens[-count] in ("lora_A", "lora_B", "lora_magnitude_vector"):
            ending = f".{tokens[-1]}" if tokens[-1] in ("weight", "bias") else ".weight"
            if tokens[-count] == "lora_magnitude_vector":
                ending = ""
            return ".".join(tokens[:-count]), tokens[-count] + ending
    return None


def shows_adapter(keys: Collection[str]) -> bool:
    """Is there a key that shows a kind of adapter by itself? No tensor of a supported checkpoint does."""
    parts = (split[1] for split in map(split_adapter_key, keys) if split is not None)
    own = any(part in kind_by_part() and not kind_by_part()[part].beside for part in parts)
    return own or foreign_kind(keys) is not None


@dataclass(frozen=True, slots=True)
class RawModules:
    """An adapter's tensors by module: raw module name → part → key; and the keys that are no part of any.

    embeddings: name of a word for prompts that is bundled in → its keys
    """

    parts: Mapping[str, Mapping[str, str]]
    unrecognized_keys: tuple[str, ...]
    embeddings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def group_by_module(keys: Collection[str]) -> RawModules:
    """Group an adapter's keys by the module they belong to, in the order of the file."""
    grouped: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    embeddings: dict[str, list[str]] = {}
    for key in keys:
        if key.startswith(BUNDLED):
            embeddings.setdefault(key.split(".")[1], []).append(key)
            continue
        split = split_adapter_key(key)
        if split is None:
            unknown.append(key)
        else:
            grouped.setdefault(split[0], {})[split[1]] = key
    unrecognized_keys: list[str] = []
    for key in unknown:
        module, _, part = key.rpartition(".")
        shown = (kind_by_part().get(other) for other in grouped.get(module, ()))
        if any(kind is not None and part in kind.bare for kind in shown):
            grouped[module][part] = key
        else:
            unrecognized_keys.append(key)
    for module in [module for module, parts in grouped.items() if parts.keys() == {"scale"}]:
        unrecognized_keys += grouped.pop(module).values()  # a norm of the model that is called so
    bundled = {name: tuple(found) for name, found in embeddings.items()}
    return RawModules(grouped, tuple(unrecognized_keys), bundled)


def kind_of_module(parts: Mapping[str, str], tensors: Mapping[str, TensorLike]) -> str:
    """The kind of one module from the parts that it has (part → key), such as 'lora', see `kinds`."""
    return name_of_kind({part: tensors[key].shape for part, key in parts.items()})
