"""What the names in a file tell: what it is, whether it is quantised, which tensors are not weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from loralathe.errors import InputError, counted

DENOISER_PREFIX = "model.diffusion_model."
"""Of the U-Net or transformer in a checkpoint of one file."""


class TensorLike(Protocol):
    """What is read of a tensor: its shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class HeaderLike(Protocol):
    """What is read of a file: names, shapes and the metadata beside them."""

    @property
    def tensors(self) -> Mapping[str, TensorLike]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Signature:
    """How a kind of file is recognised: by which tensors it has and their number of axes, never by sizes.

    has:      key → number of axes;  lacks: keys that must not be there
    prefixes: what may stand before every one of these keys; the one that fits best counts
    """

    has: Mapping[str, int]
    lacks: tuple[str, ...] = field(default=())
    prefixes: tuple[str, ...] = ("",)

    def complaints(self, tensors: Mapping[str, TensorLike]) -> Iterator[str]:
        """One phrase for each condition the file does not meet; none means recognised."""
        prefix = max(self.prefixes, key=lambda one: self._there(one, tensors))
        for key, rank in self.has.items():
            tensor = tensors.get(prefix + key)
            if tensor is None:
                yield f"{prefix}{key} is missing"
            elif len(tensor.shape) != rank:
                yield f"{prefix}{key} has {counted(len(tensor.shape), 'axis', 'axes')}, not {rank}"
        for key in self.lacks:
            if prefix + key in tensors:
                yield f"{prefix}{key} should not be there"

    def matches(self, tensors: Mapping[str, TensorLike]) -> bool:
        return next(self.complaints(tensors), None) is None

    def found(self, tensors: Mapping[str, TensorLike]) -> Iterator[str]:
        """Its keys that the file has."""
        return (prefix + key for key in self.has for prefix in self.prefixes if prefix + key in tensors)

    def share(self, tensors: Mapping[str, TensorLike]) -> float:
        """Share of the wanted keys that are there, 0 to 1."""
        return max(self._there(prefix, tensors) for prefix in self.prefixes) / len(self.has)

    def _there(self, prefix: str, tensors: Mapping[str, TensorLike]) -> int:
        return sum(prefix + key in tensors for key in self.has)


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A kind of file that is recognised only to say what it is.

    what: how an error calls it ('this is …');  fix: what to do, None: the families that are supported
    alone: it is that only if the file has no U-Net or transformer of a checkpoint beside it
    """

    what: str
    fix: str | None
    signature: Signature
    alone: bool = False

    def matches(self, tensors: Mapping[str, TensorLike]) -> bool:
        if self.alone and any(key.startswith(DENOISER_PREFIX) for key in tensors):
            return False
        return self.signature.matches(tensors)


NOT_WHOLE = "it is not whole, or a changed model: get the file again, or give the folder of all its files"
"""What to do with a network in the diffusers layout that could not be read as one in the original layout."""


def diffusers_layout(label: str, has: Mapping[str, int]) -> UnreadFile:
    """The transformer of a diffusers folder, told by these tensors."""
    return UnreadFile(
        f"a transformer of {label} in the diffusers layout",
        NOT_WHOLE,
        Signature(has, prefixes=("", DENOISER_PREFIX, "transformer.")),
    )


SCALES = (
    "scaled_fp8", "scale_weight", "weight_scale", "weight_scale_2", "scale_input", "input_scale",
    "comfy_quant", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "SCB", "qweight", "qzeros",
    "wscales",
)  # fmt: skip
"""Last words of keys: scaled fp8 (ComfyUI), bitsandbytes, GPTQ, Nunchaku."""
STATE = ".quant_state."


def refuse_quantised(keys: Iterable[str], label: str, name: str | None) -> None:
    """InputError for a file in which a weight is not its tensor alone but the tensor times a scale."""
    found = [key for key in keys if key.rpartition(".")[2] in SCALES or STATE in key]
    if found:
        raise InputError(
            f"this is a {label} checkpoint with quantised weights, which need scales from other tensors",
            where=f"{name}: {found[0]}" if name else found[0],
            fix="take the bf16, fp16 or fp8 file of the model, or a GGUF file",
        )


@dataclass(frozen=True, slots=True)
class KeyRule:
    """A kind of tensors that are not weights of the model, or that nothing ever reads.

    They always come from the first checkpoint of a formula and are never averaged; `frozen` ones are not
    even cast, because loaders read their exact values (or see that they are there).

    name: for reports; pattern: regular expression over the whole key.
    """

    name: str
    pattern: str
    frozen: bool


_SCHEDULE = (
    r"betas|alphas_cumprod(_prev)?|posterior_(variance|log_variance_clipped|mean_coef[12])"
    r"|sqrt_(alphas|one_minus_alphas|recip_alphas|recipm1_alphas)_cumprod|log_one_minus_alphas_cumprod"
    r"|l?vlb_weights|logvar|scale_factor|denoiser\.(log_)?sigmas"
)
RULES = (
    KeyRule("prediction marks", r"v_pred|ztsnr|edm_vpred\.sigma_(max|min)|edm_mean|edm_std", True),
    KeyRule("position ids", r".*\bposition_ids", True),
    KeyRule("schedule buffers", _SCHEDULE, True),
    KeyRule("attention mask buffers", r".*\.attn_mask", True),
    KeyRule("EMA copies", r"model_ema\.(decay|num_updates)", True),
    KeyRule("EMA copies", r"model_ema\..*", False),
    KeyRule("training leftovers", r"first_stage_model\.loss\..*|embedding_manager\..*|global_step", False),
    KeyRule("logit scale, unused in pictures", r"(.*\.)?logit_scale", False),
)
"""The rules of every family; a family may have more."""


_ANY_RULE = "|".join(f"(?:{rule.pattern})" for rule in RULES)
"""Most keys fail it at once."""


def find_rule(key: str, more: tuple[KeyRule, ...] = ()) -> KeyRule | None:
    """The first rule whose pattern is the whole key; `more` are the family's own."""
    rules = RULES if re.fullmatch(_ANY_RULE, key) else more
    return next((rule for rule in rules if re.fullmatch(rule.pattern, key)), None)
