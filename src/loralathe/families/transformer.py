"""Transformers of equal blocks in a row: their block lists, and the tensors that a file must have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from loralathe.families.layers import ANY, Layer, fill


@dataclass(frozen=True, slots=True)
class Stage:
    """Equal blocks in a row: `double_blocks.0`, `double_blocks.1` … are D00, D01 …

    count: how many the block lists name; a file may have fewer
    """

    path: str
    letter: str
    count: int

    def blocks(self) -> Iterator[str]:
        return (f"{self.letter}{number:02d}" for number in range(self.count))


@dataclass(frozen=True)
class Transformer:
    """Structure of a transformer.

    layers:   all of them, the numbered ones with `#` for the number
    entry:    path of the layer that takes the image in;  inputs: its input channels → variant
    stages:   as the model runs;  first, last: block before and after them → the paths it holds
    optional: beginnings of paths that only some models have, each with the tensor that shows that it is there
    marked:   (tensor, variant with it, variant without it), for the first number of input channels
    """

    layers: Callable[[], Iterable[Layer]]
    entry: str
    inputs: Mapping[int, str]
    stages: tuple[Stage, ...]
    first: Mapping[str, tuple[str, ...]]
    last: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, str] = field(default_factory=dict)
    marked: tuple[str, str, str] | None = None

    kind = "transformer"

    def missing(self, paths: Collection[str]) -> list[str]:
        """Of every block up to the last one that is there."""
        required: list[str] = []
        last = {stage.path: _last_number(paths, stage.path) for stage in self.stages}
        left_out = tuple(start for start, mark in self.optional.items() if mark not in paths)
        for entry in self.layers():
            if entry.name.startswith(left_out):
                continue
            numbers = range(last[entry.name.partition(".")[0]] + 1) if ANY in entry.name else range(1)
            for number in map(str, numbers):
                required += [fill(tensor, number) for tensor in (entry.weight, entry.bias) if tensor]
        return [path for path in required if path not in paths]

    def variant(self, channels: int, paths: Collection[str]) -> str:
        if self.marked is None or channels != next(iter(self.inputs)):
            return self.inputs[channels]
        tensor, there, lacking = self.marked
        return there if tensor in paths else lacking

    def blocks(self) -> tuple[str, ...]:
        return (*self.first, *self.short_blocks(), *self.last)

    def short_blocks(self) -> tuple[str, ...]:
        return tuple(block for stage in self.stages for block in stage.blocks())

    @cached_property
    def _ends(self) -> dict[str, str]:
        return {path: block for block, paths in (*self.first.items(), *self.last.items()) for path in paths}

    def block_of_path(self, path: str) -> str | None:
        start, _, rest = path.partition(".")
        if start in self._ends:
            return self._ends[start]
        number = rest.partition(".")[0]
        stage = next((stage for stage in self.stages if stage.path == start), None)
        known = stage is not None and number.isdigit() and int(number) < stage.count
        return f"{stage.letter}{int(number):02d}" if stage and known else None

    def borrowed_blocks(self) -> Mapping[str, tuple[str, ...]]:
        return {}


def _last_number(paths: Collection[str], stage: str) -> int:
    numbers = (path.split(".", 2)[1] for path in paths if path.startswith(f"{stage}."))
    return max((int(number) for number in numbers if number.isdigit()), default=0)
