"""What a cure is asked for, the pictures it looks at, and what can be told before the first of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from loralathe.errors import InputError, option
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.bleed import without_trigger
from loralathe.studies.context import Context
from loralathe.studies.cures.candidates import Candidates
from loralathe.studies.cures.watch import AS_IS, PARTS, Point, Watching
from loralathe.studies.plan import Identify, file_identity
from loralathe.studies.study_file import Identity, foreign_folder_note, identity_of
from loralathe.studies.tuning.goals import BLEED, LIKENESS, Goal
from loralathe.studies.tuning.space import Scene, make_scenes

DEFAULT_CONTEXT = Context()
LEVELS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Amounts of damping, λ of `lowrank.damping`: what a change without the word weighs beside one with it."""


@dataclass(frozen=True)
class CureOptions:
    """Everything about a cure.

    request: what all pictures have in common; its prompt holds the trigger words.  lora: the file.
    also: other prompts with them.  people: prompts without them, of others.  strength: of the LoRA.
    goals: likeness and bleed, and others that are only told.  keep: how much likeness may go, 0.02 is 2
    points.
    watched: pictures with the word, and as many without it, that layers are looked into at.
    first, most: seeds that a level begins on, and the most;  check: fresh seeds for the end.
    error: chance of an answer to be wrong.  refine: steps of training after the damping, 0 is none.
    command: as it was typed, for the page; "" where it cannot be.
    """

    request: ImageRequest
    folder: Path
    lora: str
    goals: tuple[Goal, ...]
    triggers: tuple[str, ...]
    also: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    strength: float = 1.0
    keep: float = 0.02
    watched: int = 12
    first: int = 4
    most: int = 24
    check: int = 12
    error: float = 0.05
    refine: int = 0
    levels: tuple[float, ...] = LEVELS
    context: Context = DEFAULT_CONTEXT
    command: str = ""
    force: bool = False
    identify: Identify = file_identity

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """`most` scenes of the search, `check` fresh ones, and `watched` that no score is taken of.

        Where other people are named, every second picture without the word is of one of them.
        """
        count = self.most + self.check + self.watched
        scenes = make_scenes((self.request.prompt, *self.also), self.triggers, self.request.seed, count)
        if not self.people:
            return scenes
        return tuple(
            replace(scene, plain=self.people[i // 2 % len(self.people)]) if i % 2 else scene
            for i, scene in enumerate(scenes)
        )

    @property
    def watching(self) -> Watching:
        """The pictures that layers are looked into at, of the last scenes."""
        use = AdapterUse(self.lora, self.strength, self.strength)
        scenes = self.scenes[self.most + self.check :]
        own = self.request.adapters
        return Watching(
            Path(self.lora),
            tuple(
                replace(self.request, prompt=one.prompt, seed=one.seed, adapters=(*own, use), hires=None)
                for one in scenes
            ),
            tuple(
                replace(self.request, prompt=one.plain, seed=one.seed, adapters=own, hires=None)
                for one in scenes
            ),
            self.levels,
        )

    def candidates(self, file_of: Callable[[Point], str] = str) -> Candidates:
        """The candidates; their files are asked for where one is drawn."""
        return Candidates(
            self.request,
            self.lora,
            self.strength,
            file_of,
            self.context,
            cache(self.identify),
            self.request.checkpoint,
        )

    @property
    def most_pictures(self) -> int:
        """More than these are never scored: three of a scene as it is, two of every candidate tried."""
        tried = len(self.levels).bit_length() + len(PARTS)
        return self.most * (3 + 2 * tried) + self.check * 5

    @property
    def identity(self) -> Identity:
        """What the folder remembers of it."""
        return identity_of("cure", self.folder, self.request, [self.request], {}, cured=Path(self.lora).name)


def check_cure(options: CureOptions) -> tuple[str, ...]:
    """Raise InputError for what can be told now; notes of what is odd."""
    if options.first < 2 or options.most < options.first:
        raise InputError(
            "a level begins on 2 seeds at least, and none gets fewer later",
            where=f"{option('first_seeds', options.first)}, {option('most_seeds', options.most)}",
        )
    if options.watched < 1:
        raise InputError("the layers are looked into at one picture at least", where=option("watch", 0))
    if not options.triggers:
        raise InputError(
            "nothing says which word calls the person",
            fix=f"name it as it stands in the prompt: {option('trigger', 'hina')}",
        )
    names = [goal.name for goal in options.goals]
    if missing := [name for name in (LIKENESS, BLEED) if name not in names]:
        raise InputError(
            f"a cure measures likeness and bleed, and {missing[0]} is not among the goals",
            where=", ".join(names),
            fix=f"leave {option('goal')} out",
        )
    for prompt in options.people:
        for word in options.triggers:
            if without_trigger(prompt, word) != prompt:
                raise InputError(
                    f"'{word}' is in a prompt of other people",
                    where=option("people", prompt),
                    fix="these are the pictures that should not show her: leave the word out",
                )
    scene = options.scenes[0]
    options.candidates().job(AS_IS, scene.prompt, scene.seed)
    return tuple(foreign_folder_note(options.folder, options.identity, force=options.force))
