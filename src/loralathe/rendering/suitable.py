"""What a family cannot be asked for, told before a model is loaded: samplers, sizes, clip skip."""

from __future__ import annotations

from loralathe.errors import InputError, option
from loralathe.families import Family
from loralathe.rendering.request import ImageRequest
from loralathe.rendering.samplers import canonical_names
from loralathe.rendering.samplers.flow import check_flow_sampler


def check_suits(family: Family, request: ImageRequest) -> None:
    """InputError for a request that models of the family cannot be drawn with."""
    pictures = family.pictures
    assert pictures is not None
    check_multiples(request, pictures.multiple, family.label)
    distilled = any(usual.guidance is not None for usual in pictures.variants.values())
    if request.guidance is not None and not distilled:
        raise InputError(
            f"{family.label} models take no guidance as a number",
            where=option("guidance", request.guidance),
            fix=f"the CFG scale is {option('cfg', request.guidance)}",
            about="guidance",
        )
    if pictures.flow:
        check_flow_sampler(*canonical_names(request.sampler, request.schedule), family.label)
        _check_texts(family, request)


def check_multiples(request: ImageRequest, multiple: int, label: str) -> None:
    """InputError for a side that is not a multiple of what models of the family need."""
    for one in request.passes:
        for name, side in (("width", one.width), ("height", one.height)):
            if side % multiple:
                near = max(multiple, round(side / multiple) * multiple)
                raise InputError(
                    f"the {name} {side} is not a multiple of {multiple}, as {label} needs it",
                    fix=f"ask for {near}, the nearest that is",
                    about="size",
                )


def _check_texts(family: Family, request: ImageRequest) -> None:
    """Texts of language models are read as they stand."""
    if request.clip_skip != 1:
        raise InputError(
            f"{family.label} has no clip skip",
            where=option("clip_skip", request.clip_skip),
            fix=f"leave it at 1: {option('clip_skip', 1)}",
            about="clip_skip",
        )
    if request.embeddings:
        raise InputError(
            f"{family.label} reads no textual-inversion embeddings",
            where=request.embeddings[0],
            fix="take its name out of the prompt",
            about="embeddings",
        )
