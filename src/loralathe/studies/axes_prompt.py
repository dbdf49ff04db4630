"""Axes over the raw prompt text: search and replace, and order. Tags take part: `<lora:…>` is text here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise, permutations
from math import factorial

from loralathe.errors import InputError, did_you_mean
from loralathe.strengths import parse_texts
from loralathe.studies.axis import Axis, AxisKind, AxisSpec, Stage, each
from loralathe.studies.cell_builder import CellBuilder

MAX_ORDERED = 6
SEARCH = "Prompt S/R"


def build_search_replace(spec: AxisSpec) -> Axis:
    """The first value is the text looked for; every value takes its place, in prompt and negative prompt.

    Raises InputError when neither contains it, so that a grid of equal pictures is not rendered.
    """
    texts = parse_texts(spec.text)
    search = texts[0]
    if not search:
        raise InputError("prompt S/R needs a text to look for", where=f"axis '{spec.title} = {spec.text}'")
    _check_occurs(search, spec.base)

    def change(cell: CellBuilder, text: str) -> CellBuilder:
        _check_occurs(search, cell)
        request = cell.request
        prompt, negative = (part.replace(search, text) for part in (request.prompt, request.negative))
        return replace(cell, request=replace(request, prompt=prompt, negative=negative))

    values = each(texts, lambda text: text or "—", change)
    return Axis(SEARCH, values, 0.3, Stage.TEXT, spec.text)


@contextmanager
def placeholders_explained(axes: Iterable[Axis]) -> Iterator[None]:
    """An error that names the text which search and replace looks for says that it is a value, too."""
    try:
        yield
    except InputError as error:
        searched = [axis.values[0].label for axis in axes if axis.title == SEARCH]
        found = next((text for text in searched if text and text in str(error.what)), None)
        if found is None:
            raise
        raise InputError(
            error.what,
            where=error.where,
            fix="the first value of prompt S/R is searched for and is a value, too: "
            f"write one that can be rendered in place of '{found}', in the prompt as well",
        ) from None


def _check_occurs(search: str, cell: CellBuilder) -> None:
    prompt, negative = cell.request.prompt, cell.request.negative
    if search in prompt or search in negative:
        return
    words = [part.strip() for part in f"{prompt},{negative}".split(",") if part.strip()]
    raise InputError(
        f"prompt S/R looks for '{search}', which the prompt does not contain",
        where=f"prompt: {prompt}",
        fix=did_you_mean(search, [*words, *prompt.replace(",", " ").split()])
        or "the first value must occur, letter for letter",
    )


def build_prompt_order(spec: AxisSpec) -> Axis:
    """All orders of the given texts, each put into the places where they stand in the prompt."""
    texts = [text for text in parse_texts(spec.text) if text]
    if not 2 <= len(texts) <= MAX_ORDERED:
        raise InputError(
            f"prompt order takes 2 to {MAX_ORDERED} texts; these make {factorial(len(texts)):,} orders",
            where=spec.text,
        )
    _places(spec.base.request.prompt, texts)

    def change(cell: CellBuilder, order: Sequence[str]) -> CellBuilder:
        prompt = _reordered(cell.request.prompt, texts, order)
        return replace(cell, request=replace(cell.request, prompt=prompt))

    values = each(permutations(texts), ", ".join, change)
    sets = frozenset({"the order of the prompt"})
    return Axis("Prompt order", values, 0.3, Stage.TEXT, spec.text, sets=sets)


def _places(prompt: str, texts: Sequence[str]) -> list[tuple[int, int]]:
    """(begin, end) of each text's first occurrence, in order of position."""
    places: list[tuple[int, int]] = []
    for text in texts:
        begin = prompt.find(text)
        if begin < 0:
            raise InputError(
                f"prompt order names '{text}', which the prompt does not contain",
                where=f"prompt: {prompt}",
                fix=did_you_mean(text, prompt.split(", ")) or None,
            )
        places.append((begin, begin + len(text)))
    places.sort()
    for (_, end), (begin, _) in pairwise(places):
        if begin < end:
            raise InputError("two texts of prompt order overlap in the prompt", where=prompt[begin:end])
    return places


def _reordered(prompt: str, texts: Sequence[str], order: Sequence[str]) -> str:
    parts: list[str] = []
    position = 0
    for (begin, end), text in zip(_places(prompt, texts), order, strict=True):
        parts += [prompt[position:begin], text]
        position = end
    return "".join([*parts, prompt[position:]])


PROMPT_KINDS: tuple[AxisKind, ...] = (
    AxisKind(
        ("prompt s/r", "prompt sr", "s/r"), build_search_replace, example="prompt s/r = smile, frown, 哭"
    ),
    AxisKind(("prompt order",), build_prompt_order, example="prompt order = 1girl, hat"),
)
