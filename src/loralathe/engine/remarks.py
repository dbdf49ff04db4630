"""Sentences at the end of a report, where a number calls for an act; each keeps the numbers that it says.

The thresholds were measured on the tiny family and on models of random numbers (docs/semantics.md §8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loralathe.engine.energies import BlockEnergy
from loralathe.errors import Message, option
from loralathe.language import ExtractOptions
from loralathe.rounded import percentage

WORTH_SAYING = 0.05
"""A share of the difference from which it is worth an act."""
FAR, UNRELATED = 0.25, 0.7
"""‖difference‖ / ‖model‖ from which two models share little, and from which none is a fine-tune."""
MOST_BEYOND = 0.075
"""How far a sum may go beyond the models that it is made of, relative to them, where they share little."""


@dataclass(frozen=True)
class Remark:
    """A sentence of a report.

    kind: which one, for programs;  numbers: what it says, as data;  text: for people, options named as data.
    """

    kind: str
    numbers: Mapping[str, float]
    text: Message


def remark(kind: str, text: str, **numbers: float) -> Remark:
    return Remark(kind, numbers, Message(text))


def extraction_remarks(
    total: BlockEnergy, reasons: Mapping[str, int], largest: int, options: ExtractOptions
) -> tuple[Remark, ...]:
    """What to do about an extraction. reasons: modules by `ModuleRecord.reason`;  largest: rank written."""
    if total.energy <= 0:
        return ()
    found = [*_unrelated(total), *_outside(total, options), *_cut(total, options)]
    if options.is_fixed and options.rank and 0 < largest < options.rank and not reasons.get("requested"):
        text = f"asked for rank {options.rank}, {largest} were enough"
        found.append(remark("enough", text, asked=options.rank, enough=largest))
    return tuple(found)


def _unrelated(total: BlockEnergy) -> Iterator[Remark]:
    relative = total.relative
    if relative is not None and relative >= UNRELATED:
        yield remark(
            "unrelated",
            f"the difference is {percentage(relative)} as large as the model itself: neither model is a "
            "fine-tune of the other, and no LoRA can turn one into the other. Check that these are "
            "the right files",
            relative=relative,
        )


def _outside(total: BlockEnergy, options: ExtractOptions) -> Iterator[Remark]:
    """What the LoRA leaves out: convolutions and encoders not asked for, and what no LoRA holds."""
    what = _what(total)
    convolutions, encoders, unheld = (
        part / total.energy for part in (total.convolutions, total.encoders, total.unheld)
    )
    if convolutions >= WORTH_SAYING:
        asking = option("conv_rank", max(1, options.rank // 2)) if options.rank else option("conv", True)
        text = f"{percentage(convolutions)} of {what} lies in convolutions: add {asking}"
        yield remark("convolutions", text, share=convolutions)
    if encoders >= WORTH_SAYING:
        off = [name for name in ("te1", "te2", "te3") if options.encoder(name) is False]
        switches = " and ".join(option(name, False) for name in off)
        text = (
            f"{percentage(encoders)} of the difference lies in text encoders: leave out {switches} to keep it"
        )
        yield remark("text encoders", text, share=encoders)
    if unheld >= WORTH_SAYING:
        text = (
            f"{percentage(unheld)} of {what} lies in biases, norms, embeddings and other layers that "
            "no LoRA holds: add-difference carries them over, too"
        )
        yield remark("no LoRA", text, share=unheld)


def _cut(total: BlockEnergy, options: ExtractOptions) -> Iterator[Remark]:
    """What the rank cut off, and what was taken for rounding."""
    what = _what(total)
    truncated, noise = total.truncated / total.energy, total.noise / total.energy
    if truncated >= WORTH_SAYING and options.is_fixed and options.rank:
        more = option("rank", 2 * options.rank)
        text = f"{percentage(truncated)} of {what} lies beyond rank {options.rank}: {more} keeps more of it"
        yield remark("beyond the rank", text, share=truncated, rank=options.rank)
    if noise >= WORTH_SAYING and not options.keep_noise:
        text = (
            f"{percentage(noise)} of {what} is no larger than the rounding of the files, and was left out: "
            f"{option('keep_noise', True)} keeps it"
        )
        yield remark("rounding", text, share=noise)


def _what(total: BlockEnergy) -> str:
    """What is written: of models their difference, of LoRAs alone their change."""
    return "the difference" if total.weights > 0 else "the change"
