"""What is searched: the axes of a grid, of which a candidate takes one value each.

A candidate's pictures are cells as a grid would have them, under the same keys: what one study rendered, the
other does not render again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from loralathe.errors import InputError, about, option
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import looks_like_number, parse_number
from loralathe.studies.axes import parse_axis
from loralathe.studies.axes_request import SEED
from loralathe.studies.axis import Axis, Stage
from loralathe.studies.bleed import without_trigger
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context
from loralathe.studies.plan import Identify, Job, check_counted_once, finished, job_of

Point = tuple[int, ...]
"""A candidate: the place of its value on each axis. The empty one is what the person gave, no axis applied.
"""

AS_GIVEN: Point = ()
MOST_VALUES = 15
POOL = 4096
_STEPS = tuple(map(Fraction, ["0.05", "0.1", "0.2", "0.25", "0.5", "1", "2", "5", "10", "50", "100"]))
_RANGE = re.compile(r"\s*([+-]?\d*\.?\d+)\s*(?:\.\.|-)\s*([+-]?\d*\.?\d+)\s*", re.ASCII)
_CALLED = re.compile(r"\s*(.+?)\s*\(([^()]+)\)\s*=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Scene:
    """What all candidates draw once: a prompt with the trigger word, the same without it ("": there is none),
    and a seed."""

    prompt: str
    plain: str
    seed: int


@dataclass(frozen=True)
class Space:
    """All candidates.

    base: the request that they have in common.  axes: one value of each makes a candidate.
    bare: the checkpoint without any LoRA; of a recipe the model that it starts from.
    """

    base: CellBuilder
    axes: tuple[Axis, ...]
    context: Context
    identify: Identify
    bare: str

    @property
    def size(self) -> int:
        """How many candidates there are, and so how many cells the grid of the same values has."""
        return prod(len(axis.values) for axis in self.axes)

    @cached_property
    def ordered(self) -> tuple[bool, ...]:
        """For each axis whether its values are numbers that rise or fall."""
        return tuple(_is_ordered([value.label for value in axis.values]) for axis in self.axes)

    def places(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """(n, axes, width): where candidates lie. An ordered axis goes from 0 to 1; of one without an order
        all values are 1 from each other.
        """
        width = max((len(a.values) for a, o in zip(self.axes, self.ordered, strict=True) if not o), default=1)
        found = np.zeros((len(points), len(self.axes), width))
        for axis, (values, ordered) in enumerate(zip(self.axes, self.ordered, strict=True)):
            at = np.array([point[axis] for point in points], dtype=np.int64)
            if ordered:
                found[:, axis, 0] = at / max(1, len(values.values) - 1)
            else:
                found[np.arange(len(points)), axis, at] = 0.5**0.5
        return found

    def pool(self, leaders: Sequence[Point], dice: random.Random) -> list[Point]:
        """Candidates among which the next one is looked for: all of a small space; of a large one random
        ones, and those that differ from a leader in one value.
        """
        counts = [len(axis.values) for axis in self.axes]
        if self.size <= POOL:
            return list(product(*map(range, counts)))
        near = (
            (*leader[:axis], value, *leader[axis + 1 :])
            for leader in leaders
            for axis, count in enumerate(counts)
            for value in range(count)
        )
        far = (tuple(dice.randrange(count) for count in counts) for _ in range(POOL // 2))
        return list(dict.fromkeys([*islice(near, POOL // 2), *far]))

    def labels(self, point: Point) -> tuple[str, ...]:
        """The values of a candidate as the axes show them; none for what was given."""
        axes = self.axes if point else ()
        return tuple(axis.values[at].label for axis, at in zip(axes, point, strict=True))

    def job(self, point: Point, prompt: str, seed: int) -> Job:
        """One picture of a candidate. Raises InputError for values that cannot go together."""
        base = replace(self.base, request=replace(self.base.request, prompt=prompt, seed=seed))
        axes = self.axes if point else ()
        chosen = tuple(axis.values[at] for axis, at in zip(axes, point, strict=True))
        return job_of(finished(base, axes, chosen, self.context), self.context, self.identify)

    def bare_job(self, prompt: str, seed: int) -> Job:
        """The same picture of the base alone, without any LoRA."""
        return bare_job(self.base.request, self.bare, prompt, seed, self.context, self.identify)


def bare_job(
    request: ImageRequest, bare: str, prompt: str, seed: int, context: Context, identify: Identify
) -> Job:
    """A picture of the checkpoint `bare` without any LoRA, with the settings of `request`."""
    plain = lift_tags(prompt).prompt
    request = replace(request, checkpoint=bare, prompt=plain, seed=seed, adapters=())
    context = replace(context, recipe=None)
    return job_of(finished(CellBuilder(request), (), (), context), context, identify)


def make_scenes(prompts: Sequence[str], triggers: Sequence[str], seed: int, count: int) -> tuple[Scene, ...]:
    """`count` scenes: prompts take turns, seeds count up from `seed`."""
    plain = [without_words(prompt, triggers) if triggers else "" for prompt in prompts]
    return tuple(
        Scene(prompts[i % len(prompts)], plain[i % len(prompts)], (seed + i) % 2**64) for i in range(count)
    )


def read_space(
    sweeps: Sequence[str], base: CellBuilder, context: Context, identify: Identify, bare: str = ""
) -> Space:
    """The axes `NAME = VALUES`; a range without a step gets a fine one.

    Raises InputError for axes that cannot be, for two that set the same, and for one that sets the seed or
    the prompt: all candidates draw the same scenes.
    """
    if not sweeps:
        raise InputError(
            "there is nothing to search over",
            fix=f"name what may change: {option('sweep', 'hina = 0..1.2')}; an axis of a grid is one",
        )
    axes = []
    for text in sweeps:
        with about("sweep"):
            axes.append(_axis(text, base, context))
    titles = [axis.title for axis in axes]
    for title in titles:
        if f"{title} te" in titles and f"{title} unet" not in titles:
            raise InputError(
                f"{title} is the strength of both parts, {title} te that of the text encoders again",
                fix=f"sweep the other part by itself: {option('sweep', f'{title} unet = …')}",
            )
    check_counted_once(tuple(axes))
    return Space(base, tuple(axes), context, identify, bare or base.request.checkpoint)


def _axis(text: str, base: CellBuilder, context: Context) -> Axis:
    found = _CALLED.fullmatch(text)
    variables = context.recipe.variables if context.recipe else {}
    if found and found[1].strip() not in variables:
        text = f"{found[2].strip()} {found[1].strip()} ={found[3]}"  # te(hina) = … is hina te = …
    axis = _with_step(text, base, context)
    if SEED in axis.sets or axis.stage is Stage.TEXT:
        raise InputError(
            f"{axis.title} cannot be searched over",
            where=f"'{text}'",
            fix="candidates are compared on the same seeds and prompts; leave it out",
        )
    if len({value.label for value in axis.values}) < 2:
        raise InputError(f"the axis {axis.title} has one value: nothing is searched", where=f"'{text}'")
    return axis


def _with_step(text: str, base: CellBuilder, context: Context) -> Axis:
    """A range of decimals without a step would be whole numbers; it gets the finest step of usual size."""
    name, _, values = text.partition("=")
    found = _RANGE.fullmatch(values)
    if found is None:
        return parse_axis(text, base, context)
    first, last = Fraction(found[1]), Fraction(found[2])
    span = abs(last - first)
    steps = [step for step in _STEPS if span and (span / step).denominator == 1 and span / step < MOST_VALUES]
    way = f"(+{float(steps[0]):g})" if steps else "[11]"
    if steps and last < first:
        way = f"(-{float(steps[0]):g})"
    try:
        return parse_axis(f"{name}= {values.strip()} {way}", base, context)
    except InputError:
        return parse_axis(text, base, context)  # whole numbers, such as steps; or its own mistake is told


def _is_ordered(labels: Sequence[str]) -> bool:
    if not all(map(looks_like_number, labels)):
        return False
    numbers = [parse_number(label) for label in labels]
    return all(a < b for a, b in pairwise(numbers)) or all(a > b for a, b in pairwise(numbers))


def without_words(prompt: str, words: Sequence[str]) -> str:
    """The prompt without these words, as `without_trigger`. InputError for one that is not in it."""
    text = prompt
    for word in words:
        shorter = without_trigger(text, word)
        if shorter == text:
            raise InputError(
                f"the trigger word '{word}' is not in the prompt",
                where=f"'{prompt}'",
                fix=f"give the word that calls the person: {option('trigger', 'hina')}",
            )
        text = shorter
    return text
