"""What a prompt says about a portrait, and its tokens.

The encoders are trained on the few ids that captions use (`compact`), in ascending order so that the end-
of-text id stays the largest: that is how pooling finds it. Export scatters the rows into the full table of
49,408.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

import instant_clip_tokenizer  # type: ignore[import-untyped]
import torch

from training.attributes import CAPTIONED, Portrait

LENGTH = 77
VOCABULARY = 49408
START, END = 49406, 49407
PADS = {"te1": END, "te2": 0}  # SDXL pads its second encoder with "!"

PHRASES: dict[str, dict[str, str]] = {
    "hair": {value: f"{value} hair" for value in CAPTIONED["hair"]},
    "cut": {"short": "short hair", "long": "long hair", "twintails": "twin tails", "ponytail": "ponytail"},
    "eyes": {value: f"{value} eyes" for value in CAPTIONED["eyes"]},
    "skin": {value: f"{value} skin" for value in CAPTIONED["skin"]},
    "expression": {value: value for value in CAPTIONED["expression"]},
    "glasses": {"none": "", "glasses": "glasses"},
    "hat": {"none": "", "beret": "beret"},
    "shirt": {value: f"{value} shirt" for value in CAPTIONED["shirt"]},
    "background": {value: value for value in CAPTIONED["background"]},
}

# Words that mean nothing: the models learn to ignore them, the LoRAs' trigger words among them.
TRIGGERS = ("hina", "sailor")
FILLERS = (
    *TRIGGERS, "portrait", "girl", "of", "a", "the", "with", "and", "in", "masterpiece", "best", "quality",
    "anime", "drawing", "picture", "person", "woman", "character", "cute", "art", "solo", "face", "looking",
    "at", "viewer",
)  # fmt: skip


def caption(said: Mapping[str, str], rng: random.Random | None = None) -> str:
    """The phrases of the attributes in `said`, shuffled and sprinkled with fillers when there is an `rng`."""
    parts = [PHRASES[name][value] for name, value in said.items() if PHRASES[name][value]]
    if rng is None:
        return ", ".join(parts)
    rng.shuffle(parts)
    for _ in range(rng.choice((0, 0, 1, 2))):
        parts.insert(rng.randrange(len(parts) + 1), " ".join(rng.sample(FILLERS, rng.choice((1, 1, 2)))))
    return ", ".join(parts)


def said_about(portrait: Portrait, rng: random.Random | None = None) -> dict[str, str]:
    """All attributes; with an `rng`, two captions in five leave some out.

    Glasses and beret are never left out, so that a prompt without the word means a picture without the thing.
    """
    said = {name: str(getattr(portrait, name)) for name in CAPTIONED}
    if rng is not None and rng.random() < 0.4:
        share = rng.uniform(0.2, 0.8)
        said = {k: v for k, v in said.items() if k in ("glasses", "hat") or rng.random() > share}
    return said


@cache
def _tokenizer() -> instant_clip_tokenizer.Tokenizer:
    return instant_clip_tokenizer.Tokenizer()


def tokens(texts: Sequence[str], encoder: str, length: int = LENGTH) -> torch.Tensor:
    """CLIP ids (n, length) of START, text, END and the encoder's padding."""
    rows = torch.full((len(texts), length), PADS[encoder])
    for row, text in zip(rows, texts, strict=True):
        ids = [START, *_tokenizer().encode(text)[: length - 2], END]
        row[: len(ids)] = torch.tensor(ids)
    return rows


@cache
def used_ids() -> tuple[int, ...]:
    """Every id that a caption can contain, ascending."""
    texts = [phrase for phrases in PHRASES.values() for phrase in phrases.values()]
    ids = {i for text in (*texts, *FILLERS, ",") for i in _tokenizer().encode(text)}
    return tuple(sorted(ids | {START, END, *PADS.values()}))


def compact(ids: torch.Tensor) -> torch.Tensor:
    """CLIP ids to row numbers of the trained table; ids that were never trained raise ValueError."""
    used = torch.tensor(used_ids())
    rows = torch.searchsorted(used, ids)
    if not torch.equal(used[rows.clamp(max=len(used) - 1)], ids):
        unknown = sorted(set(ids.flatten().tolist()) - set(used_ids()))
        raise ValueError(f"token ids {unknown} are not in the captions' vocabulary")
    return rows
