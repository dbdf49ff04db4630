"""The kinds of adapter that can be used, and what an error says about the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from loralathe.errors import InputError
from loralathe.families import AdapterDetected

DORA = "+dora"
"""End of a kind that has magnitudes beside its factors."""
_FAMILIES = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_FAMILIES |= {"full": "difference", "norm": "difference"}
_NAMES = {
    "lora": "LoRA", "locon": "LoCon", "unknown": "of unknown kind",
    "loha": "LoHa", "lokr": "LoKr", "ia3": "(IA)³", "oft": "OFT", "boft": "BOFT", "glora": "GLoRA",
    "full": "full difference", "norm": "norm",
}  # fmt: skip


def people_name(kind: str) -> str:
    """`lokr-tucker` → LoKr; anything with a magnitude vector is DoRA."""
    if is_dora(kind):
        return "DoRA"
    stem = kind.removesuffix("-tucker")
    return _NAMES.get(stem, stem)


def family_of(kind: str) -> str:
    """'lora', 'loha', 'lokr' or 'difference': which file of this room reads a kind.

    An unknown one has parts missing; read as a LoRA, it gets an error that names them.
    """
    return _FAMILIES.get(_stem(kind), "lora")


def is_usable_kind(kind: str) -> bool:
    return kind == "unknown" or _stem(kind) in _FAMILIES


def is_dora(kind: str) -> bool:
    return kind.endswith(DORA)


def _stem(kind: str) -> str:
    return kind.removesuffix(DORA).removesuffix("-tucker")


def refuse_unusable(detected: AdapterDetected, where: str, *, dora: bool = False) -> None:
    """Raises InputError that names the kinds (with counts) that cannot be used; `dora`: these can."""
    kinds = detected.kinds.values()
    counts = Counter(people_name(kind) for kind in kinds if not is_usable_kind(kind))
    if not counts and not dora and any(map(is_dora, kinds)):
        raise InputError(
            "this is a DoRA: what it changes depends on the model's own weights",
            where=where,
            fix="merge it into its base first (lathe merge BASE DORA), or write dora(A, hina) in a formula; "
            "from the result a LoRA can be extracted (lathe extract MERGED BASE)",
        )
    if counts:
        raise _unusable_kinds(counts, len(detected.kinds), where)


def is_usable(detected: AdapterDetected) -> bool:
    """Whether other commands than those that only look can use an adapter of this kind."""
    return all(map(is_usable_kind, detected.kinds.values()))


def _unusable_kinds(counts: Mapping[str, int], total: int, where: str) -> InputError:
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    return InputError(
        f"this adapter holds modules of a kind that is not read: {kinds} (of {total})",
        where=where,
        fix="LoRA, LoCon, LoHa, LoKr, DoRA and full differences are read; what depends on the base's weights "
        "is no difference by itself: merge it into its base with the program that made it, then use the "
        "difference of the two checkpoints, or extract a LoRA from it",
    )
