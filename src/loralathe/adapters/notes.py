"""What PEFT and diffusers note beside a LoRA's tensors: scales, and variants whose tensors do not tell all.

* diffusers writes the metadata `lora_adapter_metadata`: JSON of PEFT's LoraConfig, each key behind its
  network's folder (`unet.lora_alpha`, `text_encoder.alpha_pattern`).
* PEFT itself writes `adapter_config.json` into the folder of the file.

A LoRA with neither has alpha = rank, as diffusers reads it. A LoRA's is called `lora_alpha`, that of LoHa and
LoKr `alpha`. Which fields matter is checked against PEFT's own configs in tests/interop/test_peft_fields.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from loralathe.adapters.dialects import WRAPPER
from loralathe.adapters.foreign import label_of_type, refusal
from loralathe.errors import InputError
from loralathe.tensorfiles import TensorFile

N = TypeVar("N", int, float)
Fields = Mapping[str, object]

TAG = "lora_adapter_metadata"
CONFIG = "adapter_config.json"
MOST = 1 << 20
"""Bytes of an adapter_config.json that is one."""
MOST_PATTERNS = 2000
"""Entries of one table of patterns, each of which is tried on each module; Flux has 500 modules."""
READ = frozenset({"lora_alpha", "alpha", "alpha_pattern", "r", "rank_pattern", "use_rslora"})
"""Fields that say how large a change is."""
UNRANKED = frozenset({"OFT", "IA3"})
"""Types whose `r`, if any, is no rank: OFT's is 0 where the size of its blocks was given."""
VARIANTS = {
    "use_qalora": "QA-LoRA, which pools its inputs",
    "use_bdlora": "BD-LoRA, whose factors are block-diagonal",
    "kasa_config": "KaSA, which cuts the base model's weights",
    "monteclora_config": "MonteCLoRA, which samples its factors",
    "velora_config": "VeLoRA",
    "arrow_config": "Arrow, which chooses among several LoRAs for each token",
    "alora_invocation_tokens": "aLoRA, which works on a part of the tokens only",
    "layer_replication": "a LoRA for a model with repeated layers",
    "target_parameters": "a LoRA of bare parameters",
    "bias": "a LoRA with trained biases, which replace those of the model",
}
"""Fields that make an adapter another thing than the product of its factors, where they are set."""
CHANGED_BASE = {"pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "lora_ga": "LoRA-GA", "loftq": "LoftQ"}
"""Starts of `init_lora_weights` that change the base model first. Once a file is converted it is `true`."""


@dataclass(frozen=True)
class Noted:
    """A config of PEFT as far as scales go.

    alpha, rank:     of modules that no pattern names, None if there is none
    patterns, ranks: path of a module, see `_pattern` → its alpha, its rank
    rooted:          rsLoRA: alpha / √rank instead of alpha / rank (Kalajdzievski 2023)
    fields:          all of it, for kinds that have fields of their own
    """

    alpha: float | None = None
    patterns: Mapping[re.Pattern[str], float] = field(default_factory=dict, hash=False)
    rooted: bool = False
    rank: int | None = None
    ranks: Mapping[re.Pattern[str], int] = field(default_factory=dict, hash=False)
    fields: Fields = field(default_factory=dict, hash=False)


NOTHING = Noted()


@dataclass(frozen=True)
class Notes:
    """The notes of a whole file: folder of a network ('unet', 'text_encoder') → its config; '': any other."""

    configs: Mapping[str, Noted] = field(hash=False)

    def alpha_of(self, raw_name: str, rank: int) -> float | None:
        """alpha such that alpha / rank is the trainer's scale; None where nothing is noted."""
        noted, path = self._find(raw_name)
        alpha = _first(noted.patterns, path, noted.alpha)
        return alpha * math.sqrt(rank) if alpha is not None and noted.rooted else alpha

    def rank_of(self, raw_name: str) -> int | None:
        """The rank that a module was made with, whether its tensors show one or not."""
        noted, path = self._find(raw_name)
        return _first(noted.ranks, path, noted.rank)

    def settings_of(self, raw_name: str, wanted: Iterable[str]) -> dict[str, float]:
        """Numbers and switches that a kind needs to know. Raises InputError for those that are not noted."""
        noted, _ = self._find(raw_name)
        found = {name: noted.fields.get(name) for name in wanted}
        numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
        if lacking := [name for name in found if not math.isfinite(numbers.get(name, math.nan))]:
            raise InputError(
                f"how these tensors are meant stands in PEFT's config alone: {', '.join(lacking)}",
                where=raw_name,
                fix=f"put the {CONFIG} of the same training beside the file",
            )
        return numbers

    def _find(self, raw_name: str) -> tuple[Noted, str]:
        name = raw_name.removeprefix(WRAPPER)
        folder, _, path = name.partition(".")
        noted = self.configs.get(folder)
        if noted is None:
            return self.configs.get("", NOTHING), name
        return noted, path.removeprefix(WRAPPER)


def _first(patterns: Mapping[re.Pattern[str], N], path: str, otherwise: N | None) -> N | None:
    """PEFT takes the first pattern that the path ends with, from the start of a name on."""
    return next((value for pattern, value in patterns.items() if pattern.fullmatch(path)), otherwise)


def read_notes(file: TensorFile, raw_names: Iterable[str]) -> Notes:
    """Raises InputError for variants that are not read, and for notes that make no sense."""
    if TAG in file.header.metadata:
        return _of_metadata(file)
    if file.format != "memory" and file.path.is_dir():
        configs = {one.parent.name: one for one in sorted(file.path.glob(f"*/{CONFIG}"))}
        return Notes({folder: _config(config_at(one), "", str(one)) for folder, one in configs.items()})
    beside = file.path.with_name(CONFIG)
    wrapped = any(name.startswith(WRAPPER) for name in raw_names)
    if wrapped and file.format != "memory" and beside.is_file():
        return _of_config(beside)
    return Notes({})


def _of_metadata(file: TensorFile) -> Notes:
    where = f"{file.path}, metadata {TAG}"
    found = _parsed(file.header.metadata[TAG], where)
    folders = {key.partition(".")[0] for key in found if "." in key}
    configs = {folder: _config(found, f"{folder}.", where) for folder in sorted(folders)}
    return Notes({"": _config(found, "", where), **configs})


def foreign_beside(path: Path) -> str | None:
    """The kind of a file of PEFT by the config beside it, if it is of one that is not read."""
    if path.stem != "adapter_model" or not (beside := path.with_name(CONFIG)).is_file():
        return None
    return label_of_type(config_at(beside).get("peft_type"))


def _of_config(path: Path) -> Notes:
    return Notes({"": _config(config_at(path), "", str(path))})


def config_at(path: Path) -> Mapping[str, object]:
    """An adapter_config.json. Raises InputError where it cannot be read."""
    try:
        if path.stat().st_size > MOST:
            raise ValueError("it is too large")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), str(error)) from error
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _unreadable(where, reason) from error
    if not isinstance(found, dict):
        raise _unreadable(where, "it is not a table of names")
    return found


def _config(found: Mapping[str, object], prefix: str, where: str) -> Noted:
    fields = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    if foreign := label_of_type(fields.get("peft_type")):
        raise refusal(foreign, where)
    _refuse_variants(fields, where)
    alpha, rank = fields.get("lora_alpha", fields.get("alpha")), fields.get("r")
    if fields.get("peft_type") in UNRANKED:
        rank = None
    return Noted(
        None if alpha is None else _alpha(alpha, where),
        _patterns(fields, "alpha_pattern", _alpha, where),
        fields.get("use_rslora") is True,
        None if rank is None else _rank(rank, where),
        _patterns(fields, "rank_pattern", _rank, where),
        fields,
    )


def _refuse_variants(fields: Mapping[str, object], where: str) -> None:
    init = str(fields.get("init_lora_weights")).lower()
    changed = next((label for start, label in CHANGED_BASE.items() if init.startswith(start)), None)
    if changed is not None:
        raise InputError(
            f"this is a LoRA for a changed base model: {changed} took its first values out of the weights",
            where=where,
            fix="merge it with PEFT, which changes the base alike, and extract a LoRA from the result"
            if changed == "LoftQ"
            else "convert it into an ordinary LoRA with PEFT: "
            "save_pretrained(…, path_initial_model_for_weight_conversion=…)",
        )
    for name, label in VARIANTS.items():
        if fields.get(name) not in (None, False, "none", [], {}):
            raise InputError(
                f"this is {label}; it is not read",
                where=f"{where}: {name}",
                fix="merge it into its base with PEFT, and extract a LoRA from the result",
            )


def _patterns(
    fields: Mapping[str, object], name: str, read: Callable[[object, str], N], where: str
) -> dict[re.Pattern[str], N]:
    patterns = fields.get(name) or {}
    if not isinstance(patterns, dict):
        raise _unreadable(where, f"{name} is not a table")
    if len(patterns) > MOST_PATTERNS:
        raise _unreadable(where, f"{name} has {len(patterns):,} entries; the most is {MOST_PATTERNS:,}")
    return {_pattern(path, name, where): read(value, where) for path, value in patterns.items()}


def _pattern(path: object, name: str, where: str) -> re.Pattern[str]:
    """PEFT's patterns are regular expressions, in practice plain paths; nothing else is run as one."""
    if not isinstance(path, str) or not re.fullmatch(r"\^?[\w.]+\$?", path, re.ASCII):
        raise _unreadable(where, f"{name} {path!r:.80} is not the path of a module")
    plain = path.strip("^$")
    return re.compile(plain if path.startswith("^") else rf"(?:.*\.)?(?:{plain})")


def _rank(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1 or value % 1 != 0:
        raise _unreadable(where, f"the rank {value!r:.80} is not a whole number of at least 1")
    return int(value)


def _alpha(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unreadable(where, f"alpha {value!r:.80} is not a number")
    try:
        alpha = float(value)
    except OverflowError:
        alpha = math.inf
    if not math.isfinite(alpha) or alpha == 0:
        raise _unreadable(where, f"alpha {alpha:g} gives no usable scale")
    return alpha


def _unreadable(where: str, reason: str) -> InputError:
    return InputError(
        f"the notes with this LoRA's alpha cannot be read: {reason}",
        where=where,
        fix="save the LoRA again with its trainer; without these notes its strength would be guessed",
    )
