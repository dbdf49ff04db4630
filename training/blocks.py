"""A block list for `hina`, found by search: the demo's chapter on merging shows what it achieves.

A good list keeps Hina and leaves other people as base A draws them. From all ones, each block in turn tries
0.5 and 0. A try is kept when the judge sees as much of Hina as before it, less one point at most, and the
other people are better off by half a point at least:

    how much of their prompts the pictures show  -  the share of colour values that differ from base A's

The prompts are the demo's, the seeds are not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from loralathe.demo.family import find_family, unpack_family
from loralathe.demo.judge import CAPTION, IS_HINA, scorers_of
from loralathe.demo.material import mean
from loralathe.demo.settings import BASE_A, FULL, HINA, PEOPLE, SCENES, STRENGTH
from loralathe.demo.studio import Studio
from loralathe.progress import BarSink, Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.strengths import AdapterUse, show_number
from loralathe.studies import Scored, changed_percentage, pixels_of

FIRST_SEED = 21
LENGTH = 12
TRIED = (0.5, 0.0)
LEEWAY, GAIN = 0.01, 0.005
Weights = tuple[float, ...]
Measure = Callable[[Weights], float]


def list_text(weights: Sequence[float]) -> str:
    """`1,0.5,0,…`."""
    return ",".join(map(show_number, weights))


def search(hers: Measure, theirs: Measure, length: int) -> Weights:
    """The list that the rule above finds; `theirs` is asked only where `hers` allows it."""
    best: Weights = (1.0,) * length
    likeness, top = hers(best), theirs(best)
    for at in range(length):
        for weight in TRIED:
            tried = (*best[:at], weight, *best[at + 1 :])
            seen = hers(tried)
            if seen >= likeness - LEEWAY and (found := theirs(tried)) >= top + GAIN:
                best, likeness, top = tried, seen, found
                print(list_text(best), f"{top:.4f}", flush=True)
    return best


@dataclass(frozen=True)
class Gallery:
    """Hina and other people, drawn on base A with `hina` at a list."""

    studio: Studio
    renderer: LocalRenderer

    def hers(self, weights: Weights) -> float:
        scenes = [f"hina, {scene}" for scene in SCENES]
        return self._score(IS_HINA, self._drawn(scenes, weights))

    def theirs(self, weights: Weights) -> float:
        drawn, plain = self._drawn(PEOPLE, weights), self._drawn(PEOPLE, None)
        pairs = zip(drawn, plain, strict=True)
        changed = mean([changed_percentage(pixels_of(a.image), pixels_of(b.image)) for a, b in pairs])
        return self._score(CAPTION, drawn) - changed / 100

    def _score(self, name: str, pictures: Sequence[Scored]) -> float:
        (scorer,) = (scorer for scorer in scorers_of(self.studio.judge) if scorer.name == name)
        return mean([value for value in scorer.score(pictures) if value is not None])

    def _drawn(self, prompts: Sequence[str], weights: Weights | None) -> list[Scored]:
        requests = [self._request(prompt, FIRST_SEED + at, weights) for at, prompt in enumerate(prompts)]
        found: dict[int, Image.Image] = {}
        self.renderer.render(requests, found.__setitem__)
        return [Scored(found[at], None, prompt) for at, prompt in enumerate(prompts)]

    def _request(self, prompt: str, seed: int, weights: Weights | None) -> ImageRequest:
        plain = replace(self.studio.request(str(self.studio.path(BASE_A)), (), prompt), seed=seed)
        if weights is None:
            return plain
        use = AdapterUse(str(self.studio.path(HINA)), STRENGTH, STRENGTH, list_text(weights))
        return replace(plain, adapters=(use,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("build/tinyfam/blocks"), help="folder for the family"
    )
    folder = parser.parse_args().out
    family = find_family(None)
    unpack_family(folder, family, Progress(BarSink()))
    with Studio(folder, family, FULL, Progress()) as studio, LocalRenderer("cpu") as renderer:
        gallery = Gallery(studio, renderer)
        print(list_text(search(gallery.hers, gallery.theirs, LENGTH)))


if __name__ == "__main__":
    main()
