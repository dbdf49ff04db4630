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
    whole: the whole row is one block, called by the letter alone
    """

    path: str
    letter: str
    count: int
    whole: bool = False

    def blocks(self) -> Iterator[str]:
        return iter((self.letter,)) if self.whole else map(self.name, range(self.count))

    def name(self, number: int) -> str:
        return self.letter if self.whole else f"{self.letter}{number:02d}"

    def number(self, path: str) -> int | None:
        """Number of the block that a layer is in; None outside this stage."""
        if not path.startswith(f"{self.path}."):
            return None
        number = path[len(self.path) + 1 :].partition(".")[0]
        return 0 if self.whole else int(number) if number.isdigit() else None


@dataclass(frozen=True)
class Transformer:
    """Structure of a transformer.

    layers:   all of them, the numbered ones with `#` for the number
    entry:    path of the layer that takes the image in;  inputs: its input channels → variant
    stages:   as the model runs;  first, last: block before and after them → the paths it holds
    optional: beginnings of paths that only some models (or, with `#`, some blocks) have, each with the tensor
              that shows that it is there
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

    def starts(self) -> tuple[str, ...]:
        """How the paths of its tensors begin, which tells them in files without a prefix."""
        names = (entry.weight.partition(".") for entry in self.layers())
        return tuple(dict.fromkeys(start + dot for start, dot, _ in names))

    def missing(self, paths: Collection[str]) -> list[str]:
        """Of every block up to the last one that is there."""
        required: list[str] = []
        count = {start: _last_number(paths, start) + 1 for start in self._rows}
        for entry in self.layers():
            for number in map(str, range(count.get(entry.weight.partition(ANY)[0], 1))):
                if not self._is_left_out(entry, number, paths):
                    required += [fill(tensor, number) for tensor in (entry.weight, entry.bias) if tensor]
        return [path for path in dict.fromkeys(required) if path not in paths]

    @cached_property
    def _rows(self) -> set[str]:
        """What stands before the numbers of numbered layers: `double_blocks.`"""
        return {entry.weight.partition(ANY)[0] for entry in self.layers() if ANY in entry.weight}

    def _is_left_out(self, entry: Layer, number: str, paths: Collection[str]) -> bool:
        marks = (mark for start, mark in self.optional.items() if entry.weight.startswith(start))
        return any(fill(mark, number) not in paths for mark in marks)

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
        start = path.partition(".")[0]
        if start in self._ends:
            return self._ends[start]
        for stage in self.stages:
            number = stage.number(path)
            if number is not None:
                return stage.name(number) if stage.whole or number < stage.count else None
        return None

    def holds(self, paths: Iterable[str]) -> bool:
        return all(stage.whole or last < stage.count for stage, last in self._deepest(paths))

    def fills(self, paths: Iterable[str]) -> bool:
        deepest = list(self._deepest(paths))
        return bool(deepest) and all(stage.whole or last == stage.count - 1 for stage, last in deepest)

    def _deepest(self, paths: Iterable[str]) -> Iterator[tuple[Stage, int]]:
        """The stages that paths are in, with the highest number there."""
        paths = list(paths)
        for stage in self.stages:
            numbers = [number for number in map(stage.number, paths) if number is not None]
            if numbers:
                yield stage, max(numbers)

    def borrowed_blocks(self) -> Mapping[str, tuple[str, ...]]:
        return {}


def _last_number(paths: Collection[str], start: str) -> int:
    numbers = (path[len(start) :].partition(".")[0] for path in paths if path.startswith(start))
    return max((int(number) for number in numbers if number.isdigit()), default=0)
