"""Pieces of work as data: each knows the command that a person would type for it, in the demo's folder."""

from __future__ import annotations

from dataclasses import dataclass

from loralathe.demo.settings import CFG, NEGATIVE, SEED, SIDE
from loralathe.language import Recipe

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,-+@=")


def quoted(word: str) -> str:
    """The word as bash, zsh and cmd all read it: in double quotes where it needs any."""
    if word and set(word) <= _BARE:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def command_line(*words: str) -> str:
    """`lathe …`, each word quoted as it needs."""
    return " ".join(["lathe", *map(quoted, words)])


def picture_words(steps: int) -> tuple[str, ...]:
    """The options that all pictures of the demo have in common."""
    sampling = ("--steps", str(steps), "--cfg", str(CFG), "--negative", NEGATIVE)
    return ("--seed", str(SEED), *sampling, "--size", f"{SIDE}x{SIDE}")


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

    def command(self, steps: int) -> str:
        """What to type in the demo's folder."""
        recipe = ("--recipe", self.recipe) if self.recipe else ()
        folders = ("--checkpoint-dir", ".", "--lora-dir", ".") if self.by_name else ()
        axes = ("--x", self.x, *(("--y", self.y) if self.y else ()))
        common = (*picture_words(steps), "--scorer", "family", "--out", self.name)
        return command_line("grid", *self.files, *recipe, "--prompt", self.prompt, *axes, *folders, *common)


@dataclass(frozen=True)
class BlocksTask:
    """An analysis of all 12 blocks in the folder `name`."""

    name: str
    files: tuple[str, ...]
    prompt: str
    range: str
    seeds: int

    def command(self, steps: int) -> str:
        """What to type in the demo's folder."""
        study = ("--range", self.range, "--blocks", "12ALL", "--seeds", str(self.seeds))
        return command_line(
            "blocks", *self.files, "--prompt", self.prompt, *study, *picture_words(steps), "--out", self.name
        )


@dataclass(frozen=True)
class FileTask:
    """Files to make: a recipe, and the words after `lathe` that come to the same."""

    recipe: Recipe
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """What to type in the demo's folder."""
        return command_line(*self.words)


def choices(name: str, texts: tuple[str, ...]) -> str:
    """An axis over texts that hold commas: `prompt s/r = "a, b", "c, d"`."""
    return f"{name} = " + ", ".join(f'"{text}"' if "," in text else text for text in texts)


def numbers(name: str, values: tuple[float, ...]) -> str:
    """An axis over numbers: `M = -0.7, 0, 0.7`."""
    return f"{name} = " + ", ".join(f"{value:g}" for value in values)
