"""Pieces of work as data: each knows the command that a person would type for it, in the demo's folder."""

from __future__ import annotations

from dataclasses import dataclass

from loralathe.commands import command_line
from loralathe.demo.settings import PROFILE
from loralathe.errors import Value
from loralathe.language import Recipe


@dataclass(frozen=True)
class GridTask:
    """A grid in the folder `name`.

    files: a checkpoint and adapters; the adapters alone where there is a recipe.
    by_name: axes name checkpoints and LoRAs of the demo's folder.
    """

    name: str
    files: tuple[str, ...]
    prompt: str
    x: str
    y: str = ""
    recipe: str = ""
    by_name: bool = False

    def command(self) -> str:
        """What to type in the demo's folder."""
        given: dict[str, Value] = {"recipe": self.recipe} if self.recipe else {}
        given |= {"prompt": self.prompt, "x": self.x} | ({"y": self.y} if self.y else {})
        given |= {"checkpoint_dir": ".", "lora_dir": "."} if self.by_name else {}
        given |= {"settings": PROFILE, "scorer": "family", "out": self.name}
        return command_line("grid", *self.files, **given)


@dataclass(frozen=True)
class BlocksTask:
    """An analysis of all 12 blocks in the folder `name`."""

    name: str
    files: tuple[str, ...]
    prompt: str
    range: str
    seeds: int

    def command(self) -> str:
        """What to type in the demo's folder."""
        given: dict[str, Value] = {"prompt": self.prompt, "range": self.range, "blocks": "12ALL"}
        given |= {"seeds": self.seeds, "settings": PROFILE, "out": self.name}
        return command_line("blocks", *self.files, **given)


@dataclass(frozen=True)
class FileTask:
    """Files to make: a recipe, and the command that comes to the same in the demo's folder."""

    recipe: Recipe
    command: str


def choices(name: str, texts: tuple[str, ...]) -> str:
    """An axis over texts that hold commas: `prompt s/r = 'a, b', 'c, d'`, so that the whole can be quoted."""
    return f"{name} = " + ", ".join(f"'{text}'" if "," in text else text for text in texts)


def numbers(name: str, values: tuple[float, ...]) -> str:
    """An axis over numbers: `M = -0.7, 0, 0.7`."""
    return f"{name} = " + ", ".join(f"{value:g}" for value in values)
