"""What a comparison means, in one sentence: the same, the same up to rounding, a relative, unrelated.

Measured on the tiny family: hina at 0.9 changes a base by 15 % of the length of its layers, the two bases
stand 38 % apart, models of random numbers 140 %. Two LoRAs trained apart have a cosine of 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loralathe.engine import FAR, MOST_BEYOND, UNRELATED, Remark, remark
from loralathe.errors import option
from loralathe.families import VAE_LABEL
from loralathe.inspection.pairs import Pair, Pairs
from loralathe.rounded import fixed

ROUNDINGS = 25.0
"""‖x − y‖² over the mean square of one rounding, up to which two values may be roundings of the same."""
PARALLEL, CLOSE, SHARED = 0.999, 0.9, 0.3
"""Cosines from which two LoRAs are one at two strengths, nearly the same, and relatives."""
EVEN = 0.1
"""How much a share may vary between blocks, relative to itself, where one LoRA lies whole in another."""


@dataclass(frozen=True)
class _Sums:
    """Over some tensors; the norms are of the first and the second file."""

    xx: float
    yy: float
    xy: float
    dd: float

    @staticmethod
    def of(items: Iterable[Pair]) -> _Sums:
        held = list(items)
        return _Sums(*(math.fsum(getattr(item, name) for item in held) for name in ("xx", "yy", "xy", "dd")))

    @property
    def cosine(self) -> float:
        return self.xy / math.sqrt(self.xx * self.yy) if self.xx > 0 and self.yy > 0 else 0.0

    @property
    def distance(self) -> float:
        """‖x − y‖ relative to the larger of both, so that it does not matter which comes first."""
        return math.sqrt(self.dd / max(self.xx, self.yy)) if self.dd > 0 else 0.0


def verdict(pairs: Pairs, of: str) -> Remark:
    """`of`: what was compared, as in `Comparison`."""
    items, thing = pairs.items, {"weights": "model", "deltas": "LoRA"}.get(of, "change of the base")
    if not items:
        return remark("nothing in common", "X and Y have nothing in common that could be compared")
    lacking = len(pairs.only_x) + len(pairs.only_y) + len(pairs.reshaped) + len(pairs.unequal_integers)
    rest = "" if not lacking else " in what both have; the rest is listed below"
    differing = [item for item in items if not item.equal]
    if not differing:
        recast = ", stored in other dtypes" if pairs.recast else ""
        return remark("same", f"the same {thing}{recast}{rest}")
    if all(item.dd <= ROUNDINGS * item.noise for item in differing):
        text = f"the same {thing} up to rounding: one was saved with fewer digits, or was rounded once more"
        return remark("rounding", text + rest, distance=_Sums.of(items).distance)
    return _models(pairs, differing) if of == "weights" else _changes(items, thing)


def _models(pairs: Pairs, differing: Sequence[Pair]) -> Remark:
    if {item.block for item in differing} == {VAE_LABEL}:
        return remark("other VAE", "the same model with another VAE")
    distance = _Sums.of([item for item in differing if item.is_layer] or differing).distance
    share = f"they differ by {100 * distance:.2g} %"
    if pairs.lora_rank is not None:
        # Layers beside those that were looked at may need a little more.
        rank = option("rank", 1 << (pairs.lora_rank - 1).bit_length())
        text = f"one is the other with a LoRA merged in ({share}): extract the LoRA with {rank}"
        return remark("LoRA inside", text, distance=distance, rank=pairs.lora_rank)
    if distance >= UNRELATED:
        text = f"unrelated models ({share}): their difference is of no use"
        return remark("unrelated", text, distance=distance)
    if distance >= FAR:
        most = MOST_BEYOND / distance
        text = (
            f"models that share little ({share}): in an add-difference such as X + M × (X − Y), "
            f"M above {most:.1g} will break pictures"
        )
        return remark("share little", text, distance=distance, most=most)
    return remark("fine-tune", f"one is a fine-tune of the other, or both are of one parent ({share})",
                  distance=distance)  # fmt: skip


def _changes(items: Sequence[Pair], thing: str) -> Remark:
    """Of LoRAs, or of what two models changed in a base."""
    sums = _Sums.of(items)
    cosine = sums.cosine
    numbers = {"cosine": cosine, "distance": sums.distance}
    if not sums.xx or not sums.yy:
        return remark("nothing in common", f"one {thing} is empty", **numbers)
    ratio = math.sqrt(sums.yy / sums.xx)
    if abs(cosine) >= PARALLEL and f"{math.copysign(ratio, cosine):.3g}" != "1":
        sign = "" if cosine > 0 else "-"
        text = f"the same {thing} at another strength: Y is {sign}{ratio:.3g} × X"
        return remark("strength", text, ratio=math.copysign(ratio, cosine), **numbers)
    if abs(cosine) >= CLOSE:
        return remark("close", f"nearly the same {thing} (cosine {fixed(cosine, 3)})", **numbers)
    for inner, outer, swapped in (("X", "Y", False), ("Y", "X", True)):
        if (part := _part_inside(items, swapped=swapped)) is not None:
            text = f"{outer} holds {inner} at {part:.2g} of its strength, and something else"
            return remark("inside", text, part=part, **numbers)
    if abs(cosine) >= SHARED:
        return remark("related", f"they share a part (cosine {fixed(cosine, 2)})", **numbers)
    text = (
        f"different: they share next to nothing (cosine {fixed(cosine, 2)}), "
        "so that one hardly disturbs the other"
    )
    return remark("different", text, **numbers)


def _part_inside(items: Sequence[Pair], *, swapped: bool) -> float | None:
    """p where the outer one is p · inner + something else: ⟨inner, outer⟩ / ‖inner‖² alike in all blocks."""
    blocks: dict[str, list[Pair]] = {}
    for item in items:
        blocks.setdefault(item.block, []).append(item)
    sums = [_Sums.of(held) for held in blocks.values()]
    inner = [one.yy if swapped else one.xx for one in sums]
    total = math.fsum(inner)
    if len(sums) < 2 or total == 0:
        return None
    part = math.fsum(one.xy for one in sums) / total
    if part <= SHARED:
        return None
    spread = math.fsum(
        norm * (one.xy / norm - part) ** 2 for one, norm in zip(sums, inner, strict=True) if norm
    )
    return part if math.sqrt(spread / total) <= EVEN * part else None
