"""The kinds of adapter that can be used, and what an error says about the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..architectures import AdapterDetected
from ..errors import InputError

USABLE = {
    "lora": "lora",
    "locon": "locon",
    "lora-tucker": "locon-tucker",
    "locon-tucker": "locon-tucker",
}
"""Kind as recognised → kind here. (A core of 1×1 makes no other arithmetic than a core of k×k.)"""

_NAMES = {
    "loha": "LoHa", "lokr": "LoKr", "ia3": "(IA)³", "oft": "OFT", "boft": "BOFT", "glora": "GLoRA",
    "full": "full difference", "norm": "norm",
}  # fmt: skip
_DIALECTS = {"peft": "PEFT (lora_A, lora_B)", "diffusers": "diffusers (lora.down, lora.up)"}


def people_name(kind: str) -> str:
    """`lokr-tucker` → LoKr; anything with a magnitude vector is DoRA."""
    if kind.endswith("+dora"):
        return "DoRA"
    stem = kind.removesuffix("-tucker")
    return _NAMES.get(stem, stem)


def refuse_unusable(detected: AdapterDetected, where: str) -> None:
    """Raises InputError that names the kinds (with counts) or the dialect that cannot be used yet."""
    usable = {*USABLE, "unknown"}  # an unknown one has parts missing, and gets an error that names them
    counts = Counter(people_name(kind) for kind in detected.kinds.values() if kind not in usable)
    if counts:
        raise _unusable_kinds(counts, len(detected.kinds), where)
    if detected.dialect in _DIALECTS:
        raise InputError(
            f"this LoRA is in the layout of {_DIALECTS[detected.dialect]}: {len(detected.kinds)} modules",
            where=where,
            fix="only kohya's layout (lora_down, lora_up) is read so far; convert it with the script "
            "convert_diffusers_sdxl_lora_to_webui of diffusers or a similar one",
        )


def is_usable(detected: AdapterDetected) -> bool:
    """Whether other commands than those that only look can use an adapter of this kind and layout."""
    try:
        refuse_unusable(detected, "")
    except InputError:
        return False
    return True


def _unusable_kinds(counts: Mapping[str, int], total: int, where: str) -> InputError:
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    return InputError(
        f"this adapter holds modules of a kind that is not read so far: {kinds} (of {total})",
        where=where,
        fix="LoRA and LoCon are read; merge it into its base model with the program that made it, then use "
        "the difference of the two checkpoints, or extract a LoRA from it",
    )
