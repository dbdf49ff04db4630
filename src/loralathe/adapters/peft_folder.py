"""A LoRA as PEFT keeps it: for each network its factors, and a config that tells their ranks and alphas.

Names begin with `base_model.model.`; a pipeline has one such folder for each network. Scales stand in the
config, so factors stay as they are. (PEFT 0.21's `LoraConfig` and `get_pattern_key`.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from loralathe.adapters.adapter import Adapter
from loralathe.adapters.dialects import WRAPPER, WRITTEN, Words
from loralathe.adapters.rewrite import VECTOR, Rewriting, rewriting
from loralathe.adapters.write import NamedTensor
from loralathe.errors import InputError, few, option
from loralathe.families import Family

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ALPHA, DOWN, BIAS = "alpha", "lora_A.weight", "lora_B.bias"
DIALECT = replace(WRITTEN["peft"], words=Words("lora_B.weight", DOWN, alpha=ALPHA, bias=BIAS))


@dataclass
class _Network:
    """What is known of a network's layers, by their paths."""

    ranks: dict[str, int] = field(default_factory=dict)
    alphas: dict[str, float] = field(default_factory=dict)
    magnitudes: set[str] = field(default_factory=set)
    biases: set[str] = field(default_factory=set)


class PeftParts:
    """An adapter in this form; configs are known once all tensors were taken."""

    def __init__(self, adapter: Adapter) -> None:
        self.found: Rewriting = rewriting(adapter, DIALECT)
        self._networks: dict[str, _Network] = {}

    @property
    def networks(self) -> list[str]:
        """Folders of the networks that it changes, from names alone."""
        names = (raw for places in self.found.names.values() for raw, _ in places)
        return list(dict.fromkeys(name.partition(".")[0] for name in names))

    def tensors(self, dtype: str | None = None) -> Iterator[tuple[str, NamedTensor]]:
        """Each with the folder of its network; `dtype` rounds factors to F16, BF16 or F32."""
        for one in self.found.tensors(dtype):
            folder, _, name = one.name.partition(".")
            held = self._networks.setdefault(folder, _Network())
            end = next((end for end in (ALPHA, DOWN, VECTOR, BIAS) if name.endswith(f".{end}")), "")
            path = name.removesuffix(f".{end}")
            if end == ALPHA:
                held.alphas[path] = float(one.tensor)
                continue
            if end == DOWN:
                held.ranks[path] = one.tensor.shape[0]
            elif end == VECTOR:
                held.magnitudes.add(path)
            elif end == BIAS:
                held.biases.add(path)
            yield folder, one._replace(name=WRAPPER + name)

    def config(self, folder: str) -> dict[str, object]:
        """The config of a network, after all tensors. InputError for what one config cannot say."""
        held = self._networks[folder]
        if held.magnitudes and held.magnitudes != held.ranks.keys():
            raise InputError(
                "some layers are DoRA and others are not, which one config of PEFT cannot say",
                where=f"{self.found.adapter.file.path}: {few(sorted(held.ranks.keys() - held.magnitudes))}",
                fix=f"write one file: {option('output', 'FILE.safetensors')}",
            )
        rank, ranks = _usual(held.ranks)
        alpha, alphas = _usual(held.alphas)
        return {
            "peft_type": "LORA",
            "auto_mapping": None,
            "base_model_name_or_path": None,
            "task_type": None,
            "inference_mode": True,
            "r": rank,
            "rank_pattern": ranks,
            "lora_alpha": alpha,
            "alpha_pattern": alphas,
            "target_modules": _targets(self.found.adapter.family, folder, list(held.ranks)),
            "lora_dropout": 0.0,
            "bias": "none",
            "lora_bias": bool(held.biases),
            "use_dora": bool(held.magnitudes),
            "use_rslora": False,
            "fan_in_fan_out": False,
        }


def _usual(values: Mapping[str, int | float]) -> tuple[int | float, dict[str, int | float]]:
    """The commonest value, and the others by path; `^` keeps a path from standing for longer ones."""
    common = Counter(values.values()).most_common(1)[0][0]
    others = {f"^{path}": _number(value) for path, value in values.items() if value != common}
    return _number(common), others


def _number(value: int | float) -> int | float:
    return int(value) if value == int(value) else value


def _targets(family: Family, folder: str, paths: list[str]) -> list[str] | str:
    """The layers by name; as one pattern where a name would stand for other layers, too."""
    component = next(one for one in family.components if one.folder == folder)
    every = [entry.diffusers or "" for entry in component.table.layers]
    if any(name.endswith(f".{path}") for path in paths for name in every):
        return "|".join(map(re.escape, sorted(paths)))
    return sorted(paths)
