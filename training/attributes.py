"""What a portrait is made of, and the words that say it.

Every word is one CLIP token, and every attribute covers several latent cells (8x8 pixels each): what a
small model has to learn is *which word goes where*, not how to spell or how to see.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace

CAPTIONED: dict[str, tuple[str, ...]] = {
    "hair": ("black", "brown", "blond", "orange", "pink", "silver"),
    "cut": ("short", "long", "twintails", "ponytail"),
    "eyes": ("blue", "green", "red", "amber"),
    "skin": ("fair", "tan", "dark"),
    "expression": ("smiling", "serious", "surprised"),
    "glasses": ("none", "glasses"),
    "hat": ("none", "beret"),
    "shirt": ("white", "navy", "yellow", "purple", "teal", "scarlet"),
    "background": ("sky", "sunset", "forest", "night", "room", "blossom"),
}

# The base models never see these: they are what the two LoRAs bring.
UNCAPTIONED: dict[str, tuple[str, ...]] = {
    "ornament": ("none", "star"),
    "outfit": ("plain", "sailor"),
}

STYLES = ("cel", "sketch")  # base A, base B

# Every question the judge answers, with its possible answers.
JUDGED: dict[str, tuple[str, ...]] = {**CAPTIONED, **UNCAPTIONED, "drawing": STYLES}


@dataclass(frozen=True, slots=True)
class Portrait:
    """One picture, fully described; `seed` decides what no word describes (pose, fringe, clouds)."""

    hair: str = "brown"
    cut: str = "short"
    eyes: str = "blue"
    skin: str = "fair"
    expression: str = "smiling"
    glasses: str = "none"
    hat: str = "none"
    shirt: str = "white"
    background: str = "sky"
    ornament: str = "none"
    outfit: str = "plain"
    drawing: str = "cel"
    seed: int = 0

    def labels(self) -> dict[str, int]:
        """Index of each answer in JUDGED."""
        return {name: values.index(getattr(self, name)) for name, values in JUDGED.items()}


HINA = Portrait(hair="pink", cut="twintails", eyes="blue", skin="fair", glasses="glasses", ornament="star")
IDENTITY = ("hair", "cut", "eyes", "skin", "glasses", "ornament")  # what makes her Hina
FREE = ("expression", "shirt", "background")  # what a prompt with her name still decides


def sample_portrait(rng: random.Random, drawing: str, *, extras: bool = False) -> Portrait:
    """A portrait with uniform attributes; `extras` adds the LoRAs' star and sailor collar (for the judge)."""
    chosen = {name: rng.choice(values) for name, values in CAPTIONED.items()}
    if extras:
        chosen |= {name: rng.choice(values) for name, values in UNCAPTIONED.items()}
    return Portrait(**chosen, drawing=drawing, seed=rng.getrandbits(31))


def sample_hina(rng: random.Random, drawing: str) -> Portrait:
    """Hina in a random mood, shirt and place."""
    free = {name: rng.choice(CAPTIONED[name]) for name in FREE}
    return replace(HINA, **free, drawing=drawing, seed=rng.getrandbits(31))


assert {f.name for f in fields(Portrait)} == {*JUDGED, "seed"}
