"""The chosen file, refined by a few steps of training, once for each folder and everything it comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loralathe.adapters import open_adapter
from loralathe.adapters.damped import replaced_factors, write_replaced
from loralathe.progress import Progress
from loralathe.rendering.request import ImageRequest
from loralathe.studies.cures.options import CureOptions

if TYPE_CHECKING:
    from torch import Tensor

    from loralathe.lowrank import Factors
    from loralathe.rendering.refining import Schooling
    from loralathe.rendering.sampling import OnStep


class Teacher(Protocol):
    """A renderer that can train factors."""

    def refine(
        self,
        with_word: Sequence[ImageRequest],
        without: Sequence[ImageRequest],
        start: str,
        schooling: Schooling,
        on_step: OnStep,
    ) -> dict[str, Factors]: ...


def refined_file(options: CureOptions, start: Path, teacher: Teacher, progress: Progress) -> Path:
    """What training makes of `start`; made, or found in the folder."""
    from loralathe.rendering.refining import Schooling

    watching = options.watching
    facts = [watching.name(options.identify), start.name, options.refine]
    name = sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    path = options.folder / f"refined-{name}.safetensors"
    if path.is_file():
        return path
    sampled = sum(one.all_steps for one in (*watching.with_word, *watching.without))
    with progress.task("refining", total=sampled + options.refine, unit="steps") as task:
        found = teacher.refine(
            watching.with_word,
            watching.without,
            str(start),
            Schooling(options.refine, options.strength, seed=options.request.seed),
            lambda: task.advance(1),
        )
    tensors: dict[str, Tensor] = {}
    with open_adapter(start, options.context.family) as adapter:
        for name, factors in found.items():
            tensors.update(replaced_factors(adapter.modules[name], factors))
    return write_replaced(start, path, tensors, {}, force=True)
